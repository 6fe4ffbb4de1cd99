"""How much a constraint may cost: the limits of llguidance and of what is given to it.

Measured with hostile schemas, grammars and patterns on one core of 2.1 GHz: within these limits nothing
compiled for longer than a second, and no mask took longer than a few milliseconds. Pure; any thread.
"""

import re

import llguidance

# Of what one request sends, by kind, and of the whole grammar of an answer.
MAX_SOURCE_BYTES = {
    "json_object": 0,
    "json_schema": 512 * 1024,
    "lark": 64 * 1024,
    "gbnf": 64 * 1024,
    "regex": 16 * 1024,
}
MAX_GRAMMAR_BYTES = 8 * 1024 * 1024

# Of a string constant or a name in a schema: each byte of it costs time at every token.
MAX_CONSTANT_CHARACTERS = 8_192

# Counted repetitions in one text: the greatest count, and all others together.
_MAX_COUNT = 100_000
_MAX_OTHER_COUNTS = 2_000
_COUNTED = re.compile(r"(?<!\\[xuU])\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


def repetition_error(text: str) -> str | None:
    """Why the counted repetitions `{m,n}` of a pattern or grammar cost too much; None if they do not."""
    counts = sorted(max(int(least[:9] or 0), int(most[:9] or 0)) for least, most in _COUNTED.findall(text))
    if counts and counts[-1] > _MAX_COUNT:
        return f"it repeats something more than {_MAX_COUNT} times"
    if sum(counts[:-1]) > _MAX_OTHER_COUNTS and counts[-2] > 100:
        return f"its counted repetitions add up to more than {_MAX_OTHER_COUNTS}"
    return None


def parser_limits() -> llguidance.LLParserLimits:
    """The limits under which every grammar is compiled and followed."""
    return llguidance.LLParserLimits(
        max_items_in_row=6_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=20_000,
        max_lexer_states=50_000,
        max_grammar_size=300_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )
