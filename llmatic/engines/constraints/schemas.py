"""JSON schemas made ready to be enforced.

`prepare` turns a schema into an equal or narrower one of a few plain forms, which `json_rules` writes as a
grammar: every answer that fits the result fits what was sent. What cannot be enforced is refused, or, in
the lenient way, dropped. Reads nothing but the schema: no references to elsewhere. Pure; any thread.

The plain forms:

    {}                                              any JSON value
    {"$ref": "#/$defs/KEY"}
    {"enum": [values]}
    {"anyOf": [forms]}
    {"type": "null" | "boolean"}
    {"type": "string", minLength, maxLength, "pattern": [patterns that must all match]}
    {"type": "integer" | "number", minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf}
    {"type": "array", "prefixItems": [forms], "items": form, minItems, maxItems}
    {"type": "object", "properties": {name: form}, "required": [names], "additionalProperties": form or not
     there, "propertyNames": form, minProperties, maxProperties, "absent": [names that must not be there]}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from llmatic.engines.constraints import keywords
from llmatic.engines.constraints.choices import are_disjoint, fitting_values
from llmatic.engines.constraints.forms import check_form, check_value
from llmatic.engines.constraints.merging import Unmergeable, merged
from llmatic.engines.constraints.satisfying import TooTangled, satisfiable
from llmatic.engines.constraints.subject import Path, Subject

# So large a schema compiles in well under a second.
MAX_PARTS = 20_000
MAX_DEPTH = 48
MAX_CONSTANTS = 20_000
MAX_LEAVES = 400
# Of the definitions' own depths together: so deep could their rules refer to each other.
MAX_DEFINED_DEPTH = 3_000

Form = dict[str, Any]
Way = Literal["exact", "lenient"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A schema in plain forms, its definitions under `$defs`; and what of the original was dropped."""

    schema: Form
    dropped: tuple[str, ...] = ()


def prepare(schema: Any, subject: Subject, *, way: Way = "exact") -> Prepared:
    """The schema in plain forms. Raises InvalidRequest, naming the keyword and where it stands."""
    cleaner = _Cleaner(schema, subject, way)
    forms = {"": cleaner.part(schema, (), 0)}
    while cleaner.pending:
        key, target, path = cleaner.pending.pop()
        forms[key] = cleaner.part(target, path, 0)
        if cleaner.defined_depth() > MAX_DEFINED_DEPTH:
            raise subject.refusal("its definitions are too many, or nested too deeply.")
    try:
        kept = satisfiable(forms)
    except TooTangled:
        raise subject.refusal("its definitions refer to each other in too many ways.") from None
    if "" not in kept:
        raise subject.refusal("no finite JSON value satisfies the schema.")
    root = kept.pop("")
    return Prepared(root | {"$defs": kept} if kept else root, tuple(cleaner.dropped))


