"""llama.cpp's grammar notation (GBNF) as Lark rules with the same meaning.

GBNF works character by character; llguidance takes the longest lexeme: `"3" ws "\n"` could never end if
`ws` took the newline. So a grammar with recursion becomes rules whose lexemes are single characters, and one
without becomes one regular expression. Notation is read by llguidance's own reader. Pure; any thread.
"""

import json
import re
from collections.abc import Iterator

from llguidance.gbnf_to_lark import (
    AlternativeNode,
    ASTNode,
    GbnfToLarkError,
    GrammarParser,
    LiteralNode,
    RegexNode,
    RepetitionNode,
    RuleNode,
    RuleRefNode,
    SequenceNode,
)

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t"}


class GbnfError(Exception):
    """The grammar cannot be read; the message says why and where."""


def to_lark(source: str) -> str:
    """A Lark grammar with rule `start`. Raises GbnfError."""
    try:
        rules = GrammarParser().parse(source)
    except GbnfToLarkError as error:
        raise GbnfError(str(error)) from error
    except (RecursionError, IndexError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "it ends in an escape"
        raise GbnfError(what) from error
    if "root" not in rules:
        raise GbnfError("it has no rule 'root'")
    for rule in rules.values():
        for name in _names(rule):
            if name not in rules:
                raise GbnfError(f"rule '{rule.name}' refers to '{name}', which is not defined")
    writer = _Writer(rules, is_regular=not _is_recursive(rules))
    return writer.written()


def _names(node: ASTNode) -> Iterator[str]:
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, RuleRefNode):
            yield node.name
        pending += node.children()


def _is_recursive(rules: dict[str, RuleNode]) -> bool:
    """Whether any rule refers to itself, by whatever way: then some cannot be put in order."""
    left = {name: set(_names(rule)) for name, rule in rules.items()}
    while left:
        free = {name for name, needed in left.items() if not needed & left.keys()}
        if not free:
            return True
        left = {name: needed for name, needed in left.items() if name not in free}
    return False


class _Writer:
    """Writes the rules of one grammar, as terminals if it `is_regular`."""

    def __init__(self, rules: dict[str, RuleNode], *, is_regular: bool) -> None:
        self._rules = rules
        self._is_regular = is_regular
        stem = "T" if is_regular else "r"
        self._names = {name: f"{stem}{number}" for number, name in enumerate(rules)}

    def written(self) -> str:
        lines = ["%llguidance {}", f"start: {self._names['root']}"]
        for name, rule in self._rules.items():
            lines.append(f"{self._names[name]}: {self._node(rule.alternatives)}")
        return "\n".join(lines) + "\n"

    def _node(self, node: ASTNode) -> str:
        match node:
            case LiteralNode():
                return self._literal(node.value)
            case RegexNode():
                return f"/{_character_class(node.rx)}/"
            case RuleRefNode():
                return self._names[node.name]
            case RepetitionNode():
                most = "" if node.max_times is None else node.max_times
                return f"({self._node(node.node)}){{{node.min_times},{most}}}"
            case SequenceNode():
                return " ".join(self._node(part) for part in node.nodes) or '""'
            case AlternativeNode():
                return "(" + " | ".join(self._node(part) for part in node.alternatives) + ")"
        raise AssertionError(f"no such node: {node!r}")

    def _literal(self, escaped: str) -> str:
        text = _ESCAPE.sub(_character, escaped)
        pieces = [text] if self._is_regular or not text else list(text)
        return " ".join(json.dumps(piece, ensure_ascii=False).replace("\x7f", "\\u007f") for piece in pieces)


def _character(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if code is None:
        return _PLAIN.get(escape[4], escape[4])
    number = int(code, 16)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise GbnfError(f"'{escape[0]}' is no character")
    return chr(number)


def _character_class(expression: str) -> str:
    if expression == ".":
        return "(?s:.)"
    if expression in ("[]", "[^]"):
        return "[^\\s\\S]" if expression == "[]" else "(?s:.)"

    spelled = _ESCAPE.sub(lambda escape: f"\\x{{{ord(_character(escape)):x}}}", expression)
    # Two of these in a row would be an operator of Rust's classes.
    return re.sub(r"([&~])", r"\\\1", spelled)
