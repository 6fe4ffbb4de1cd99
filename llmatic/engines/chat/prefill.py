"""The prompt of an answer whose beginning the client has written.

Owns where the prompt is cut so that the answer goes on inside the assistant's last message. Pure; any thread.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from llmatic.engines.chat.conversation import Message

Render = Callable[[Sequence[Message], bool], str]


def render_continued(render: Render, messages: Sequence[Message], sentinel: str) -> tuple[str, str]:
    """(the prompt up to the begun answer, the begun answer as it stands there) for messages that end with it.

    `render(messages, add_generation_prompt)`. `sentinel`: a text that occurs nowhere else. The answer's
    content is what goes on: a template that would have the model think first closes the thinking as it does
    for earlier answers. One that does not show the message gets a new answer's beginning and the text.
    """
    last = messages[-1]
    begun = _text(last.get("content"))
    marked = {**last, "content": _marked(last.get("content"), sentinel)}
    before, found, _ = render([*messages[:-1], marked], False).rpartition(sentinel)
    if not found:
        return render(messages[:-1], True), begun
    n_begun = len(common_beginning(before[::-1], begun[::-1]))
    return before[: len(before) - n_begun], begun[len(begun) - n_begun :]


def _marked(content: Any, sentinel: str) -> Any:
    if not isinstance(content, list):
        return (content or "") + sentinel
    last = content[-1] if content else {}
    if not isinstance(last.get("text"), str):
        return [*content, {"type": "text", "text": sentinel}]
    return [*content[:-1], {**last, "text": last["text"] + sentinel}]


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))


def common_beginning(one: str, other: str) -> str:
    """The longest text with which both begin."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]
