"""Blocks of an Anthropic message as texts and pictures.

Owns how documents and search results are written for a model, which reads text. Takes blocks that the
contract has checked. Pure; any thread.
"""

from collections.abc import Mapping
from typing import Any

Block = Mapping[str, Any]


def is_picture(block: Block) -> bool:
    """Whether it is an image."""
    return bool(block["type"] == "image")


def picture(block: Block) -> dict[str, Any]:
    """An image as OpenAI writes it."""
    source = block["source"]
    url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


def text_of_block(block: Block) -> str:
    """What is to be read of a block, nothing for pictures."""
    match block["type"]:
        case "text":
            text: str = block["text"]
            return text
        case "document":
            return _document(block)
        case "search_result":
            return _framed(block, "\n\n".join(part["text"] for part in block["content"]))
        case _:
            return ""


def holds_pictures(block: Block) -> bool:
    """Whether it is a document some of whose parts are pictures."""
    if block["type"] != "document" or block["source"]["type"] != "content":
        return False
    content = block["source"]["content"]
    return not isinstance(content, str) and any(map(is_picture, content))


def frame(block: Block) -> tuple[str, str]:
    """What stands around the content of a document, in the form that Anthropic's guide to long ones shows."""
    names = ("title", "source") if block["type"] == "search_result" else ("title", "context")
    about = [f"<{name}>{block[name]}</{name}>" for name in names if block.get(name)]
    return "\n".join(["<document>", *about, "<document_content>"]), "</document_content>\n</document>"


def _document(block: Block) -> str:
    source = block["source"]
    if source["type"] == "text":
        return _framed(block, source["data"])
    if isinstance(source["content"], str):
        return _framed(block, source["content"])
    return _framed(block, "\n\n".join(filter(None, map(text_of_block, source["content"]))))


def _framed(block: Block, text: str) -> str:
    head, tail = frame(block)
    return f"{head}\n{text}\n{tail}"
