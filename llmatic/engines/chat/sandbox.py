"""The Jinja environment in which chat templates run.

Owns what a template may do and how much of it: transformers' dialect (raise_exception, strftime_now,
tojson, break/continue, generation tags) inside Jinja's immutable sandbox, with a budget of steps and
characters for each rendering, because a template comes with a downloaded model and must not be able to
hang the engine or eat its memory. A template may append to lists of its own making, never to what it is
given. Never reads files and never knows what a message is. A compiled template may be rendered by several
threads at once: the budget lives in the rendering's own context.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, NoReturn

from jinja2 import Environment, Template, TemplateError, meta, nodes, pass_context
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_STEPS = 2_000_000
MAX_CHARACTERS = 32_000_000
MAX_INTEGER_ARGUMENT = 1_000_000
BUDGET = "llmatic budget"  # not an identifier, so that no template can name it
RANGE_LIMIT = 100_000
_SIZED_FILTERS = ("batch", "center", "indent", "round", "slice", "tojson", "truncate", "wordwrap")
_OF_OWN_LISTS = ("append", "pop")
_WIDE = re.compile(r"[0-9]{6,}")


class Given(list[Any]):
    """A list that a template was given, in an environment where it may change its own."""

    __slots__ = ()


class TemplateRaised(TemplateError):
    """The template itself refused the conversation, by `raise_exception`."""


class BudgetExceeded(TemplateError):
    """The template did more work, or wrote more, than one rendering may."""


class Budget:
    """What is left of one rendering's steps and characters. Its methods are out of a template's reach."""

    __slots__ = ("_characters", "_steps")

    def __init__(self, steps: int = MAX_STEPS, characters: int = MAX_CHARACTERS) -> None:
        self._steps = steps
        self._characters = characters

    def _step(self, n: int = 1) -> None:
        self._steps -= n
        if self._steps < 0:
            raise BudgetExceeded("the template runs for too long")

    def _hold(self, n: int) -> None:
        """A value of `n` characters or items is about to be made."""
        if n > MAX_CHARACTERS:
            raise BudgetExceeded("the template makes a value that is too large")
        self._step(1 + n // 1024)

    def _write(self, n: int) -> None:
        self._characters -= n
        if self._characters < 0:
            raise BudgetExceeded("the template writes too much")


def _budget(context: Context) -> Budget:
    budget: Budget = context.parent[BUDGET]
    return budget


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here it is nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body, as if the tags were not there."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with a budget on calls, loops, operators and output."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    has_own_lists = False

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As Jinja has it, but lists that are not `Given` may be appended to if `has_own_lists`."""
        if self.has_own_lists and type(obj) is list and attr in _OF_OWN_LISTS:
            return True
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call from a template: costs a step and the length of what is passed in."""
        cost = 1 + sum(len(value) for value in args if isinstance(value, list | tuple | dict | range))
        _budget(__context)._step(cost)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            _check_integers(*args, *kwargs.values())
            _check_growth(method.__name__, text, args)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make something large out of something small."""
        budget = _budget(context)
        if operator == "+" and type(left) is str and type(right) is str:  # nearly every one of them
            budget._hold(len(left) + len(right))
            return left + right
        budget._step()
        if operator in ("*", "**"):
            _check_product(budget, operator, left, right)
        elif operator == "%" and isinstance(left, str):
            _check_width(left)
        elif (
            operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple)
        ):
            budget._hold(len(left) + len(right))
        return super().call_binop(context, operator, left, right)


def compile_template(environment: Environment, source: str) -> tuple[Template, set[str]]:
    """(the template, the names it takes from outside), its loops and concatenations counted.

    Raises jinja2.TemplateSyntaxError.
    """
    tree = environment.parse(source)
    free_names = meta.find_undeclared_variables(tree)
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = nodes.Filter(loop.iter, "llmatic_steps", [], [], None, None, lineno=loop.lineno)
    for joined in list(tree.find_all(nodes.Concat)):
        inner = nodes.Concat(joined.nodes, lineno=joined.lineno)
        joined.nodes = [nodes.Filter(inner, "llmatic_text", [], [], None, None, lineno=joined.lineno)]
    tree.set_environment(environment)
    code = environment.compile(tree, filename="<chat template>")
    return Template.from_code(environment, code, environment.make_globals(None)), free_names


