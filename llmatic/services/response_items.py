"""Items of responses and conversations, in the one form in which they are kept and shown.

Owns that form, OpenAI's own: messages hold parts, every item has an id and a status. Takes what the contract
has checked. Pure but for the system's random numbers; any thread.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from llmatic.core.errors import InvalidRequest
from llmatic.store.responses import ItemRow

Item = Mapping[str, Any]

_PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
_SEALED: Final = "llmatic1."  # thoughts that travel with the client; they are no secret, since they are shown
_TEXTS: Final = frozenset(["input_text", "output_text", "text"])


def new_id(prefix: str) -> str:
    """The prefix, an underscore and 48 hexadecimal digits."""
    return f"{prefix}_{os.urandom(24).hex()}"


def item_id(kind: str) -> str:
    """A new name for an item of that type."""
    return new_id(_PREFIXES[kind])


def kept(items: Sequence[Item], field: str = "input") -> list[dict[str, Any]]:
    """The items as they are kept, under new ids; `field` is where the client wrote them.

    Raises InvalidRequest naming the part at fault.
    """
    return [_kept(item, f"{field}[{index}]") for index, item in enumerate(items)]


def row(item: Item) -> ItemRow:
    """The item for the database."""
    return ItemRow(item["id"], orjson.dumps(item).decode())


def reference_ids(items: Sequence[Item]) -> list[str]:
    """The ids of items that are only named."""
    return [item["id"] for item in items if item["type"] == "item_reference"]


def sealed(text: str) -> str:
    """Thoughts as `encrypted_content`."""
    return _SEALED + base64.b64encode(text.encode()).decode("ascii")


def thoughts(item: Item) -> str:
    """What a reasoning item says: its content, or what was sealed, or its summary."""
    for field in ("content", "summary"):
        text = "".join(part["text"] for part in item.get(field) or ())
        if text:
            return text
    return _unsealed(item.get("encrypted_content") or "") or ""


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The texts of a content, joined without anything between them."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def has_pictures(content: str | Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are pictures between the texts."""
    return not isinstance(content, str) and any(part["type"] == "input_image" for part in content)


def _kept(item: Item, path: str) -> dict[str, Any]:
    kind = item["type"]
    whole: dict[str, Any] = {"id": item_id(kind), "type": kind}
    if kind == "reasoning":
        return whole | _reasoning(item, path)
    whole["status"] = item.get("status") or "completed"
    if kind == "message":
        role = item["role"]
        return whole | {"role": role, "content": _content(item["content"], role, f"{path}.content")}
    if kind == "function_call":
        return whole | {name: item[name] for name in ("call_id", "name", "arguments")}
    output = item["output"]
    if not isinstance(output, str):
        output = _content(output, "tool", f"{path}.output")
    return whole | {"call_id": item["call_id"], "output": output}


def _reasoning(item: Item, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": list(item.get("summary") or ())}
    if item.get("content"):
        found["content"] = list(item["content"])
    if seal := item.get("encrypted_content"):
        found["encrypted_content"] = seal
        if _unsealed(seal) is None:
            raise InvalidRequest(
                f"The encrypted content of '{path}' could not be read: it is not of this server.",
                param=f"{path}.encrypted_content",
                code="invalid_encrypted_content",
            )
    return found


def _content(content: str | Sequence[Mapping[str, Any]], role: str, path: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [_text(content, role)]
    parts = []
    for index, part in enumerate(content):
        if part["type"] in _TEXTS:
            parts.append(_text(part["text"], role))
        elif part["type"] == "refusal":
            parts.append({"type": "refusal", "refusal": part["refusal"]})
        elif role != "user":
            raise InvalidRequest(
                "Invalid value: 'input_image'. Pictures can stand in messages of the user only.",
                param=f"{path}[{index}].type",
                code="invalid_value",
            )
        else:
            parts.append(_picture(part, f"{path}[{index}]"))
    return parts


def _text(text: str, role: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def _picture(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    url = part.get("image_url")
    if not url:
        raise InvalidRequest(
            f"Missing required parameter: '{path}.image_url'.",
            param=f"{path}.image_url",
            code="missing_required_parameter",
        )
    return {"type": "input_image", "image_url": url, "detail": part.get("detail") or "auto", "file_id": None}


def _unsealed(seal: str) -> str | None:
    if not seal.startswith(_SEALED):
        return None
    try:
        return base64.b64decode(seal.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
