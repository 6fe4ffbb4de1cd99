"""all-MiniLM-L6-v2 as GGUF: the same numbers as its own library gives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import ConfigError, ContextLengthExceeded, InvalidRequest
from llmatic.engines.encoding.backend import Item
from llmatic.engines.llama.encoder import LlamaEncoder
from llmatic.engines.llama.encoder_loading import open_encoder
from llmatic.engines.llama.encoder_options import read_options, task_of
from llmatic.gguf_header import read_header
from scripts.bench.gguf_encoder import LABELS, PACKAGE, Head, head_weights, minilm_folder, write_encoder
from tests.engines.llama.small_encoder import write_reranker
from tests.engines.llama.small_model import write_model

pytestmark = pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"needs {PACKAGE}")

TEXTS = (
    "hello world",
    "",
    " \n",
    "The quick brown fox jumps over the lazy dog; it doesn't care.",
    "naïve café Ünïcödé Straße ﬁ cafe\u0301",
    "日本語のテキスト、한국어 텍스트",
    "हिन्दी में, مرحبا بالعالم, Привет, Σίσυφος",
    "🙂👍🏽 emoji 👨\u200d👩\u200d👧",
    "x\x00y\ufffd\u200b\u00a0z\tq\r\n",
    "supercalifragilisticexpialidocious " * 10,
    "a" * 150,
    "long text " * 400,
)


def spec_of(path: Path, **changes: Any) -> ModelSpec:
    return ModelSpec(id="m", engine="llama", source=str(path), **{"threads": 1, **changes})


@contextmanager
def opened(path: Path, **changes: Any) -> Iterator[LlamaEncoder]:
    spec, header = spec_of(path, **changes), read_header(path)
    task = task_of(spec, header)
    assert task is not None
    encoder = open_encoder(spec, read_options(spec), path, header, task)
    yield encoder
    encoder.close()
    encoder.close()


def read(encoder: LlamaEncoder, *texts: str, **fields: Any) -> list[Item]:
    assert encoder.info.encoder is not None
    task = encoder.info.encoder.task
    return encoder.read(EncodeRequest(id="r", task=task, texts=texts, **fields), 0, len(texts))


def compute(encoder: LlamaEncoder, *texts: str, **fields: Any) -> np.ndarray[Any, Any]:
    return encoder.compute(read(encoder, *texts, **fields))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Head], Path]:
    folder = tmp_path_factory.mktemp("encoders")

    def find(head: Head) -> Path:
        path = folder / f"{head}.gguf"
        return path if path.exists() else write_encoder(path, kind="f32", head=head)

    return find


@pytest.fixture(scope="module")
def minilm(files: Callable[[Head], Path]) -> Iterator[LlamaEncoder]:
    with opened(files("none"), context=256, options={"too_long": "truncate"}) as encoder:
        yield encoder


def test_what_it_says_of_itself(minilm: LlamaEncoder) -> None:
    info = minilm.info
    assert (info.n_context, info.n_context_train, info.n_vocab, info.writes) == (256, 512, 30522, False)
    assert info.encoder is not None
    assert (info.encoder.task, info.encoder.n_columns, info.encoder.backend) == ("embed", 384, "llama.cpp")
    assert info.encoder.precision == "F32"
    assert not info.encoder.has_dimensions
    assert info.fingerprint.startswith("fp_")


def test_vectors_are_those_of_sentence_transformers(minilm: LlamaEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(minilm_folder()), device="cpu")
    wanted = model.encode(list(TEXTS), normalize_embeddings=True)
    found = compute(minilm, *TEXTS)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert (found * wanted).sum(axis=1).min() > 0.99998


def test_a_row_does_not_depend_on_the_others(minilm: LlamaEncoder) -> None:
    texts = [f"{n} times {'more ' * (n % 40)}" for n in range(70)]
    together = compute(minilm, *texts)
    alone = np.concatenate([compute(minilm, text) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.9999
    assert (together[0] * together[39]).sum() < 0.98


def test_texts_too_long(minilm: LlamaEncoder) -> None:
    items = read(minilm, "word " * 300, "short")
    assert len(items[0].ids) == 256
    assert items[0].ids[-1] == items[1].ids[-1]
    with pytest.raises(ContextLengthExceeded, match="256 tokens"):
        read(minilm, "word " * 300, too_long="refuse")


def test_prompts_come_before_texts_of_their_type(files: Callable[[Head], Path]) -> None:
    prompts = {"query": "query: ", "document": "passage: "}
    with opened(files("none"), options={"prompts": prompts}) as encoder:
        assert encoder.info.n_context == 512
        assert encoder.info.encoder is not None
        assert encoder.info.encoder.prompts == prompts
        assert read(encoder, "sun", input_type="query") == read(encoder, "query: sun")


def test_token_ids_of_its_own(files: Callable[[Head], Path]) -> None:
    ids = ((7592, 2088),)
    request = EncodeRequest(id="r", task="embed", token_ids=ids)
    with opened(files("none"), options={"token_vocabulary": "own"}) as encoder:
        assert encoder.read(request, 0, 1) == read(encoder, "hello world")
    with opened(files("none")) as encoder, pytest.raises(InvalidRequest, match="token_vocabulary"):
        encoder.read(request, 0, 1)


def test_vectors_may_keep_their_length(files: Callable[[Head], Path]) -> None:
    with opened(files("none"), options={"normalize": False}) as raw, opened(files("none")) as encoder:
        long, unit = compute(raw, "hello"), compute(encoder, "hello")
    assert np.linalg.norm(long) > 2
    assert np.allclose(long / np.linalg.norm(long), unit, atol=1e-5)


def head_of(model: Any, ids: Any, n_outputs: int) -> np.ndarray[Any, Any]:
    """What the made-up classifier makes of a text in transformers."""
    import torch

    weights, bias = head_weights(n_outputs)
    with torch.no_grad():
        pooled = model(input_ids=torch.tensor([list(ids)])).pooler_output.numpy()
    outputs: np.ndarray[Any, Any] = (pooled @ weights.T + bias)[0]
    return outputs


def test_scores_and_classes_are_those_of_transformers(files: Callable[[Head], Path]) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(minilm_folder()).eval()
    texts = ("Paris is the capital of France.", "bananas are yellow", "", "word " * 600)
    with opened(files("rank"), options={"too_long": "truncate"}) as ranker:
        items = read(ranker, *texts, query="What is the capital of France?")
        wanted = [1 / (1 + np.exp(-head_of(model, item.ids, 1)[0])) for item in items]
        assert np.allclose(ranker.compute(items)[:, 0], wanted, atol=1e-3)
        assert items[2].ids == [101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102, 102]
    with opened(files("classify")) as classifier:
        items = read(classifier, *texts[:3])
        rows = classifier.compute(items)
        assert classifier.info.encoder is not None
        assert classifier.info.encoder.labels == LABELS
        powers = np.exp([head_of(model, item.ids, 3) for item in items])
        assert np.allclose(rows, powers / powers.sum(axis=1, keepdims=True), atol=1e-3)


def test_a_reranker_that_is_asked_in_words(tmp_path: Path) -> None:
    with opened(write_reranker(tmp_path / "m.gguf")) as encoder:
        items = read(encoder, "the thing", "<|im_end|> typed", "the " * 600, query="hell in it?")
        apart = [read(encoder, text, query="hell in it?")[0] for text in ("the thing", "<|im_end|> typed")]
        scores = encoder.compute(items)
        alone = np.concatenate([encoder.compute([item]) for item in items])
    assert items[:2] == apart
    assert items[0].ids.count(263) == 1
    assert items[1].ids.count(263) == 1
    assert len(items[2].ids) > 512
    assert scores.shape == (3, 1)
    assert ((scores > 0) & (scores < 1)).all()
    assert np.abs(scores - alone).max() < 0.02
    assert np.abs(scores[0] - scores[1]) > 0.05


def test_a_chat_model_that_is_told_to_embed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", n_context=2048)
    texts = ("hello", "hello there", "and so on " * 90)
    with opened(path, options={"task": "embed", "pooling": "last"}) as encoder:
        items = read(encoder, *texts)
        assert len(items[2].ids) > 512
        rows = encoder.compute(items)
        backwards = encoder.compute(items[::-1])[::-1]
    with opened(path, options={"task": "embed", "pooling": "last", "ubatch": 2048}) as encoder:
        whole = encoder.compute(items)
    assert (rows * backwards).sum(axis=1).min() > 0.999
    assert (rows * whole).sum(axis=1).min() > 0.999
    assert (rows[0] * rows[1]).sum() < 0.99


def test_a_file_that_does_not_say_how_to_pool(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf")
    with (
        pytest.raises(ConfigError, match="set the option 'pooling'"),
        opened(path, options={"task": "embed"}),
    ):
        pass


def test_a_context_for_special_tokens_alone(tmp_path: Path) -> None:
    path = write_reranker(tmp_path / "m.gguf")
    with pytest.raises(ConfigError, match="context of 30 tokens is too small"), opened(path, context=30):
        pass


def test_damaged_weights_are_found_before_any_request(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", nan=True)
    options = {"task": "embed", "pooling": "last"}
    with pytest.raises(ConfigError, match="is damaged"), opened(path, options=options):
        pass
