"""POST /embeddings against a pool that plays scripts."""

import asyncio
import base64
import struct
from typing import Any

import httpx2
import openai
import pytest

from llmatic.core.encoding import Encoded
from llmatic.core.errors import ContextLengthExceeded, EngineFailed, QueueFull
from llmatic.core.types import EncoderInfo, Finished, Priority, Started, Usage
from tests.api.conftest import Served
from tests.contract_check import assert_response_matches
from tests.fakes import ENCODER, SPEC, Gate

Body = dict[str, Any]


@pytest.fixture
def encoder(api: Served) -> Served:
    """The server, whose one model embeds and writes nothing."""
    api.pool.encoders[SPEC.id] = ENCODER
    return api


def post(served: Served, path: str = "/v1/embeddings", **fields: object) -> httpx2.Response:
    body = {"model": SPEC.id, "input": "red green blue", **fields}
    reply = served.http.post(path, json={key: value for key, value in body.items() if value is not ...})
    operation = "createEngineEmbedding" if "/engines/" in path else "createEmbedding"
    assert_response_matches(operation, reply.status_code, reply.content, headers=dict(reply.headers.items()))
    return reply


def vectors(reply: httpx2.Response) -> list[list[float]]:
    assert reply.status_code == 200, reply.text
    data = reply.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return [numbers(item["embedding"]) for item in data]


def numbers(embedding: str | list[float]) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    raw = base64.b64decode(embedding, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def single(values: list[float]) -> list[float]:
    """As 32-bit floats."""
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def test_a_reply_has_openais_keys_in_openais_order(encoder: Served) -> None:
    reply = post(encoder, input=["one two", "three"])
    body = reply.json()
    assert list(body) == ["object", "data", "model", "usage"]
    assert body["object"] == "list"
    assert list(body["data"][1]) == ["object", "index", "embedding"]
    assert body["data"][1]["object"] == "embedding"
    assert body["model"] == SPEC.id
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert reply.headers["openai-model"] == "org/fake-1"
    assert reply.headers["content-type"] == "application/json"


def test_an_alias_is_answered_under_the_registered_id(encoder: Served) -> None:
    assert post(encoder, model="gpt-4o-mini").json()["model"] == SPEC.id


def test_both_formats_hold_the_same_32_bit_floats(encoder: Served) -> None:
    texts = [f"text number {k}" for k in range(5)]
    floats = vectors(post(encoder, input=texts))
    packed = vectors(post(encoder, input=texts, encoding_format="base64"))
    assert [single(vector) for vector in floats] == packed
    assert len({tuple(vector) for vector in packed}) == 5
    assert floats == vectors(post(encoder, input=texts, encoding_format="float"))


def test_floats_are_written_with_as_few_digits_as_tell_them_apart(encoder: Served) -> None:
    rows = struct.pack("<4f", 0.1, -1 / 3, 1e-7, 1.0)
    encoder.pool.rows = lambda _: [Started(1), Encoded((0,), rows), Finished(Usage(1, 0))]
    assert '"embedding":[0.1,-0.33333334,1e-7,1.0]' in post(encoder).text


@pytest.mark.parametrize(
    ("value", "texts", "token_ids"),
    [
        ("one text", ("one text",), ()),
        ("", ("",), ()),
        (["a", "b", "a"], ("a", "b", "a"), ()),
        ([1, 2, 3], (), ((1, 2, 3),)),
        ([[1, 2], [3]], (), ((1, 2), (3,))),
        ([1.0, 2], (), ((1, 2),)),
        ([[1], [2.0, 2147483647]], (), ((1,), (2, 2147483647))),
        (list(range(5000)), (), (tuple(range(5000)),)),
    ],
)
def test_what_an_input_means(encoder: Served, value: Any, texts: Any, token_ids: Any) -> None:
    encoder.pool.rows = lambda request: [
        Encoded(tuple(range(request.n_rows)), b"\0\0\x80?" * request.n_rows),
        Finished(Usage(1, 0)),
    ]
    assert len(vectors(post(encoder, input=value))) == max(len(texts), len(token_ids))
    [request] = encoder.pool.encode_requests
    assert (request.task, request.texts, request.token_ids) == ("embed", texts, token_ids)
    assert all(type(token) is int for ids in request.token_ids for token in ids)


def test_absent_fields_say_nothing(encoder: Served) -> None:
    post(encoder, dimensions=None, encoding_format=None, user=None, input_type=None, truncate=None)
    [request] = encoder.pool.encode_requests
    assert (request.dimensions, request.input_type, request.too_long) == (None, None, None)
    assert (request.priority, request.param) == (Priority.DEFAULT, "input")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("query", "query"),
        ("search_query", "query"),
        ("document", "document"),
        ("search_document", "document"),
        ("passage", "document"),
    ],
)
def test_input_types_of_all_providers(encoder: Served, name: str, meaning: str) -> None:
    post(encoder, input_type=name)
    assert encoder.pool.encode_requests[0].input_type == meaning


