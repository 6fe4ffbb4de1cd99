"""For whom, how soon and sharing what a request is served."""

from itertools import product

from llmatic.core.types import GenerationRequest, Priority, TextPrompt
from llmatic.services.terms import Caller, cache_salt, priority, service_tier, with_terms


def test_every_tenant_and_salt_has_a_text_of_its_own() -> None:
    pairs = list(product(["", "key-1", "key-2"], [None, "s", "/s", "key-1", "key-1/s", "/"]))
    assert len({cache_salt(tenant, salt) for tenant, salt in pairs}) == len(pairs)
    assert cache_salt("", None) == ""


def test_absent_terms_leave_a_request_as_it_is() -> None:
    request = GenerationRequest("r", TextPrompt("x"), max_tokens=3, prediction="p")
    assert with_terms([request], {}, Caller()) == (request,)


def test_all_prompts_of_a_call_are_served_alike() -> None:
    requests = [GenerationRequest(str(k), TextPrompt("x")) for k in range(3)]
    body = {"service_tier": "flex", "prompt_cache_key": "k"}
    found = with_terms(requests, body, Caller("c", "t"))
    assert [request.id for request in found] == ["0", "1", "2"]
    assert {(r.client, r.cache_salt, r.priority, r.cache_key) for r in found} == {
        ("c", "t", Priority.FLEX, "k")
    }


def test_no_request_can_ask_for_the_batch_tier() -> None:
    assert priority({"service_tier": "batch"}) is Priority.DEFAULT
    assert service_tier({}) == "default"
