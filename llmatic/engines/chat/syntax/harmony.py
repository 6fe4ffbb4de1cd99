"""Harmony, the format of gpt-oss: messages in channels, calls as messages to a function.

Owns the parser of a whole answer and its grammar. An answer goes on behind `<|start|>assistant`. Source of
the format: OpenAI's harmony guide and the template of gpt-oss. Pure; a parser belongs to one answer.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal

from llmatic.engines.chat.events import AnswerEvent, CallArguments, CallBegin, CallEnd, Content, Thought
from llmatic.engines.chat.syntax import Function, Mark
from llmatic.engines.chat.syntax.parameters import Texts
from llmatic.engines.chat.syntax.texts import Rules, closed_text
from llmatic.engines.constraints.grammars import schema_rules

Begin = Literal["header", "thinking", "content"]
_Place = Begin | Literal["call"]

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>")
_BEGINS_HEADER = ("<|start|>", "<|channel|>")
_LONGEST_HEADER = 400
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_STRING = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_HEADER = re.compile(
    r"\s*(?:<\|start\|>)?(?:assistant)?"
    r"(?:\s|to=[^\s<]*|<\|channel\|>\s*\w*(?: +(?:to=[^\s<]*|\w+))*|<\|constrain\|>\s*\w*)*"
)
_HEADER_WORDS = ("<|start|>", "<|channel|>", "<|constrain|>", _MESSAGE, "assistant", "to=")


class HarmonyParser:
    """See AnswerParser. Calls go to `functions.name`, or to a name out of `functions`.

    A message to anybody else, such as a tool that was not offered, is content.
    """

    def __init__(self, functions: Sequence[Function] = (), begins: Begin = "header") -> None:
        """`begins`: what the answer begins in the middle of."""
        self._names = frozenset(function.name for function in functions)
        self._place: _Place = begins
        self._held = ""
        self._at = 0  # of the first held character
        self._fallback: _Place = "content"  # what goes on where a header proves to be none
        self._arguments = ""
        self._is_in_string = False
        self._events: list[AnswerEvent] = []

    @property
    def is_thinking(self) -> bool:
        """See AnswerParser."""
        return self._place == "thinking"

    @property
    def is_calling(self) -> bool:
        """See AnswerParser."""
        return self._place == "call" or (self._place == "header" and self._callee(self._held) is not None)

    def feed(self, text: str) -> list[AnswerEvent]:
        """See AnswerParser."""
        self._held += text
        is_going_on = True
        while is_going_on:
            if self._place == "header":
                is_going_on = self._read_header()
            else:
                is_going_on = self._read_call() if self._place == "call" else self._read_body()
        return self._take()

    def finish(self) -> list[AnswerEvent]:
        """See AnswerParser."""
        if self._place != "header":
            self._give(len(self._held))
            if self._place == "call" and _is_json(self._arguments):
                self._events.append(CallEnd())
        elif self._held.strip() and not self._held.lstrip().startswith("<|"):
            self._place = "content"
            self._give(len(self._held))
        return self._take()

    def _take(self) -> list[AnswerEvent]:
        events, self._events = self._events, []
        return events

    def _drop(self, n: int) -> None:
        self._held = self._held[n:]
        self._at += n

    def _read_header(self) -> bool:
        """Read a header if it is whole, or find that it is none; false: not decided yet."""
        end = self._held.find(_MESSAGE)
        if not _may_be_header(self._held if end < 0 else self._held[:end], is_whole=end >= 0):
            self._place = self._fallback
            self._give(next((len(text) for text in _BEGINS_HEADER if self._held.startswith(text)), 0))
            return True
        if end < 0:
            return False
        header = self._held[:end]
        self._drop(end + len(_MESSAGE))
        name = self._callee(header)
        if name is not None:
            self._place = "call"
            self._arguments, self._is_in_string = "", False
            self._events.append(CallBegin(name))
        else:
            self._place = "thinking" if _CHANNEL.findall(header)[-1:] == ["analysis"] else "content"
        return True

    def _callee(self, header: str) -> str | None:
        """The function that a message goes to; None: to none."""
        found = _RECIPIENT.search(header)
        name = "" if found is None else found[1]
        if name.startswith("functions.") and name != "functions.":
            return name.removeprefix("functions.")
        return name if name in self._names else None

    def _read_call(self) -> bool:
        """Read arguments: nothing ends a message within JSON's strings."""
        if self._is_in_string:
            found = _STRING.match(self._held)
            assert found is not None
            self._is_in_string = not self._held.startswith('"', found.end())
            self._give(found.end() + (not self._is_in_string))
            return not self._is_in_string
        begin, quote, _ = self._held.partition('"')
        if not quote or any(end in begin for end in _ENDS):
            return self._read_body()
        self._is_in_string = True
        self._give(len(begin) + 1)
        return True

    def _read_body(self) -> bool:
        """Read text up to what ends a message; false: it has not ended."""
        found = [(at, end) for end in _ENDS if (at := self._held.find(end)) >= 0]
        if not found:
            self._give(len(self._held) - _overlap(self._held))
            return False
        at, end = min(found)
        self._give(at)
        if self._place == "call":
            if not self._arguments.strip():
                self._events.append(CallArguments("{}"))
            self._events.append(CallEnd())
        is_ended = end not in _BEGINS_HEADER
        if is_ended:
            self._drop(len(end))
        self._fallback = "content" if is_ended or self._place == "call" else self._place
        self._place = "header"
        return True

    def _give(self, n: int) -> None:
        """Give out the first `n` held characters."""
        text = self._held[:n]
        if self._place == "call":
            text = text if self._arguments else text.lstrip()
            self._arguments += text
        if text and self._place == "call":
            self._events.append(CallArguments(text))
        elif text:
            self._events.append(Thought(text) if self._place == "thinking" else Content(text, self._at))
        self._drop(n)


