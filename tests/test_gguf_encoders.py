"""Which GGUF files are encoders, and for what."""

import struct
from pathlib import Path

import pytest

from llmatic.gguf_header import GgufError, GgufHeader, encoder_task, read_header
from tests.test_gguf_header import entry, gguf, text


def header_of(architecture: str, **facts: object) -> GgufHeader:
    return GgufHeader(3, 1000, architecture, "", "F16", 10, 512, 100, None, **facts)  # type: ignore[arg-type]


def labels(*names: str) -> bytes:
    packed = struct.pack("<IQ", 8, len(names)) + b"".join(map(text, names))
    return entry("bert.classifier.output_labels", 9, packed)


def tensor(name: str, *sizes: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, 0, 0)


@pytest.mark.parametrize(
    ("header", "task"),
    [
        (header_of("bert", pooling="mean"), "embed"),
        (header_of("gemma-embedding"), "embed"),
        (header_of("qwen3", pooling="last"), "embed"),
        (header_of("qwen3", pooling="none"), None),
        (header_of("qwen3"), None),
        (header_of("qwen3", pooling="rank", labels=("yes", "no"), has_classifier=True), "rank"),
        (header_of("bert", pooling="rank"), "rank"),
        (header_of("bert", has_classifier=True), "rank"),
        (header_of("bert", has_classifier=True, labels=("toxic",)), "rank"),
        (header_of("bert", has_classifier=True, labels=("a", "b", "c")), "classify"),
        (header_of("bert", has_classifier=True, labels=("a", "b"), pooling="mean"), "embed"),
        (header_of("llama", has_classifier=True), None),
        (header_of("bert", kind="adapter"), None),
        (header_of("clip", kind="mmproj"), None),
        (header_of("wavtokenizer-dec"), None),
    ],
)
def test_tasks(header: GgufHeader, task: str | None) -> None:
    assert encoder_task(header) == task


def test_a_classifier(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(
        gguf(
            entry("general.architecture", 8, text("bert")),
            entry("bert.pooling_type", 4, struct.pack("<I", 4)),
            entry("bert.embedding_length", 4, struct.pack("<I", 8)),
            labels("joy", "ängst"),
            entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
            tensors=(tensor("cls.output.weight", 8, 2),),
            data=64,
        )
    )
    header = read_header(path)
    assert (header.pooling, header.labels, header.has_classifier) == ("rank", ("joy", "ängst"), True)
    assert (header.n_embd, header.n_vocab, encoder_task(header)) == (8, 2, "classify")


@pytest.mark.parametrize(
    ("sizes", "is_one"), [((8,), True), ((8, 1), True), ((8, 8), False)], ids=["vector", "row", "square"]
)
def test_a_classifier_without_a_last_layer(tmp_path: Path, sizes: tuple[int, ...], is_one: bool) -> None:
    path = tmp_path / "m.gguf"
    architecture = entry("general.architecture", 8, text("jina-bert-v2"))
    path.write_bytes(gguf(architecture, tensors=(tensor("cls.weight", *sizes),), data=256))
    assert read_header(path).has_classifier is is_one


def test_odd_values_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(
        gguf(
            entry("general.architecture", 8, text("bert")),
            entry("bert.pooling_type", 4, struct.pack("<I", 9)),
            entry("bert.classifier.output_labels", 9, struct.pack("<IQ", 4, 1) + bytes(4)),
        )
    )
    header = read_header(path)
    assert (header.pooling, header.labels) == (None, ())


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 1000])
def test_a_list_of_texts_that_leaves_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.gguf"
    tokens = struct.pack("<IQ", 8, 3) + text("a") + struct.pack("<Q", size) + b"bc"
    path.write_bytes(gguf(entry("tokenizer.ggml.tokens", 9, tokens)))
    with pytest.raises(GgufError, match="cut off"):
        read_header(path)