@pytest.mark.parametrize(
    ("value", "meaning"), [(True, "truncate"), ("END", "truncate"), (False, "refuse"), ("NONE", "refuse")]
)
def test_the_request_may_say_what_becomes_of_long_inputs(encoder: Served, value: Any, meaning: str) -> None:
    post(encoder, truncate=value)
    assert encoder.pool.encode_requests[0].too_long == meaning


def test_dimensions_are_asked_of_the_engine(encoder: Served) -> None:
    assert [len(vector) for vector in vectors(post(encoder, dimensions=4.0))] == [4]
    assert encoder.pool.encode_requests[0].dimensions == 4


def test_a_tier_is_honoured_and_named_if_it_was_asked_for(encoder: Served) -> None:
    assert post(encoder, service_tier="flex").json()["service_tier"] == "flex"
    assert encoder.pool.encode_requests[0].priority == Priority.FLEX


@pytest.mark.parametrize("prefix", ["/v1", "", "/oaiv1"])
def test_every_prefix_and_the_older_path(encoder: Served, prefix: str) -> None:
    expected = vectors(post(encoder))
    assert vectors(post(encoder, f"{prefix}/embeddings")) == expected
    assert vectors(post(encoder, f"{prefix}/engines/{SPEC.id}/embeddings", model=...)) == expected
    assert vectors(post(encoder, f"{prefix}/engines/org%2Ffake-1/embeddings", model="other")) == expected


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        # As recorded from OpenAI's API, where both fields are wrong.
        (
            {"dimensions": -1, "encoding_format": "invalid_format"},
            "-1 is less than the minimum of 1 - 'dimensions'",
            None,
            None,
        ),
        (
            {"encoding_format": "invalid_format"},
            "'invalid_format' is not one of ['float', 'base64'] - 'encoding_format'",
            None,
            None,
        ),
        ({"encoding_format": 5}, "5 is not of type 'string' - 'encoding_format'", None, None),
        ({"encoding_format": ["x"]}, "[...] is not of type 'string' - 'encoding_format'", None, None),
        ({"dimensions": "8"}, "'8' is not of type 'integer' - 'dimensions'", None, None),
        (
            {"dimensions": 2**40},
            "1099511627776 is greater than the maximum of 2147483647 - 'dimensions'",
            None,
            None,
        ),
        ({"input": [""]}, "Invalid 'input[0]': input cannot be an empty string.", "input[0]", "empty_string"),
        (
            {"input": ["a", ""]},
            "Invalid 'input[1]': input cannot be an empty string.",
            "input[1]",
            "empty_string",
        ),
        (
            {"input": []},
            "Invalid 'input': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "input",
            "empty_array",
        ),
        (
            {"input": [[1], []]},
            "Invalid 'input[1]': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "input[1]",
            "empty_array",
        ),
        (
            {"input": ["x"] * 2049},
            "Invalid 'input': array length must be 2048 or less.",
            "input",
            "array_above_max_length",
        ),
        (
            {"input": [[1]] * 2049},
            "Invalid 'input': array length must be 2048 or less.",
            "input",
            "array_above_max_length",
        ),
        (
            {"input": ["a", [1]]},
            "Invalid type for 'input[1]': expected a string, but got an array instead.",
            "input[1]",
            "invalid_type",
        ),
        (
            {"input": [1, "a"]},
            "Invalid type for 'input[1]': expected an integer, but got a string instead.",
            "input[1]",
            "invalid_type",
        ),
        (
            {"input": [[1, 2], [3, -4]]},
            "Invalid 'input[1][1]': integer below minimum value. Expected a value >= 0, but got -4 instead.",
            "input[1][1]",
            "integer_below_min_value",
        ),
        (
            {"input": 5},
            "Invalid type for 'input': expected one of a string, array of strings, array of integers, "
            "or array of integer arrays, but got an integer instead.",
            "input",
            "invalid_type",
        ),
        ({"input": None}, "Missing required parameter: 'input'.", "input", "missing_required_parameter"),
        ({"model": None}, "you must provide a model parameter", None, None),
        (
            {"input_type": "image"},
            "Invalid value: 'image'. Supported values are: 'query', 'document', 'search_query', "
            "'search_document', and 'passage'.",
            "input_type",
            "invalid_value",
        ),
        (
            {"truncate": "START"},
            "Unsupported value: 'truncate' does not support 'START' with this model. "
            "Only the end of an input can be cut off.",
            "truncate",
            "unsupported_value",
        ),
        ({"foo": 1}, "Unrecognized request argument supplied: foo", None, None),
    ],
)
def test_refusals(encoder: Served, fields: Body, message: str, param: str | None, code: str | None) -> None:
    reply = post(encoder, **fields)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error == {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert encoder.pool.encode_requests == []


def test_2048_inputs_are_served(encoder: Served) -> None:
    assert (
        len(vectors(post(encoder, input=[f"text {k}" for k in range(2048)], encoding_format="base64")))
        == 2048
    )


def test_a_body_may_be_large(encoder: Served) -> None:
    text = "x" * 8000
    reply = post(encoder, input=[text] * 1500, encoding_format="base64")
    assert reply.json()["usage"]["prompt_tokens"] == 1500


def test_unknown_model(encoder: Served) -> None:
    reply = post(encoder, model="text-embedding-4-ultra", input="Test with unknown model")
    assert reply.status_code == 404
    assert reply.json()["error"] == {
        "message": "The model `text-embedding-4-ultra` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


def test_a_model_that_writes_makes_no_embeddings(api: Served) -> None:
    reply = post(api)
    assert reply.status_code == 403
    assert reply.json()["error"]["message"].startswith(
        "You are not allowed to generate embeddings from this model"
    )
    assert api.pool.encode_requests == []


@pytest.mark.parametrize("task", ["rank", "classify"])
def test_an_encoder_of_another_kind_makes_none_either(api: Served, task: Any) -> None:
    api.pool.encoders[SPEC.id] = EncoderInfo(task, 1)
    assert post(api).status_code == 403


@pytest.mark.parametrize("stream", [False, True])
def test_an_encoder_writes_nothing(encoder: Served, stream: bool) -> None:
    for reply in (encoder.chat(stream=stream), encoder.completion(stream=stream)):
        assert reply.status_code == 403
        assert reply.json()["error"]["message"].startswith("You are not allowed to sample from this model")
    assert encoder.pool.requests == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (ContextLengthExceeded("This model's maximum context length is 256 tokens", param="input"), 400),
        (QueueFull("full", retry_after_s=2.0), 429),
        (EngineFailed("died"), 503),
    ],
)
def test_what_the_engine_raises_is_answered(encoder: Served, failure: Exception, status: int) -> None:
    encoder.pool.rows = lambda _: [Started(3), failure]
    reply = post(encoder)
    assert reply.status_code == status
    assert encoder.pool.n_open == 0


