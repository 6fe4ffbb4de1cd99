"""Parts of a grammar that llguidance makes of JSON schemas: strings with patterns, bounded decimals.

Owns a small cache of what was tried. Any thread.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import llguidance

from llmatic.engines.constraints.room import Panicked, with_room

_OPTIONS = {"whitespace_flexible": False, "json_allow_general_unicode_escapes": False}


def leaf(form: Mapping[str, Any]) -> str:
    """The Lark expression of a plain string or a decimal."""
    schema = {key: value for key, value in form.items() if key != "pattern"}
    patterns = form.get("pattern", [])
    if len(patterns) == 1:
        schema["pattern"] = patterns[0]
    elif patterns:
        schema["allOf"] = [{"type": "string", "pattern": pattern} for pattern in patterns]
    return "%json " + json.dumps(schema | {"x-guidance": _OPTIONS})


def leaf_error(form: Mapping[str, Any]) -> str | None:
    """Why llguidance cannot make it; None if it can."""
    return _error(leaf(form))


@lru_cache(maxsize=1024)
def _error(expression: str) -> str | None:
    grammar = llguidance.LLMatcher.grammar_from_lark(f"%llguidance {{}}\nstart: {expression}\n")
    try:
        error = with_room(lambda: llguidance.LLMatcher.validate_grammar(grammar))
    except Panicked as panic:
        error = str(panic)
    return reason(error) if error else None


def reason(error: str) -> str:
    """llguidance's reason in one line, without the copy of the grammar."""
    lines = [line.strip() for line in error.split("\n   1 |")[0].split("\n") if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    text = told[0] if told else lines[0].removeprefix("ERROR: ")
    text = " ".join(text.split()).split("failed to compile JSON schema: ")[-1]
    return (text[:200] + "..." if len(text) > 200 else text).rstrip(".")
