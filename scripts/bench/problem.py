"""The one exception of the kit."""


class Problem(Exception):
    """The benchmark cannot be run here; the text says what to do about it."""