def make_environment(*, has_own_lists: bool = False) -> ChatEnvironment:
    """A fresh environment with transformers' settings, filters and functions.

    `has_own_lists`: templates may append to lists; every list passed to them must be `Given`.
    """
    environment = ChatEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[LoopControlExtension, GenerationTag],
        finalize=_finalize,
    )
    environment.has_own_lists = has_own_lists
    environment.filters["tojson"] = _tojson
    environment.filters["replace"] = _replace
    environment.filters["format"] = _format
    environment.filters |= {name: _guarded(environment.filters[name]) for name in _SIZED_FILTERS}
    environment.filters["llmatic_steps"] = _steps
    environment.filters["llmatic_text"] = _text
    del environment.globals["lipsum"]  # writes as much as it is told to; no chat template wants it
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["range"] = _range
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
    return environment


def given(value: Any) -> Any:
    """`value` with every list in it `Given`."""
    if isinstance(value, Mapping):
        return {key: given(item) for key, item in value.items()}
    return Given(map(given, value)) if isinstance(value, list | tuple) else value


def _check_product(budget: Budget, operator: str, left: Any, right: Any) -> None:
    for a, b in ((left, right), (right, left)):
        if isinstance(a, str | list | tuple) and isinstance(b, int):
            budget._hold(len(a) * max(b, 0))
        elif isinstance(a, int) and a.bit_length() > 64:
            raise BudgetExceeded("the template computes with numbers that are too large")
    if operator == "**" and isinstance(right, int) and right > 64:
        raise BudgetExceeded("the template computes with numbers that are too large")


def _raise_exception(message: object = "") -> NoReturn:
    raise TemplateRaised(str(message))


def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > RANGE_LIMIT:
        raise BudgetExceeded(f"the template asks for a range of more than {RANGE_LIMIT} numbers")
    return numbers


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers writes it: no HTML escapes, which Jinja's own filter would add."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_listed,
    )


def _listed(value: Any) -> list[Any]:
    """What `map` and its like made, for `tojson`."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _replace(text: Any, old: str, new: str, count: int = -1) -> str:
    text = str(text)
    _check_growth("replace", text, (old, new))
    replaced: str = text.replace(str(old), str(new), -1 if count is None else count)
    return replaced


def _format(text: Any, *args: Any, **kwargs: Any) -> str:
    text = str(text)
    _check_width(text)
    formatted: str = text % (kwargs or args)
    return formatted


def _check_integers(*values: Any) -> None:
    if any(isinstance(value, int) and abs(value) > MAX_INTEGER_ARGUMENT for value in values):
        raise BudgetExceeded("the template asks for a width or a count that is too large")


def _check_width(form: str) -> None:
    if _WIDE.search(form) or "*" in form:
        raise BudgetExceeded("the template formats a field that is too wide")


def _check_growth(method: str, text: str, args: tuple[Any, ...]) -> None:
    """Refuse the methods of str that make something huge out of little."""
    if method in ("format", "format_map") and _WIDE.search(text):
        raise BudgetExceeded("the template formats a field that is too wide")
    size = 0
    if method == "replace" and len(args) >= 2 and all(isinstance(arg, str) for arg in args[:2]):
        size = text.count(args[0]) * len(args[1])
    elif method == "join" and args and isinstance(args[0], list | tuple):
        size = sum(len(text) + len(part) for part in args[0] if isinstance(part, str))
    if size > MAX_CHARACTERS:
        raise BudgetExceeded("the template makes a value that is too large")


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _check_integers(*args[1:], *kwargs.values())
        return function(*args, **kwargs)

    return guarded


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    if isinstance(value, str):
        _budget(context)._write(len(value))
    return value


@pass_context
def _steps(context: Context, items: Iterable[Any]) -> Iterable[Any]:
    if isinstance(items, Undefined):
        return items
    return _counted(_budget(context), items)


def _counted(budget: Budget, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        budget._step()
        yield item


@pass_context
def _text(context: Context, text: str) -> str:
    _budget(context)._hold(len(text))
    return text
