"""What models can do, from their engines and from their files."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.types import EncoderInfo, EncodeTask, EngineInfo
from llmatic.registry import Registry
from llmatic.services.capabilities import Capabilities, KnownCapabilities
from tests.fakes import INFO
from tests.test_gguf_header import ARCHITECTURE, entry, gguf, text

TOOLS = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools }}{% endif %}"
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def number(key: str, value: int) -> bytes:
    return entry(key, 4, struct.pack("<I", value))


def write(path: Path, *entries: bytes, template: str | None = TOOLS) -> Path:
    chat = () if template is None else (entry("tokenizer.chat_template", 8, text(template)),)
    path.write_bytes(gguf(ARCHITECTURE, number("llama.context_length", 4096), *chat, *entries))
    return path


def of(spec: ModelSpec, info: EngineInfo | None = None, *others: ModelSpec) -> Capabilities:
    registry = Registry({item.id: item for item in (spec, *others)}, started=1)
    return KnownCapabilities(registry).of(spec, info)


def test_a_loaded_engine_speaks_for_itself(tmp_path: Path) -> None:
    info = replace(INFO, chat_format="hermes", has_tools=True, has_vision=True, n_context=512)
    assert of(ModelSpec("m", str(write(tmp_path / "m.gguf"))), info) == Capabilities(
        chat=True,
        completion=True,
        tools=True,
        vision=True,
        audio=False,
        fim=True,
        embeddings=False,
        rerank=False,
        classification=False,
        reasoning=False,
        context_length=512,
        parallel=8,
        chat_format="hermes",
    )


def test_a_file_tells_what_it_can(tmp_path: Path) -> None:
    names = [number(f"tokenizer.ggml.fim_{name}_token_id", 1) for name in ("pre", "suf", "mid")]
    found = of(ModelSpec("m", str(write(tmp_path / "m.gguf", *names)), context=8192, parallel=3))
    assert (found.chat, found.tools, found.fim, found.completion) == (True, True, True, True)
    assert (found.vision, found.audio, found.reasoning) == (False, False, False)
    assert (found.context_length, found.parallel) == (4096, 3)
    assert found.chat_format is not None


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        (None, {}, {"chat": False, "tools": False, "chat_format": None, "fim": None}),
        (PLAIN, {}, {"chat": True, "tools": False}),
        (None, {"chat_template": "chatml"}, {"chat": True, "tools": False}),
        (TOOLS + "<think>{# #}</think>", {}, {"reasoning": True}),
        (PLAIN, {"context": 100}, {"context_length": 100}),
        (PLAIN, {"context": 100, "options": {"kv_unified": False}}, {"context_length": None}),
        (PLAIN, {}, {"context_length": None}),
        (PLAIN, {"chat_format": "hermes"}, {"chat_format": "hermes"}),
        (PLAIN, {"projector": "none.gguf"}, {"vision": None, "audio": None}),
    ],
)
def test_what_else_counts(tmp_path: Path, template: str | None, fields: Any, expected: Any) -> None:
    path = write(tmp_path / "m.gguf", template=template)
    found = of(ModelSpec("m", str(path), **fields))
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_projector_lets_a_model_see(tmp_path: Path) -> None:
    flag = entry("clip.has_vision_encoder", 7, b"\x01")
    projector = write(tmp_path / "p.gguf", flag, template=None)
    found = of(ModelSpec("m", str(write(tmp_path / "m.gguf")), projector=str(projector)))
    assert (found.vision, found.audio) == (True, False)


def test_what_is_not_here_is_not_known(tmp_path: Path) -> None:
    away = of(ModelSpec("m", str(tmp_path / "away.gguf")))
    assert away == Capabilities(completion=True, vision=False, audio=False, parallel=away.parallel)
    (tmp_path / "broken.gguf").write_bytes(b"x" * 100)
    assert of(ModelSpec("m", str(tmp_path / "broken.gguf"))).chat is None
    other = of(ModelSpec("m", "x", engine="fake", parallel=2))
    assert other == Capabilities(parallel=2)


def test_a_model_with_a_base_can_what_its_base_can(tmp_path: Path) -> None:
    base = ModelSpec("base", str(write(tmp_path / "m.gguf")), parallel=5)
    assert of(ModelSpec("tuned", "", base="base"), None, base) == of(base)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", template=None)
    spec = ModelSpec("m", str(path))
    known = KnownCapabilities(Registry({"m": spec}, started=1))
    assert known.of(spec).chat is False
    write(path)
    os.utime(path, ns=(1, 1))
    assert known.of(spec).chat is True


def encoder_info(task: EncodeTask, n_columns: int, *labels: str) -> EngineInfo:
    return replace(INFO, encoder=EncoderInfo(task, n_columns, labels), writes=False, n_context=256)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (encoder_info("embed", 384), {"embeddings": True, "dimensions": 384}),
        (encoder_info("rank", 1), {"rerank": True}),
        (encoder_info("classify", 2, "good", "bad"), {"classification": True, "labels": ("good", "bad")}),
    ],
)
def test_a_loaded_encoder_does_one_thing(info: EngineInfo, expected: dict[str, Any]) -> None:
    nothing = dict.fromkeys(["chat", "completion", "tools", "vision", "audio", "fim", "reasoning"], False)
    nothing |= dict.fromkeys(["embeddings", "rerank", "classification"], False)
    found = of(ModelSpec("m", "x", engine="fake"), info)
    assert found == Capabilities(**nothing | {"context_length": 256} | expected)


def test_a_model_may_write_and_embed() -> None:
    info = replace(INFO, encoder=EncoderInfo("embed", 64))
    found = of(ModelSpec("m", "x", engine="fake"), info)
    assert (found.chat, found.completion, found.embeddings, found.dimensions) == (True, True, True, 64)


def test_a_folder_tells_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 32, "max_position_embeddings": 64}))
    (tmp_path / "modules.json").write_text("[{}]")
    found = of(ModelSpec("m", str(tmp_path), engine="sentence"))
    assert (found.embeddings, found.dimensions, found.context_length) == (True, 32, 64)
    assert (found.completion, found.chat, found.rerank, found.parallel) == (False, False, False, None)


def test_a_folder_that_changed_is_read_again(tmp_path: Path) -> None:
    spec = ModelSpec("m", str(tmp_path), engine="sentence")
    known = KnownCapabilities(Registry({"m": spec}, started=1))
    assert (known.of(spec).completion, known.of(spec).embeddings) == (False, None)
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "good", "1": "bad"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert known.of(spec).labels == ("good", "bad")
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "score"}}))
    assert (known.of(spec).rerank, known.of(spec).classification) == (True, False)
    (tmp_path / "config.json").write_text("{")
    assert known.of(spec).rerank is None


def test_a_folder_that_is_not_here_says_what_the_configuration_says(tmp_path: Path) -> None:
    spec = ModelSpec("m", str(tmp_path / "away"), engine="sentence", options={"task": "rank"})
    assert (of(spec).rerank, of(spec).embeddings) == (True, False)


@pytest.mark.parametrize(
    ("fields", "length"),
    [({}, 512), ({"context": 100}, 100), ({"options": {"max_length": 50}}, 50), ({"context": 999}, 512)],
)
def test_an_encoders_gguf_tells_what_it_can(tmp_path: Path, fields: dict[str, Any], length: int) -> None:
    path = tmp_path / "m.gguf"
    numbers = (number("bert.context_length", 512), number("bert.embedding_length", 384))
    path.write_bytes(gguf(entry("general.architecture", 8, text("bert")), *numbers))
    found = of(ModelSpec("m", str(path), **fields))
    assert (found.embeddings, found.dimensions, found.context_length) == (True, 384, length)
    assert (found.completion, found.chat, found.rerank) == (False, False, False)


def test_a_decoder_embeds_if_it_is_told_to(tmp_path: Path) -> None:
    path = str(write(tmp_path / "m.gguf"))
    assert of(ModelSpec("m", path)).embeddings is False
    found = of(ModelSpec("m", path, options={"task": "embed"}))
    assert (found.embeddings, found.completion) == (True, False)
    away = of(ModelSpec("m", str(tmp_path / "away.gguf"), options={"task": "embed"}))
    assert (away.embeddings, away.completion) == (True, False)


def test_adapters_are_for_what_is_written() -> None:
    tuned = ModelSpec("m", "x", engine="fake", adapters=(AdapterSpec("a.gguf"),))
    assert of(tuned, encoder_info("embed", 384)).embeddings is False
