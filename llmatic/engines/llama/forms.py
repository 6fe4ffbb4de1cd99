"""What an answer must look like and how it is read: from a request to its grammar and its parser.

Owns the one compiler of a model's grammars, which it makes when the first one is needed. Runs off the
engine's thread: compiling takes a millisecond or, for hard grammars, many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import llguidance

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, Constraint, GenerationRequest
from llmatic.engines.chat.answer import plan_answer
from llmatic.engines.chat.events import AnswerParser
from llmatic.engines.chat.families import Family
from llmatic.engines.chat.memory import Memory
from llmatic.engines.chat.syntax import Mark
from llmatic.engines.constraints.compiler import Compiler
from llmatic.engines.constraints.grammars import constraint_rules
from llmatic.engines.constraints.matcher import Matcher

_HEAD = "%llguidance {}\n"


@dataclass(frozen=True, slots=True)
class Thinking:
    """A limit on thinking: after `n_tokens_max` tokens of it come `end_tokens`, which close it."""

    n_tokens_max: int
    end_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """How one request is answered; makes what each of its choices needs of its own."""

    matcher: Callable[[], Matcher] | None = None
    parser: Callable[[], AnswerParser] | None = None
    thinking: Thinking | None = None


FREE = Form()


class Words(Protocol):
    """What must be known of the vocabulary; see `vocabulary`."""

    n_tokens: int

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Token ids of a text."""
        ...


class Forms:
    """Finds the forms of one model's answers.

    `family`: by whose rules its chats go; None if it cannot chat. Not `presents_tools`: its template knows
    of no tools. `mark` and `tokenizer`: the vocabulary as grammars see it; the tokenizer is made when it is
    first needed.
    """

    def __init__(
        self,
        vocabulary: Words,
        family: Family | None,
        *,
        presents_tools: bool,
        mark: Mark,
        tokenizer: Callable[[], llguidance.LLTokenizer],
    ) -> None:
        self._vocabulary = vocabulary
        self._family = family
        self._presents_tools = presents_tools
        self._mark = mark
        self._tokenizer = tokenizer
        self._compiler: Compiler | None = None
        self._memory = Memory()

    def read(self, request: GenerationRequest, *, rendered: str = "", prefill: str = "") -> Form:
        """The form of the request's answers, of which `prefill` is written already.

        `rendered`: a chat's prompt as its template wrote it. Raises InvalidRequest naming the field at fault.
        """
        prompt, family = request.prompt, self._family
        if not isinstance(prompt, ChatPrompt) or family is None:
            if request.constraint is None:
                return FREE
            return Form(self._matcher(_whole(request.constraint), request.constraint.param, prefill))
        plan = plan_answer(
            family,
            prompt,
            request.constraint,
            rendered,
            self._mark,
            prefill=prefill,
            presents_tools=self._presents_tools,
            memory=self._memory,
        )
        thinking = None
        if request.reasoning_budget is not None and plan.close_thinking:
            end = self._vocabulary.tokenize(plan.close_thinking, parse_special=True)
            thinking = Thinking(request.reasoning_budget, tuple(end))
        elif request.reasoning_budget and not prompt.effort_is_wish:
            raise InvalidRequest(
                "Unsupported parameter: 'thinking_budget_tokens' is not supported with this model. "
                "It does not think before it answers.",
                param="thinking_budget_tokens",
                code="unsupported_parameter",
            )
        matcher = None if plan.grammar is None else self._matcher(plan.grammar, plan.param, prefill)
        if matcher is None and plan.make_parser is None and thinking is None:
            return FREE
        return Form(matcher, plan.make_parser, thinking)

    def _matcher(self, grammar: str, param: str, prefill: str) -> Callable[[], Matcher]:
        if self._compiler is None:
            self._compiler = Compiler(self._tokenizer(), self._vocabulary.n_tokens)
        compiled = self._compiler.compile(grammar, param=param)
        if not prefill:
            return compiled.start
        begun = compiled.start()
        for token in self._vocabulary.tokenize(prefill, parse_special=False):
            if not begun.accepts(token):
                raise InvalidRequest(
                    f"The last message, which is to be continued, does not fit '{param}'.", param="messages"
                )
        return begun.copy


def _whole(constraint: Constraint) -> str:
    return _HEAD + constraint_rules(constraint, "start")
