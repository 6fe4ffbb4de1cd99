"""Reading scripted answers, cut in many ways."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmatic.engines.chat.events import (
    AnswerEvent,
    AnswerParser,
    CallArguments,
    CallBegin,
    CallEnd,
    Content,
    Thought,
)


@dataclass(frozen=True, slots=True)
class Call:
    """What was read of a call."""

    name: str
    arguments: str
    id: str = ""
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read of an answer."""

    content: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()


def folded(events: Sequence[AnswerEvent]) -> Answer:
    """The answer that the events make, in their order."""
    content = "".join(event.text for event in events if isinstance(event, Content))
    thought = "".join(event.text for event in events if isinstance(event, Thought))
    calls: list[Call] = []
    is_open = False
    for event in events:
        if isinstance(event, CallBegin):
            assert not is_open or not calls[-1].is_whole
            calls.append(Call(event.name, "", event.id, is_whole=False))
            is_open = True
        elif isinstance(event, CallArguments):
            assert is_open
            assert event.text
            last = calls[-1]
            calls[-1] = Call(last.name, last.arguments + event.text, last.id, is_whole=False)
        elif isinstance(event, CallEnd):
            assert is_open
            last = calls[-1]
            calls[-1] = Call(last.name, last.arguments, last.id)
            is_open = False
    return Answer(content, thought, tuple(calls))


def read(parser: AnswerParser, pieces: Sequence[str]) -> Answer:
    """What `parser` makes of an answer that comes in these pieces; content is where it says."""
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    raw = "".join(pieces)
    for event in events:
        if isinstance(event, Content):
            assert raw[event.at : event.at + len(event.text)] == event.text
    return folded(events)


def cuttings(raw: str) -> Iterator[list[str]]:
    """`raw` whole, in two pieces in every way, in single characters and at random."""
    yield [raw]
    for at in range(1, len(raw)):
        yield [raw[:at], raw[at:]]
    yield list(raw)
    chance = random.Random(raw)
    for _ in range(5):
        cuts = sorted(chance.sample(range(len(raw) + 1), min(len(raw), 1 + len(raw) // 4)))
        yield [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def read_in_every_way(make_parser: Callable[[], AnswerParser], raw: str) -> Answer:
    """What is read of `raw`, which is the same however it is cut."""
    answer = read(make_parser(), [raw])
    for pieces in cuttings(raw):
        assert read(make_parser(), pieces) == answer, pieces
    return answer