@dataclass(slots=True)
class _Cleaner:
    """The state of one `prepare`. Owns the definitions found so far."""

    root: Any
    subject: Subject
    way: Way
    pending: list[tuple[str, Any, Path]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    _keys: dict[str, str] = field(default_factory=dict)
    _leaves: set[str] = field(default_factory=set)
    _n_choosing: int = 0
    _n_parts: int = 0
    _deepest: int = 0
    _depths: int = 0
    _n_constants: int = 0

    def part(self, node: Any, path: Path, depth: int) -> Form:
        """The plain form of a part of the schema."""
        self._n_parts += 1
        if self._n_parts > MAX_PARTS:
            raise self.subject.refusal(f"the schema has more than {MAX_PARTS} parts.")
        if depth > MAX_DEPTH:
            raise self.subject.refusal_at(path, f"the schema is nested deeper than {MAX_DEPTH} levels.")
        self._deepest = max(self._deepest, depth)
        check_form(node, path, self.subject)
        if isinstance(node, bool):
            return {} if node else {"enum": []}
        node = keywords.without_remarks(node, self._leave_out, path)
        if not node or node.get("enum") == []:
            return dict(node)
        if "$ref" in node:
            return self._reference(node, path, depth)
        if "const" in node or "enum" in node:
            return self._constants(node, path)
        if "anyOf" in node or "oneOf" in node:
            return self._choice(node, path, depth)
        if "allOf" in node:
            return self._all(node, path, depth)
        return self._typed(node, path, depth)

    def defined_depth(self) -> int:
        """The depths of the definitions seen so far, together; to be asked after each."""
        self._depths += self._deepest + 1
        self._deepest = 0
        return self._depths

    def is_impossible(self, path: Path, words: str) -> bool:
        """No value fits: True for a choice, which others stand beside; else refused, or noted as dropped."""
        if self._n_choosing == 0:
            self.problem(path, words)
        return self._n_choosing > 0

    def count_leaf(self, form: Form) -> None:
        """Patterns and limits of numbers are compiled one by one, so there may be so many different ones."""
        if len(form) > 1:
            self._leaves.add(keywords.compact(form))
        if len(self._leaves) > MAX_LEAVES:
            words = f"it has more than {MAX_LEAVES} different patterns, formats and limits of numbers."
            raise self.subject.refusal(words)

    def problem(self, path: Path, words: str) -> None:
        """Something cannot be enforced: refused, or noted as dropped."""
        if self.way == "exact":
            raise self.subject.refusal_at(path, words)
        self.dropped.append(f"In context={path!r}, {words}")

    def _leave_out(self, path: Path, keyword: str) -> None:
        self.problem(path, f"'{keyword}' cannot be enforced.")

    def _reference(self, node: Form, path: Path, depth: int) -> Form:
        rest = {keyword: value for keyword, value in node.items() if keyword != "$ref"}
        target = self._target(node["$ref"], path)
        if target is None:
            return self.part(rest, path, depth + 1)
        if rest:
            return self.part(self._merged(target, rest, path), path, depth + 1)
        key = self._keys.get(node["$ref"])
        if key is None:
            key = self._keys[node["$ref"]] = f"d{len(self._keys)}"
            steps = tuple(unquote(step) for step in node["$ref"].split("/")[1:])
            self.pending.append((key, target, steps))
        return {"$ref": f"#/$defs/{key}"}

    def _target(self, reference: str, path: Path) -> Any:
        """What a reference points at; None if it is dropped."""
        own = self.root.get("$id", "") if isinstance(self.root, Mapping) else ""
        local = reference.removeprefix(own) if own else reference
        if local and not local.startswith("#"):
            words = f"'$ref' {reference!r} points outside the schema, where nothing is read."
            self.problem(path, words)
            return None
        target = keywords.pointed_at(self.root, local[1:])
        if not isinstance(target, bool | Mapping):
            raise self.subject.refusal_at(path, f"'$ref' {reference!r} points at no schema.")
        return target

    def _merged(self, left: Any, right: Any, path: Path) -> Any:
        if left is False or right is False:
            return False
        if left is True or right is True:
            return right if left is True else left
        check_form(left, path, self.subject)
        check_form(right, path, self.subject)
        left = keywords.without_remarks(left, self._leave_out, path)
        right = keywords.without_remarks(right, self._leave_out, path)
        try:
            return merged(left, right)
        except Unmergeable as error:
            words = f"'{error}' of schemas that must hold together cannot be enforced for both."
            self.problem(path, words)
            return left

    def _constants(self, node: Form, path: Path) -> Form:
        check_value([node.get("const"), node.get("enum")], path, self.subject)
        values = node.get("enum", [node.get("const")])
        rest = {keyword: value for keyword, value in node.items() if keyword != "enum"}
        self._n_constants += len(values)
        if self._n_constants > MAX_CONSTANTS:
            raise self.subject.refusal(f"the schema has more than {MAX_CONSTANTS} enum values.")
        try:
            fitting = fitting_values(values, rest)
        except Unmergeable as error:
            self.problem(path, f"'{error}' beside 'enum' or 'const' cannot be enforced.")
            fitting = values
        if not fitting:
            words = f"no value of 'enum' or 'const' satisfies {sorted(rest)}."
            fitting = [] if self.is_impossible(path, words) else values
        return {"enum": fitting}

    def _choice(self, node: Form, path: Path, depth: int) -> Form:
        keyword = "anyOf" if "anyOf" in node else "oneOf"
        rest = {key: value for key, value in node.items() if key != keyword}
        if keyword == "oneOf" and not are_disjoint(node["oneOf"], self.root):
            words = "'oneOf' cannot be enforced for schemas that may hold at once; 'anyOf' can."
            self.problem(path, words)
        forms = []
        for index, option in enumerate(node[keyword]):
            step = (*path, keyword, str(index))
            self._n_choosing += bool(rest)
            forms.append(self.part(self._merged(rest, option, step) if rest else option, step, depth + 1))
            self._n_choosing -= bool(rest)
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _all(self, node: Form, path: Path, depth: int) -> Form:
        result: Any = {keyword: value for keyword, value in node.items() if keyword != "allOf"}
        for index, part in enumerate(node["allOf"]):
            result = self._merged(result, part, (*path, "allOf", str(index)))
        return self.part(result, path, depth + 1)

    def _typed(self, node: Form, path: Path, depth: int) -> Form:
        kinds = keywords.types_of(node)
        if not kinds:
            return {}
        forms = []
        for kind in kinds:
            if kind == "object":
                form = keywords.object_form(node, path, self, depth)
            elif kind == "array":
                form = keywords.array_form(node, path, self, depth)
            elif kind == "string":
                form = keywords.string_form(node, path, self)
            elif kind in ("integer", "number"):
                form = keywords.number_form(node, kind, path, self)
            else:
                form = {"type": kind}
            forms.append(form)
        return forms[0] if len(forms) == 1 else {"anyOf": forms}
