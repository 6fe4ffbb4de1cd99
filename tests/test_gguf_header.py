"""What a GGUF file says about itself, and what broken files say."""

import struct
from pathlib import Path

import pytest

from llmatic.gguf_header import GgufError, read_header

TINY = Path(__file__).parents[1] / "models" / "llmatic-tiny.gguf"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = entry("general.architecture", 8, text("llama"))
TENSOR = text("t") + struct.pack("<IQQIQ", 2, 64, 2, 8, 0)  # 64 × 2 weights in Q8_0: 136 bytes


def gguf(*entries: bytes, tensors: tuple[bytes, ...] = (), version: int = 3, data: int = 0) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join([*entries, *tensors])
    return head + bytes(-len(head) % 32) + bytes(data)


def test_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(
        gguf(
            entry("odd", 9, struct.pack("<IQ", 4, 3) + bytes(12)),
            entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
            ARCHITECTURE,
            entry("llama.context_length", 4, struct.pack("<I", 4096)),
            entry("general.file_type", 4, struct.pack("<I", 15)),
            entry("tokenizer.chat_template", 8, text("{{ é }}")),
            tensors=(TENSOR,),
            data=136,
        )
    )
    header = read_header(path)
    assert (header.architecture, header.quantization, header.n_weights) == ("llama", "Q4_K_M", 128)
    assert (header.n_context_train, header.n_vocab, header.chat_template) == (4096, 2, "{{ é }}")


def test_an_adapter(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(
        gguf(
            entry("general.type", 8, text("adapter")),
            entry("adapter.type", 8, text("lora")),
            ARCHITECTURE,
            tensors=(TENSOR,),
            data=136,
        )
    )
    header = read_header(path)
    assert (header.kind, header.adapter_type, header.architecture) == ("adapter", "lora", "llama")


def test_the_embedded_model() -> None:
    header = read_header(TINY)
    assert (header.kind, header.adapter_type) == ("model", None)
    assert (header.architecture, header.quantization) == ("llama", "Q8_0")
    assert header.n_weights > 1_000_000
    assert header.chat_template
    assert header.size_bytes == TINY.stat().st_size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too short to be a GGUF file"),
        (b"PK\x03\x04" + bytes(100), r"is no GGUF file \(it begins with b'PK"),
        (gguf(ARCHITECTURE, version=1), "of version 1, which cannot be used"),
        (gguf(ARCHITECTURE, version=3 << 24), "big-endian, which cannot be used"),
        (gguf(), "names no architecture"),
        (gguf(ARCHITECTURE, tensors=(TENSOR,), data=135), "is cut off: needs 264 bytes and has 263"),
        (gguf(ARCHITECTURE)[:40], "the header is cut off"),
        (gguf(entry("a", 99, b"")), "the unknown type 99"),
        (gguf(entry("a", 9, struct.pack("<IQ", 9, 1))), "a list of the unknown type 9"),
        (gguf(entry("a", 8, struct.pack("<Q", 1 << 60))), "bytes in one text; the file is damaged"),
        (gguf(entry("a", 9, struct.pack("<IQ", 4, 1 << 60))), "values in one list; the file is damaged"),
        (gguf(entry("a", 9, struct.pack("<IQQ", 8, 20, 1 << 63))), "the header is cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "tensors; the file is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "metadata entries; the file is damaged"),
        (gguf(ARCHITECTURE, tensors=(text("t") + struct.pack("<I", 99),)), "a tensor of 99 dimensions"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError, match=words) as caught:
        read_header(path)
    assert caught.value.message.startswith(f"{path}: ")


def test_every_prefix_of_a_file_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    whole = gguf(
        ARCHITECTURE, entry("x", 9, struct.pack("<IQ", 8, 1) + text("a")), tensors=(TENSOR,), data=136
    )
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(GgufError):
            read_header(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="cannot be read: No such file"):
        read_header(tmp_path / "m.gguf")
    with pytest.raises(GgufError, match="cannot be read: Is a directory"):
        read_header(tmp_path)
