"""YAML text → a tree in which every value knows where it was written.

Owns the reading of YAML: no aliases, no tags, no duplicate keys, bounded size and depth, and one sentence
with file and line for each way in which a file can be no YAML. Never knows what a key means. Any thread.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from llmatic.core.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_CORE = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z")  # YAML 1.1 takes 1e-3 for text
_SCALARS = {"null", "bool", "int", "float", "str"}


@dataclass(frozen=True, slots=True)
class At:
    """Where something was written: a line of a file, or an environment variable."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `kind` is what YAML takes it for: null, bool, int, float or str."""

    at: At
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    at: At
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `keys` tells where each key was written."""

    at: At
    values: dict[str, "Node"]
    keys: dict[str, At]


Node = Scalar | Items | Table


def fail(at: At, message: str) -> NoReturn:
    """Raise ConfigError: where, then what, in one line."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    raise ConfigError(f"{at}: {line}")


def is_null(node: Node) -> bool:
    """True for a key without a value."""
    return isinstance(node, Scalar) and node.kind == "null"


def describe(node: Node) -> str:
    """What was found, for the end of "…, not …"."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    if node.kind == "null":
        return "nothing"
    shown = node.text if len(node.text) <= 60 else node.text[:57] + "…"
    return {"str": f"the text '{shown}'", "bool": shown}.get(node.kind, f"the number {shown}")


def read_file(path: Path) -> Table:
    """The file's tree. Raises ConfigError, always naming the file and, where there is one, the line."""
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8 text (byte 0x{raw[error.start]:02x})") from error
    node = parse(text, At(name, 1))
    if node is None:
        raise ConfigError(
            f"{name}: the file is empty; write a configuration or remove it to use the defaults"
        )
    if not isinstance(node, Table):
        fail(node.at, f"expected sections such as 'server:' and 'models:', found {describe(node)}")
    return node


def parse(text: str, at: At) -> Node | None:
    """The tree of one YAML document that starts at `at`; None if there is nothing in it."""
    if "\x00" in text:
        fail(at, "holds a NUL character")
    try:
        loader = _Loader(text)
        loader.where = at
        root = loader.get_single_node()
    except RecursionError:
        fail(at, f"nested more than {MAX_DEPTH} levels deep")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(f"{_line(at, line)}: {_words(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{at.source}: no YAML: {str(error).splitlines()[0]}") from error
    return None if root is None else _convert(root, at, 0)


class _Loader(yaml.SafeLoader):
    where: At

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: yaml.AliasEvent = self.peek_event()  # type: ignore[no-untyped-call]
            fail(
                _line(self.where, event.start_mark.line + 1 if event.start_mark else 1),
                f"aliases (*{event.anchor}) are not supported; write the value out",
            )
        return super().compose_node(parent, index)


def _line(at: At, line: int) -> At:
    return at if at.line is None else At(at.source, at.line + line - 1)


def _words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "no YAML"
    if "'\\t'" in problem:
        return "a tab cannot indent YAML; use spaces"
    return f"no YAML: {problem}" if error.context is None else f"no YAML: {problem} ({error.context})"


def _convert(node: yaml.Node, start: At, depth: int) -> Node:
    at = _line(start, node.start_mark.line + 1)
    if depth > MAX_DEPTH:
        fail(at, f"nested more than {MAX_DEPTH} levels deep")
    kind = node.tag.removeprefix(_CORE)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _table(node, at, start, depth)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return Items(at, tuple(_convert(item, start, depth + 1) for item in node.value))
    if isinstance(node, yaml.ScalarNode):
        if kind in ("timestamp", "value", "merge"):
            kind = "str"
        if node.style is None and _EXPONENT.match(node.value):
            kind = "float"
        if kind in _SCALARS:
            return Scalar(at, node.value, kind)
    fail(at, f"the YAML tag {node.tag} is not supported")


def _table(node: yaml.MappingNode, at: At, start: At, depth: int) -> Table:
    values: dict[str, Node] = {}
    keys: dict[str, At] = {}
    for key, value in node.value:
        key_at = _line(start, key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            fail(key_at, "a key must be plain text")
        if key.value in keys:
            fail(key_at, f"the key '{key.value}' is there twice; the first is on line {keys[key.value].line}")
        keys[key.value] = key_at
        values[key.value] = _convert(value, start, depth + 1)
    return Table(at, values, keys)
