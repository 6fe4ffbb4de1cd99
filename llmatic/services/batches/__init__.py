"""Batches: files of requests that are answered beneath the live traffic, each line once, whatever happens
meanwhile.
"""
