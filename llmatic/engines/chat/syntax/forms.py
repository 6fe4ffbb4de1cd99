"""The grammar of calls that are written by a form.

A form is the text of a call with `$name`, `$arguments`, `$id` and `$index` in it: `{"name": "$name",
"arguments": $arguments}`. Owns the writing of Lark rules for it. Pure; any thread.
"""

import json
import re
from collections.abc import Sequence

from llmatic.engines.chat.syntax import Function, Mark
from llmatic.engines.constraints.grammars import schema_rules

VARIABLE = re.compile(r"\$(name|arguments|id|index)")
INDEX = "[0-9]{1,3}"


def call_rules(
    form: str, functions: Sequence[Function], mark: Mark, *, prefix: str, id_pattern: str
) -> tuple[str, str]:
    """(Lark rules, the name of the rule of one call of one of `functions`).

    `id_pattern`: a regular expression for `$id`. All rules' names begin with `prefix`.
    """
    lines = [f"{prefix}call: " + " | ".join(f"{prefix}call_{n}" for n in range(len(functions)))]
    for n, function in enumerate(functions):
        lines.append(
            f"{prefix}call_{n}: " + _expression(form, function.name, f"{prefix}args_{n}", mark, prefix)
        )
        lines.append(schema_rules(function.schema, f"{prefix}args_{n}"))
    if "$id" in form:
        lines.append(f"{prefix.upper()}ID: /{id_pattern}/")
    if "$index" in form:
        lines.append(f"{prefix.upper()}INDEX: /{INDEX}/")
    return "\n".join(lines), f"{prefix}call"


def repeated(call: str, between: str, mark: Mark, *, is_parallel: bool) -> str:
    """A Lark expression: one call, or several with `between` between them."""
    if not is_parallel:
        return call
    return f"{call} ({mark(between)} {call})*" if between else f"{call}+"


def optional_mark(text: str, mark: Mark) -> str:
    """The Lark expression of `text`, which may be empty."""
    return mark(text) if text else ""


def _expression(form: str, name: str, arguments: str, mark: Mark, prefix: str) -> str:
    terms = {"arguments": arguments, "id": f"{prefix.upper()}ID", "index": f"{prefix.upper()}INDEX"}
    parts = VARIABLE.split(form.replace("$name", json.dumps(name, ensure_ascii=False)[1:-1]))
    pieces = [terms[part] if n % 2 else optional_mark(part, mark) for n, part in enumerate(parts)]
    return " ".join(piece for piece in pieces if piece)
