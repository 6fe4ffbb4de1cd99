"""Vocabulary shared by every package: types, errors, ports. Standard library only; imports nothing else."""
