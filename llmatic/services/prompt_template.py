"""Prompt templates: messages with variables, checked when they are written, filled in when they are used.

Owns what a template's author and the caller who fills it in are told. Templates run in the sandbox of chat
templates, with a smaller budget of steps and characters. Never imported by the server, whom its callers'
templates must not hold up: see `confined`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.utils import missing

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat.sandbox import (
    BUDGET,
    Budget,
    BudgetExceeded,
    ChatEnvironment,
    compile_template,
    make_environment,
)

Prompt = Mapping[str, Any]

DATA: Final = "data"
MAX_STEPS: Final = 200_000
MAX_CHARACTERS: Final = 4_000_000


class MissingVariable(UndefinedError):
    """A template uses a variable that it was not given; the message is its name."""


class Strict(StrictUndefined):
    """A variable that is not there: it may be tested with `is defined`, and nothing else."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = None
    ) -> None:
        super().__init__(hint, obj, name, exc if exc is not None and hint else MissingVariable)

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


def check_prompts(prompts: Sequence[Prompt]) -> None:
    """Raises InvalidRequest, naming the prompt and the line, for a template that is none."""
    environment = _environment()
    for index, prompt in enumerate(prompts):
        if prompt.get("content_type", "jinja") == "jinja":
            _compiled(environment, prompt["content"], index)


def render_prompts(prompts: Sequence[Prompt], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chat messages; a template that writes nothing gives none.

    The keys of `data` are the templates' variables, and `data` is all of them. Raises InvalidRequest naming
    the variable that is missing, or what else is wrong.
    """
    environment = _environment()
    values = {DATA: data, **data, BUDGET: Budget(MAX_STEPS, MAX_CHARACTERS)}
    messages = []
    for index, prompt in enumerate(prompts):
        text = prompt["content"]
        if prompt.get("content_type", "jinja") == "jinja":
            text = _rendered(environment, text, values, index)
        if text.strip():
            messages.append({"role": prompt["role"], "content": text})
    if not messages:
        raise InvalidRequest("The interaction's prompts are empty with this data.", param=DATA)
    return messages


def _environment() -> ChatEnvironment:
    environment = make_environment()
    environment.undefined = Strict
    return environment


def _compiled(environment: ChatEnvironment, source: str, index: int) -> Any:
    try:
        template, _ = compile_template(environment, source)
    except TemplateSyntaxError as error:
        raise InvalidRequest(
            f"Invalid template in 'prompts[{index}].content': line {error.lineno}: {error.message}",
            param=f"prompts[{index}].content",
        ) from None
    except (TemplateError, RecursionError) as error:
        raise InvalidRequest(
            f"Invalid template in 'prompts[{index}].content': {error}", param=f"prompts[{index}].content"
        ) from None
    return template


def _rendered(environment: ChatEnvironment, source: str, values: Mapping[str, Any], index: int) -> str:
    template = _compiled(environment, source, index)
    try:
        rendered: str = template.render(values)
        rendered.encode()
    except MissingVariable as error:
        raise InvalidRequest(
            f"Missing required variable: '{DATA}.{error.message}', which 'prompts[{index}].content' uses.",
            param=f"{DATA}.{error.message}",
            code="missing_required_parameter",
        ) from None
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"The template in 'prompts[{index}].content' writes half of a surrogate pair, which is no text.",
            param=f"prompts[{index}].content",
        ) from None
    except BudgetExceeded as error:
        raise InvalidRequest(
            f"The template in 'prompts[{index}].content' cannot be filled in: {error}.", param=DATA
        ) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise InvalidRequest(
            f"The template in 'prompts[{index}].content' cannot be filled in with this data: {error}",
            param=DATA,
        ) from None
    return rendered
