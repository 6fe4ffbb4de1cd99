import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.backend import Matrix
from llmatic.engines.sentence import conversion
from llmatic.engines.sentence.backend import SentenceBackend
from llmatic.engines.sentence.computing import Unconvertible
from llmatic.engines.sentence.loading import open_backend
from tests.engines.sentence.models import make_small

TEXTS = (
    "Hello",
    "What is the capital city of France?",
    "The ferry leaves at half past seven, and the last one back goes at ten. " * 3,
    "Zürich 日本 🙂",
)
BACKENDS = ("torch", "openvino")


@pytest.fixture(scope="module")
def small(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(tmp_path_factory.mktemp("small"), n_dense=8)


@pytest.fixture(autouse=True)
def _cache(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(converted))


def open_model(folder: Path | str, **options: Any) -> SentenceBackend:
    return open_backend(ModelSpec(id="m", source=str(folder), engine="sentence", options=options)).backend


def rows(backend: SentenceBackend, texts: Sequence[str] = TEXTS, query: str | None = None) -> Matrix:
    assert backend.info.encoder is not None
    request = EncodeRequest("1", backend.info.encoder.task, tuple(texts), query=query)
    return backend.compute(backend.read(request, 0, len(texts)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_vectors_are_those_of_sentence_transformers(minilm_folder: Path, backend: str) -> None:
    from sentence_transformers import SentenceTransformer

    model = open_model(minilm_folder, backend=backend)
    right = SentenceTransformer(str(minilm_folder), device="cpu", local_files_only=True).encode(list(TEXTS))
    assert np.abs(rows(model) - right).max() < 1e-5
    assert np.abs(rows(model, TEXTS[1:2]) - right[1]).max() < 1e-5
    info = model.info
    assert (info.n_context, info.n_vocab, info.writes, info.size_bytes) == (256, 30522, False, 90868376)
    assert info.encoder is not None
    assert (info.encoder.task, info.encoder.n_columns, info.encoder.backend) == ("embed", 384, backend)
    assert len(rows(model, [""])) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_are_those_of_the_cross_encoder(ranker_folder: Path, backend: str) -> None:
    from sentence_transformers import CrossEncoder

    model = open_model(ranker_folder, backend=backend)
    query, texts = "Which rail platform?", ["The train goes at nine.", "Dough is flour and water.", ""]
    right = CrossEncoder(str(ranker_folder), device="cpu").predict([(query, text) for text in texts])
    found = rows(model, texts, query)
    assert found.shape == (3, 1)
    assert np.abs(found[:, 0] - right).max() < 1e-5
    assert found[0, 0] > 0.8 > 0.2 > found[1, 0]


def test_bare_logits_of_a_cross_encoder_are_brought_to_0_to_1(ranker_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    folder = shutil.copytree(ranker_folder, tmp_path / "ranker")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    logits = CrossEncoder(str(folder), device="cpu").predict(
        [("Which rail platform?", text) for text in TEXTS]
    )
    found = rows(open_model(folder, backend="torch"), TEXTS, "Which rail platform?")
    assert np.abs(found[:, 0] - 1 / (1 + np.exp(-logits))).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_probabilities_of_classes(classifier_folder: Path, backend: str) -> None:
    model = open_model(classifier_folder, backend=backend)
    assert model.info.encoder is not None
    assert model.info.encoder.labels == ("joy", "anger", "sadness")
    found = rows(model, ["what a happy day", "he was furious and shouted", "she wept, gloomy and lonely"])
    assert found.argmax(axis=1).tolist() == [0, 1, 2]
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-5


def test_probabilities_of_labels_that_are_independent(multi_label_folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = open_model(multi_label_folder, backend="torch")
    assert model.info.encoder is not None
    assert model.info.encoder.is_multi_label
    right = AutoModelForSequenceClassification.from_pretrained(
        multi_label_folder, local_files_only=True
    ).eval()
    columns = AutoTokenizer.from_pretrained(multi_label_folder)(TEXTS[1], return_tensors="pt")
    wanted = right(**columns).logits.sigmoid().detach().numpy()
    assert np.abs(rows(model, TEXTS[1:2]) - wanted).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", "weightedmean"])
def test_every_pooling_is_the_same_in_openvino(minilm_folder: Path, tmp_path: Path, pooling: str) -> None:
    folder = make_small(tmp_path, pooling=pooling)
    made = [rows(open_model(folder, backend=backend)) for backend in BACKENDS]
    assert np.abs(made[0] - made[1]).max() < 1e-5


def test_the_next_start_imports_no_torch(small: Path, converted: Path) -> None:
    first = rows(open_model(small, backend="openvino"))
    script = f"""
import sys
from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeRequest
from llmatic.engines.sentence.loading import open_backend
spec = ModelSpec(id="m", source={str(small)!r}, engine="sentence", options={{"backend": "openvino"}})
backend = open_backend(spec).backend
texts = {TEXTS!r}
print(backend.compute(backend.read(EncodeRequest("1", "embed", texts), 0, len(texts))).tolist())
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    found, imported = done.stdout.strip().splitlines()
    assert imported == "[]"
    assert np.abs(np.array(eval(found)) - first).max() < 1e-5


def test_a_damaged_conversion_is_made_again(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path))
    first = rows(open_model(small, backend="openvino"))
    weights = next(tmp_path.glob("openvino/*/model.bin"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert np.abs(rows(open_model(small, backend="openvino")) - first).max() < 1e-5
    assert np.isfinite(first).all()


def test_what_does_not_agree_is_computed_by_torch(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(conversion, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(ConfigError, match="cannot be had with the backend openvino: rows differ by"):
        open_model(small, backend="openvino")
    with caplog.at_level(logging.WARNING):
        model = open_model(small, device="cpu")
    assert model.info.encoder is not None
    assert model.info.encoder.backend == "torch"
    assert "computed by torch: OpenVINO rows differ by" in caplog.text
    assert not list(tmp_path.glob("openvino/*/model.xml"))


def test_what_cannot_be_converted_is_computed_by_torch(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: object) -> None:
        raise Unconvertible("has no such operation")

    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(conversion, "convert", refuse)
    model = open_model(small, device="cpu")
    assert model.info.encoder is not None
    assert model.info.encoder.backend == "torch"


def test_int8_stays_near(minilm_folder: Path) -> None:
    model = open_model(minilm_folder, precision="int8")
    assert model.info.encoder is not None
    assert model.info.encoder.precision == "int8"
    right = rows(open_model(minilm_folder, backend="openvino"))
    cosines = (rows(model) * right).sum(axis=1)
    assert cosines.mean() > 0.995
    assert np.abs(rows(model) - right).max() > 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_bf16_stays_near_and_keeps_unit_length(minilm_folder: Path, backend: str) -> None:
    model = open_model(minilm_folder, backend=backend, precision="bf16", device="cpu")
    assert model.info.encoder is not None
    assert model.info.encoder.precision in ("bf16", "f32")
    found = rows(model)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    assert ((found * rows(open_model(minilm_folder, backend="openvino"))).sum(axis=1) > 0.999).all()


def test_the_longest_input_can_be_chosen(small: Path) -> None:
    assert open_model(small, backend="torch").info.n_context == 64
    assert open_model(small, backend="torch", max_length=128).info.n_context == 128
    with pytest.raises(ConfigError, match="its inputs can have 128 tokens, not 129"):
        open_model(small, backend="torch", max_length=129)


def test_the_network_is_out_of_reach_while_a_library_loads(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers
    from huggingface_hub import constants

    seen: list[tuple[bool, str | None]] = []
    right = sentence_transformers.SentenceTransformer

    def spy(*arguments: Any, **more: Any) -> Any:
        seen.append((constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")))
        return right(*arguments, **more)

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", spy)
    before = constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    open_model(small, backend="torch")
    assert seen == [(True, "1")]
    assert (constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")) == before


# refusals


def test_a_wrong_sum_is_refused(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json is [0-9a-f]{64}, and 0{64} is expected"):
        open_model(small, sha256={"config.json": "0" * 64})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "torch", "precision": "int8"}, "do not go with backend torch"),
        ({"device": "cuda", "backend": "openvino"}, "do not go with device cuda"),
        (
            {"backend": "openvino", "precision": "f16"},
            "precision f16 needs the backend torch and device cuda",
        ),
        ({"device": "cpu", "precision": "f16"}, "precision f16 needs device cuda"),
        ({"token_vocabulary": "nowhere.json"}, "neither own, nor cl100k_base, nor a file"),
        ({"task": "classify", "backend": "torch"}, r"has no weights for (classifier|score)"),
    ],
)
def test_what_does_not_go_together_is_refused(small: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_model(small, **options)


def test_a_model_of_several_classes_does_not_rank(classifier_folder: Path) -> None:
    with pytest.raises(ConfigError, match="a model that ranks has one output, this one has 3"):
        open_model(classifier_folder, task="rank", backend="torch")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        open_model(tmp_path / "nowhere")


def test_damaged_weights(small: Path, tmp_path: Path) -> None:
    for path in small.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(small)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(
                path.read_bytes()[:1000] if path.name == "model.safetensors" else path.read_bytes()
            )
    with pytest.raises(ConfigError, match="cannot be loaded"):
        open_model(tmp_path, backend="torch")


def test_a_module_that_is_no_text_encoder(tmp_path: Path, minilm_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    static = StaticEmbedding(Tokenizer.from_file(str(minilm_folder / "tokenizer.json")), embedding_dim=4)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path), create_model_card=False)
    with pytest.raises(ConfigError, match="its module StaticEmbedding is not supported"):
        open_model(tmp_path, backend="torch")
