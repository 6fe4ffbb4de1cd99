"""The messages of an Anthropic request, in the one form that engines know (see `chat_messages`).

Owns the reduction of turns and their blocks to that form, and the rule that tool uses are answered. Takes
bodies that the contract has checked. Pure; any thread.

Turns of one role in a row are one turn. Texts of the user and of the system are joined by a blank line, those
of the assistant by nothing. Results of tools come before what else their turn holds; a picture in a result
stands at the beginning of the user's message behind the results, since templates show no pictures in results.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmatic.api.message_parts import frame, holds_pictures, is_picture, picture, text_of_block
from llmatic.core.errors import InvalidRequest

Body = Mapping[str, Any]
Block = Mapping[str, Any]
Message = dict[str, Any]

_APART = "\n\n"
_MAX_SHOWN = 100
_PLACE = re.compile(r"messages\.?\[(\d+)\](?:\.content\.?\[(\d+)\])?")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A block and the path at which the client wrote it."""

    block: Block
    path: str


@dataclass(slots=True)
class _Turn:
    """Messages in a row of one role; `path`: where the first of them stands."""

    role: str
    path: str
    blocks: list[_Placed] = field(default_factory=list)


@dataclass(slots=True)
class Turns:
    """The messages in their one form. `continues`: the last one, the assistant's, is to be gone on with.

    `paths`: where the client wrote each message; `part_paths`: and each part of those that are lists.
    """

    messages: list[Message] = field(default_factory=list)
    continues: bool = False
    paths: list[str] = field(default_factory=list)
    part_paths: dict[tuple[int, int], str] = field(default_factory=dict)

    def reworded(self, error: InvalidRequest) -> InvalidRequest:
        """A refusal that names a message of the one form, naming the client's instead."""
        found = _PLACE.match(error.param or "")
        if found is None or int(found[1]) >= len(self.paths):
            return error
        index = int(found[1])
        path = self.paths[index]
        if found[2] is not None:
            path = self.part_paths.get((index, int(found[2])), path)
        # What lies below a block is called otherwise there.
        param = error.param or ""
        message = error.message.replace(param, path).replace("image_url", "image")
        return InvalidRequest(message, param=path, code=error.code)

    def add(self, message: Message, path: str, part_paths: Sequence[str] = ()) -> None:
        """One more message."""
        index = len(self.messages)
        self.part_paths |= {(index, k): place for k, place in enumerate(part_paths)}
        self.messages.append(message)
        self.paths.append(path)


def read_turns(body: Body) -> Turns:
    """The conversation of a body. Raises InvalidRequest in Anthropic's words where it has some."""
    turns = Turns()
    waiting: dict[str, None] = {}  # ids of tool uses without a result, in order
    seen: set[str] = set()
    last = _Turn("system", "system")
    for turn in _merged(body):
        if turn.role == "user":
            _add_user(turns, turn, waiting)
        if waiting:
            raise _unanswered(waiting, last.path)
        last = turn
        if turn.role == "system":
            turns.add({"role": "system", "content": _text(turn.blocks, _APART)}, turn.path)
        elif turn.role == "assistant":
            _add_assistant(turns, turn, waiting, seen)
    if waiting:
        raise _unanswered(waiting, last.path)
    if last.role == "assistant":
        if turns.messages[-1]["content"]:
            turns.continues = True
        else:
            turns.messages.pop()
            turns.paths.pop()
    if all(message["role"] == "system" for message in turns.messages):
        raise InvalidRequest("messages: at least one message of the user is required", param="messages")
    return turns


def _merged(body: Body) -> Iterator[_Turn]:
    """The turns, the system prompt first."""
    turn: _Turn | None = None
    if "system" in body:
        turn = _Turn("system", "system", _placed(body["system"], "system"))
    for index, message in enumerate(body["messages"]):
        path = f"messages.{index}"
        if turn is None or turn.role != message["role"]:
            if turn is not None:
                yield turn
            turn = _Turn(message["role"], path)
        turn.blocks += _placed(message["content"], f"{path}.content")
    if turn is not None:
        yield turn


def _placed(content: str | Sequence[Block], path: str) -> list[_Placed]:
    if isinstance(content, str):
        return [_Placed({"type": "text", "text": content}, path)]
    return [_Placed(block, f"{path}.{k}") for k, block in enumerate(content)]


