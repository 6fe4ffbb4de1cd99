"""Runs a client's examples and prints what came of each, as one JSON object. Standard library only."""

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

MODEL = "llmatic-tiny"
KEY = "sk-local"


def base_url() -> str:
    """Where the server is: the program's argument."""
    return sys.argv[1]


def run(*examples: Callable[[], Any]) -> None:
    """Call each example; its JSON value, or the traceback of what it raised, goes out under its name."""
    outcomes: dict[str, Any] = {}
    for example in examples:
        try:
            outcomes[example.__name__] = {"returned": example()}
        except Exception:  # an example that fails must not hide the others
            outcomes[example.__name__] = {"raised": traceback.format_exc()}
    print(json.dumps(outcomes))
