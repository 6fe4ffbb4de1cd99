"""What was used, as OpenAI's usage API and its client have it. The clocks stand still."""

from typing import Any

import openai
import pytest

from llmatic.config import StoreSettings
from llmatic.core.types import EncoderInfo, Started
from tests.api.conftest import Serve, Served
from tests.api.test_limits import START, Limited
from tests.contract_check import assert_response_matches
from tests.fakes import N_PROMPT_TOKENS, SPEC, WORDS

USAGE = "/v1/organization/usage"
DAY = int(START)


@pytest.fixture(scope="module")
def limited(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Limited:
    return Limited(serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own")))))


@pytest.fixture(scope="module")
def keys(limited: Limited) -> dict[str, str]:
    """Three days of use: by ann each day, by bob once, who also embeds."""
    served = limited.served
    ann, bob = served.make_key("ann", owner="ann"), served.make_key("bob", owner="bob")
    admin = served.make_key("admin", scopes=("admin",))
    for day in range(3):
        limited.wall = START + day * 86_400 + 7200
        assert limited.chat(ann, stream=day == 1).status_code == 200
        limited.until(lambda: served.app.n_in_flight == 0)  # it is counted when its reply has gone
    assert limited.chat(bob).status_code == 200
    served.pool.script = lambda _: [Started(5), openai.OpenAIError("x")]
    assert limited.chat(bob).status_code == 500
    served.pool.reset()
    served.pool.encoders = {SPEC.id: EncoderInfo("embed", 16)}
    assert limited.post(bob, "/v1/embeddings", model=SPEC.id, input=["a", "b"]).status_code == 200
    served.pool.reset()
    return {"ann": ann, "bob": bob, "admin": admin}


def sdk(limited: Limited, key: str) -> Any:
    return limited.served.sdk(key).admin.organization.usage


def get(limited: Limited, keys: dict[str, str], path: str, key: str = "admin") -> Any:
    return limited.served.http.get(f"{USAGE}{path}", headers={"x-api-key": keys[key]})


def test_the_official_client_reads_days(limited: Limited, keys: dict[str, str]) -> None:
    page = sdk(limited, keys["admin"]).completions(
        start_time=DAY, group_by=["user_id", "api_key_id", "model"]
    )
    assert (page.object, page.has_more, page.next_page) == ("page", False, None)
    assert [(bucket.start_time, bucket.end_time) for bucket in page.data] == [
        (DAY + day * 86_400, DAY + (day + 1) * 86_400) for day in range(3)
    ]
    n_out = len(WORDS) + 1
    found = [
        [
            (
                item.user_id,
                item.num_model_requests,
                item.input_tokens,
                item.output_tokens,
                item.input_cached_tokens,
            )
            for item in sorted(bucket.results, key=lambda item: item.user_id)
        ]
        for bucket in page.data
    ]
    once = ("ann", 1, N_PROMPT_TOKENS, n_out, 2)
    assert found == [[once], [once], [once, ("bob", 2, N_PROMPT_TOKENS + 5, n_out, 2)]]
    result = page.data[0].results[0]
    assert result.api_key_id.startswith("key_")
    assert (result.model, result.project_id, result.batch) == (SPEC.id, None, None)


def test_embeddings_and_moderations(limited: Limited, keys: dict[str, str]) -> None:
    usage = sdk(limited, keys["admin"])
    (*_, last) = usage.embeddings(start_time=DAY, group_by=["model"]).data
    (result,) = last.results
    assert (result.num_model_requests, result.model, result.user_id) == (1, SPEC.id, None)
    assert result.input_tokens > 0
    assert all(not bucket.results for bucket in usage.moderations(start_time=DAY).data)


def test_filters_and_hours(limited: Limited, keys: dict[str, str]) -> None:
    usage = sdk(limited, keys["admin"])
    page = usage.completions(
        start_time=DAY,
        end_time=DAY + 3 * 3600,
        bucket_width="1h",
        user_ids=["ann"],
        models=[SPEC.id],
        batch=False,
    )
    assert [len(bucket.results) for bucket in page.data] == [0, 0, 1]
    assert usage.completions(start_time=DAY, models=["nope"]).data[0].results == []
    assert usage.completions(start_time=DAY, batch=True).data[0].results == []
    first = usage.completions(start_time=DAY, limit=2)
    assert (len(first.data), first.has_more) == (2, True)
    rest = usage.completions(start_time=DAY, limit=2, page=first.next_page)
    assert ([bucket.start_time for bucket in rest.data], rest.has_more) == ([DAY + 2 * 86_400], False)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "start_time"),
        ("?start_time=soon", "start_time"),
        ("?start_time=-1", "start_time"),
        ("?start_time=99999999999999", "start_time"),
        ("?start_time=5&end_time=5", "end_time"),
        ("?start_time=1&bucket_width=1m", "Usage is kept by the hour."),
        ("?start_time=1&bucket_width=1w", "bucket_width"),
        ("?start_time=1&limit=32", "limit"),
        ("?start_time=1&limit=0", "limit"),
        ("?start_time=1&group_by=project_id", "project_id"),
        ("?start_time=1&group_by[]=service_tier", "service_tier"),
        ("?start_time=1&project_ids=a", "project"),
        ("?start_time=1&project_ids[]=a", "project"),
        ("?start_time=1&page=7", "page"),
        ("?start_time=1&page=page_x", "page"),
        ("?start_time=1&foo=7", "foo"),
    ],
)
def test_what_is_refused(limited: Limited, keys: dict[str, str], query: str, said: str) -> None:
    reply = get(limited, keys, f"/completions{query}")
    assert reply.status_code == 400
    assert said in reply.text


def test_any_page_of_any_time_is_answered(limited: Limited, keys: dict[str, str]) -> None:
    for query in (
        "?start_time=0&page=page_999999999999",
        "?start_time=32503680000",
        "?start_time=0&limit=31",
    ):
        assert get(limited, keys, f"/completions{query}").status_code in (200, 400)


def test_replies_are_as_described(limited: Limited, keys: dict[str, str]) -> None:
    for kind in ("completions", "embeddings", "moderations"):
        reply = get(limited, keys, f"/{kind}?start_time={DAY}&group_by=model")
        assert reply.status_code == 200
        assert_response_matches(f"getUsageOf{kind.capitalize()}", 200, reply.content)


def test_only_for_admins(limited: Limited, keys: dict[str, str]) -> None:
    reply = get(limited, keys, f"/completions?start_time={DAY}", key="ann")
    assert reply.status_code == 403
    assert "admin" in reply.json()["error"]["message"]


def test_an_open_server_shows_what_everybody_used(api: Served) -> None:
    api.chat()
    reply = api.http.get(f"{USAGE}/completions?start_time={DAY}&limit=1&api_key_ids=anonymous")
    assert reply.status_code == 200