def _add_user(turns: Turns, turn: _Turn, waiting: dict[str, None]) -> None:
    """The results as messages of tools, then the rest as a message of the user's if there is any."""
    pictures: list[_Placed] = []
    others: list[_Placed] = []
    n_results = 0
    answered: set[str] = set()
    for placed in turn.blocks:
        if placed.block["type"] != "tool_result":
            others.append(placed)
            continue
        n_results += 1
        _check_result(placed, waiting, answered)
        turns.add(_result(placed, pictures), placed.path)
    blocks = [*pictures, *others]
    if not blocks and n_results:
        return
    if any(is_picture(placed.block) or holds_pictures(placed.block) for placed in blocks):
        parts, paths = _parts(blocks)
        turns.add({"role": "user", "content": parts}, turn.path, paths)
    else:
        turns.add({"role": "user", "content": _text(blocks, _APART)}, turn.path)


def _check_result(placed: _Placed, waiting: dict[str, None], answered: set[str]) -> None:
    id = placed.block["tool_use_id"]
    if id in waiting:
        del waiting[id]
        answered.add(id)
    elif id in answered:
        raise InvalidRequest(
            f"{placed.path}: each tool_use must have a single result. Found multiple `tool_result` blocks "
            f"with id: {id[:_MAX_SHOWN]}",
            param=placed.path,
        )
    else:
        raise InvalidRequest(
            f"{placed.path}: unexpected `tool_use_id` found in `tool_result` blocks: {id[:_MAX_SHOWN]}. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
            param=placed.path,
        )


def _result(placed: _Placed, pictures: list[_Placed]) -> Message:
    block = placed.block
    texts: list[str] = []
    for inner in _placed(block.get("content") or "", f"{placed.path}.content"):
        if is_picture(inner.block):
            pictures.append(inner)
        else:
            texts.append(text_of_block(inner.block))
    text = _APART.join(filter(None, texts))
    if block.get("is_error"):
        text = f"Error: {text}" if text else "Error"
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}


def _add_assistant(turns: Turns, turn: _Turn, waiting: dict[str, None], seen: set[str]) -> None:
    message: Message = {"role": "assistant", "content": None}
    calls: list[Message] = []
    thoughts: list[str] = []
    texts: list[str] = []
    for placed in turn.blocks:
        block = placed.block
        match block["type"]:
            case "text":
                texts.append(block["text"])
            case "thinking":
                thoughts.append(block["thinking"])
            case "tool_use":
                if block["id"] in seen:
                    words = f"{placed.path}: `tool_use` ids must be unique"
                    raise InvalidRequest(words, param=placed.path)
                seen.add(block["id"])
                waiting[block["id"]] = None
                calls.append(_call(placed))
    text = "".join(texts)
    if text or not calls:
        message["content"] = text
    if thought := "".join(thoughts):
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    turns.add(message, turn.path)


def _call(placed: _Placed) -> Message:
    block = placed.block
    try:
        arguments = orjson.dumps(block["input"]).decode()
    except orjson.JSONEncodeError:  # what was read from JSON can only be nested too deeply
        raise InvalidRequest(f"{placed.path}.input: nested too deeply", param=placed.path) from None
    return {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": arguments},
    }


def _text(blocks: Sequence[_Placed], between: str) -> str:
    return between.join(filter(None, (text_of_block(placed.block) for placed in blocks)))


def _parts(blocks: Sequence[_Placed]) -> tuple[list[Message], list[str]]:
    """Texts and pictures in order, and where each came from; texts in a row are one."""
    parts: list[Message] = []
    paths: list[str] = []
    for placed in blocks:
        for part in _read(placed.block):
            if part["type"] == "text" and parts and parts[-1]["type"] == "text":
                parts[-1]["text"] += _APART + part["text"]
            else:
                parts.append(part)
                paths.append(placed.path)
    return parts, paths


def _read(block: Block) -> Iterator[Message]:
    if is_picture(block):
        yield picture(block)
    elif holds_pictures(block):
        head, tail = frame(block)
        yield {"type": "text", "text": head}
        for inner in block["source"]["content"]:
            yield from _read(inner)
        yield {"type": "text", "text": tail}
    elif text := text_of_block(block):
        yield {"type": "text", "text": text}


def _unanswered(waiting: Mapping[str, None], path: str) -> InvalidRequest:
    ids = ", ".join(id[:_MAX_SHOWN] for id in list(waiting)[:8])
    return InvalidRequest(
        f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        param=path,
    )