def harmony_grammar(
    functions: Sequence[Function],
    mark: Mark,
    *,
    mode: Literal["auto", "required"],
    content_rule: str | None = None,
    is_parallel: bool = True,  # noqa: ARG001 -- an answer ends with its first call
    begins: Begin = "header",
) -> str:
    """Lark for the whole answer: thinking and, if the mode is auto, preambles; then a call or the final text.

    `content_rule`: the rule of the final message's text, which the caller adds; None: any text. `begins`:
    what the answer begins in the middle of. The tokens that end an answer (`<|return|>`, `<|call|>`) are no
    part of it; they follow one call at the latest, so that `is_parallel` makes no difference.
    """
    rules = Rules("harmony_")
    text, following = closed_text(rules, (Texts(),), "<|end|>", mark), mark("<|start|>assistant")
    before = [rules.rule(f"{mark('<|channel|>analysis<|message|>')} {text} {following}")]
    last = [rules.rule(_call(rules, function, mark)) for function in functions]
    if functions and mode == "auto":
        before.append(rules.rule(f"{mark('<|channel|>commentary<|message|>')} {text} {following}"))
    content = content_rule or rules.rule(rules.terminal("/(?s:.*)/"))
    if mode == "auto" or not functions:
        kind = f'({mark(" <|constrain|>json")} | " json")?' if content_rule else ""
        last.append(rules.rule(f"{mark('<|channel|>final')} {kind} {mark(_MESSAGE)} {content}"))
    messages = f"({' | '.join(before)})* ({' | '.join(last)})"
    if begins == "thinking":
        messages = f"{text} {following} {messages}"
    elif begins == "content":
        messages = content
    return "\n".join(["%llguidance {}", f"start: {messages}", *rules.lines]) + "\n"


def _call(rules: Rules, function: Function, mark: Mark) -> str:
    to = f" to=functions.{function.name}"
    heads = [mark(f"<|channel|>commentary{to}"), mark(f"{to}<|channel|>commentary")]
    arguments = rules.name()
    rules.lines.append(schema_rules(function.schema, arguments))
    kind = f'({mark(" <|constrain|>json")} | {mark("<|constrain|>json")} | " json")?'
    return f"({' | '.join(heads)}) {kind} {mark(_MESSAGE)} {arguments}"


def _may_be_header(text: str, *, is_whole: bool) -> bool:
    """Whether `text` is a header; or, not whole, the beginning of one."""
    found = _HEADER.match(text[:_LONGEST_HEADER])
    assert found is not None
    rest = text[found.end() :]
    return not rest or (not is_whole and any(word.startswith(rest) for word in _HEADER_WORDS))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _overlap(held: str) -> int:
    """So many characters at the end of `held` may begin a token that ends a message."""
    at = held.rfind("<", max(0, len(held) - max(map(len, _ENDS)) + 1))
    return len(held) - at if at >= 0 and any(end.startswith(held[at:]) for end in _ENDS) else 0
