"""Reading sections of calls, cut in many ways."""

from collections.abc import Sequence
from typing import Any

from llmatic.engines.chat.events import AnswerEvent, Content
from llmatic.engines.chat.syntax import CallSyntax, Function
from tests.engines.chat.reading import Answer, Call, cuttings, folded


def read_pieces(
    syntax: CallSyntax, functions: Sequence[Function], pieces: Sequence[str], opener: str
) -> tuple[Answer, str | None]:
    """What is read of a section, and what follows it; None: it has not ended."""
    reader = syntax.reader(opener, functions)
    events: list[AnswerEvent] = []
    for n, piece in enumerate(pieces):
        found, rest = reader.feed(piece)
        events += found
        if rest is not None:
            return folded(events), rest + "".join(pieces[n + 1 :])
    events += reader.finish()
    for event in events:
        if isinstance(event, Content):
            assert "".join(pieces)[event.at : event.at + len(event.text)] == event.text
    return folded(events), None


def read_section(
    syntax: CallSyntax, functions: Sequence[Function], text: str, opener: str = ""
) -> tuple[Answer, str | None]:
    """The same, which is the same however the text is cut."""
    opener = opener or syntax.opens[0]
    read = read_pieces(syntax, functions, [text], opener)
    for pieces in cuttings(text):
        assert read_pieces(syntax, functions, pieces, opener) == read, pieces
    return read


def function(name: str, properties: dict[str, Any], required: Sequence[str] = ()) -> Function:
    """A function with these parameters, its schema in plain forms."""
    return Function(name, {"type": "object", "properties": properties, "required": list(required)})


def is_refused(read: tuple[Answer, str | None], text: str) -> bool:
    """Whether all the text turned out to be none of a section's."""
    answer, rest = read
    return answer.calls == () and (rest == text if rest is not None else answer.content == text)


def call(name: str, arguments: str, *, is_whole: bool = True) -> Call:
    """A call that was read."""
    return Call(name, arguments, is_whole=is_whole)