def test_tokens_are_counted(encoder: Served) -> None:
    def count() -> float:
        line = f'llmatic_tokens_total{{kind="prompt",model="{SPEC.id}"}} '
        found = [row for row in encoder.http.get("/metrics").text.splitlines() if row.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0

    before = count()
    post(encoder, input=["a b c", "d"])
    assert count() == before + 4


def test_a_client_that_hangs_up_ends_the_work(encoder: Served) -> None:
    gate = Gate()
    encoder.pool.rows = lambda _: [Started(1), gate]

    async def hang_up() -> None:
        async with httpx2.AsyncClient(base_url=encoder.url) as client:
            asked = asyncio.ensure_future(
                client.post("/v1/embeddings", json={"model": SPEC.id, "input": "x"})
            )
            assert await asyncio.to_thread(gate.reached.wait, 10)
            asked.cancel()
            await asyncio.wait({asked})

    asyncio.run(hang_up())
    assert encoder.pool.cancelled.wait(10)


def test_the_sdk_decodes_what_it_asks_for_by_default(encoder: Served) -> None:
    # Its own strict types deny the base64 text that it asks for.
    with openai.OpenAI(base_url=encoder.base_url, api_key="none", max_retries=0) as client:
        decoded = client.embeddings.create(model=SPEC.id, input=["a b", "c"])
    with encoder.sdk() as strict:
        floats = strict.embeddings.create(model=SPEC.id, input=["a b", "c"], encoding_format="float")
    assert [single(item.embedding) for item in floats.data] == [item.embedding for item in decoded.data]
    assert floats.usage.total_tokens == 3
