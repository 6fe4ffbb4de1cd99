"""Constraints made to crash, stall or bloat the worker; run as a program it tries them all.

Prints one JSON object: name → "refused" or "compiled".
"""

import json
import sys
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.engines.constraints.matcher import GrammarFailed

N_STEPS = 40


def nested(n: int) -> str:
    return '{"type":"array","items":' * n + "{}" + "}" * n


def chain(n: int) -> dict[str, Any]:
    definitions: dict[str, Any] = {
        f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(n)
    }
    return {"$ref": "#/$defs/d0", "$defs": definitions | {f"d{n}": {}}}


def texts(n: int, **more: Any) -> dict[str, Any]:
    return {f"p{i}": {"type": "string", **more} for i in range(n)}


def doubling(keyword: str) -> dict[str, Any]:
    parts: dict[str, Any] = {
        f"d{i}": {keyword: [{"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"minLength": 1}]}] * 2}
        for i in range(40)
    }
    return {"$ref": "#/$defs/d0", "$defs": parts | {"d40": {"type": "string"}}}


SCHEMAS: dict[str, Any] = {
    "many values": {"enum": [f"value {i}" for i in range(15_000)]},
    "too many values": {"enum": list(range(30_000))},
    "long value": {"enum": ["x" * 100_000]},
    "many properties": {"type": "object", "properties": texts(5000), "required": list(texts(5000))},
    "many optional properties": {"type": "object", "properties": texts(1400), "additionalProperties": True},
    "too many optional properties": {"type": "object", "properties": texts(4000)},
    "many patterns": {"type": "object", "properties": {f"p{i}": {"pattern": f"^{i}.*"} for i in range(1000)}},
    "long string": {"type": "string", "maxLength": 10**9},
    "longer string": {"type": "string", "minLength": 10**9},
    "many items": {"type": "array", "minItems": 10**6},
    "items of items": {"type": "array", "minItems": 10**5, "items": {"type": "array", "minItems": 10**5}},
    "nested counts": {"pattern": "((a{1,1000}){1,1000}){1,1000}"},
    "counts of nothing": {"pattern": "(a?){2000}a{2000}"},
    "blow-up": {"pattern": "(a|b|ab)*c.{0,2000}(d|e).{0,2000}f"},
    "deep pattern": {"pattern": "(" * 3000 + "a" + ")" * 3000},
    "choices of choices": doubling("anyOf"),
    "all of all": doubling("allOf"),
    "long chain": chain(5000),
    "short chain": chain(1000),
    "ambiguous": {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "array"}, {"type": "array"}]},
    "wide choice": {"anyOf": [{"properties": {f"k{i}": {}}, "required": [f"k{i}"]} for i in range(2500)]},
    "long name": {"type": "object", "properties": {"x" * 100_000: {}}},
    "wide tuple": {"type": "array", "prefixItems": [{}] * 3000},
}
GRAMMARS: dict[str, tuple[str, str]] = {
    "deep schema": ("json_schema", nested(40)),
    "deeper schema": ("json_schema", nested(200)),
    "deepest schema": ("json_schema", nested(15_000)),
    "huge schema": ("json_schema", json.dumps({"enum": ["x" * 10**7]})),
    "huge number": ("json_schema", '{"minimum":' + "9" * 5000 + "}"),
    "long chain of rules": (
        "lark",
        "start: r0\n" + "\n".join(f"r{i}: r{i + 1}" for i in range(5000)) + '\nr5000: "x"',
    ),
    "deep groups": ("lark", "start: " + "(" * 10_000 + '"a"' + ")" * 10_000),
    "deep grammars": ("lark", "start: " + "%lark { start: " * 2000 + '"a"' + " }" * 2000),
    "deep rules and groups": (
        "lark",
        "start: r0\n" + "\n".join(f'r{i}: "a"|(("a"|((r{i + 1}))))' for i in range(1500)) + '\nr1500: "x"',
    ),
    "endless rule": ("lark", 'start: a\na: "x" a'),
    "left recursion": ("lark", 'start: a\na: a "x" |'),
    "ambiguous rules": ("lark", 'start: s\ns: s s | s s s | "a" | ""'),
    "negations": ("lark", "start: A\nA: /(?s:.*)/ & ~(/(?s:.*)a.{500}b(?s:.*)/ | /(?s:.*)c.{500}d(?s:.*)/)"),
    "conjunctions": (
        "lark",
        "start: A\nA: " + " & ".join(f"/(?s:.*){chr(97 + i)}.{{{i + 9}}}z(?s:.*)/" for i in range(20)),
    ),
    "substrings": ("lark", 'start: A\nA: %regex {"substring_chars":"' + "ab" * 20_000 + '"}'),
    "counted rules": ("lark", 'start: a{0,30000}\na: b{0,30000}\nb: "x" | /[a-z]/ b'),
    "deep groups in GBNF": ("gbnf", "root ::= " + "(" * 5000 + '"a"' + ")" * 5000),
    "long chain in GBNF": (
        "gbnf",
        "root ::= r0\n" + "\n".join(f'r{i} ::= "a" r{i + 1}' for i in range(2500)) + '\nr2500 ::= "b"',
    ),
    "loop in GBNF": ("gbnf", "root ::= root"),
    "long text in GBNF": ("gbnf", 'root ::= "' + "a" * 60_000 + '"'),
    "many choices": ("regex", "|".join(f"a{i}" for i in range(2500))),
    "exponential automaton": ("regex", "(a|b)*a(a|b){30}"),
    "deep expression": ("regex", "(" * 5000 + "a" + ")" * 5000),
    "nothing at all": ("regex", r"[^\s\S]"),
    "long expression": ("regex", "a" * 15_000),
}
GRAMMARS |= {name: ("json_schema", json.dumps(schema)) for name, schema in SCHEMAS.items()}


def main() -> None:
    # Only here: the tests import this module for its names.
    from llmatic.engines.llama.grammar_vocabulary import grammar_tokenizer
    from llmatic.engines.llama.model import Model
    from llmatic.engines.llama.options import Options
    from tests.engines.constraints.conftest import MODEL
    from tests.engines.constraints.walking import Walker

    model = Model(MODEL, Options())
    walker = Walker(model.vocabulary, grammar_tokenizer(model.vocabulary))
    outcomes = {}
    for name, (kind, source) in GRAMMARS.items():
        try:
            compiled = walker.compile(kind, source)
        except InvalidRequest as error:
            outcomes[name] = "refused" if "\n" not in error.message else "refused in several lines"
            continue
        outcomes[name] = "compiled"
        try:
            walker.walk(compiled, 1, n_free=N_STEPS, n_most=N_STEPS)
        except GrammarFailed:
            outcomes[name] = "failed while it was followed"
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
