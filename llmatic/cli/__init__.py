"""The command line: parse, call, print.

Owns the commands and their words. Every failure that a person can cause is one sentence on stderr and
exit status 2. Nothing heavy is imported before a command runs.
"""

from llmatic.cli.main import main

__all__ = ["main"]
