from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatic.config import ModelSpec
from llmatic.core import errors
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.types import (
    Adapter,
    CallDelta,
    ChatPrompt,
    Delta,
    EncoderInfo,
    EngineInfo,
    Event,
    Finished,
    GenerationRequest,
    InfillPrompt,
    Priority,
    SamplingParams,
    Started,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
    TopLogprob,
    Usage,
)
from llmatic.workers import wire

counts = st.integers(0, 2**31)
reals = st.floats(-1000, 0)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
message = st.dictionaries(text, text | st.lists(st.integers(0, 9)), max_size=3)
prompts = (
    st.builds(TextPrompt, text)
    | st.builds(TokenPrompt, st.lists(counts).map(tuple))
    | st.builds(InfillPrompt, text, text)
    | st.builds(ChatPrompt, st.lists(message).map(tuple), st.dictionaries(text, st.booleans()))
)
sampling = st.builds(
    SamplingParams,
    temperature=st.floats(0, 2),
    logit_bias=st.lists(st.tuples(counts, reals)).map(tuple),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    n_logprobs=st.none() | st.integers(0, 20),
)
requests = st.builds(
    GenerationRequest,
    id=text,
    prompt=prompts,
    sampling=sampling,
    n_choices=st.integers(1, 9),
    max_tokens=st.none() | counts,
    stop=st.lists(text).map(tuple),
    ignore_eos=st.booleans(),
    client=text,
    priority=st.sampled_from(Priority),
    cache_salt=text,
    cache_key=text,
    cache_retention=st.sampled_from([None, "in_memory", "24h"]),
    adapters=st.lists(st.builds(Adapter, text, reals), max_size=2).map(tuple),
    prediction=text,
    shortens=st.booleans(),
)
encode_requests = st.builds(
    EncodeRequest,
    id=text,
    task=st.sampled_from(["embed", "rank", "classify"]),
    texts=st.lists(text, max_size=3).map(tuple),
    token_ids=st.lists(st.lists(counts, max_size=3).map(tuple), max_size=3).map(tuple),
    query=st.none() | text,
    dimensions=st.none() | st.integers(1, 9),
    too_long=st.sampled_from([None, "refuse", "truncate"]),
    client=text,
    priority=st.sampled_from(Priority),
)
tops = st.builds(TopLogprob, counts, st.binary(max_size=8), reals)
logprobs = st.builds(
    TokenLogprob, counts, st.binary(max_size=8), st.none() | reals, st.lists(tops, max_size=3).map(tuple)
)
events = (
    st.builds(Started, counts)
    | st.builds(
        Delta,
        st.integers(0, 127),
        text,
        st.integers(0, 3),
        st.lists(logprobs, max_size=3).map(tuple),
        st.none() | st.sampled_from(["stop", "length"]),
        st.just("") | text,
        st.lists(st.builds(CallDelta, counts, text, text, text), max_size=2).map(tuple),
        st.just("") | text,
    )
    | st.builds(Encoded, st.lists(st.integers(0, 2047), max_size=4).map(tuple), st.binary(max_size=32))
    | st.builds(
        Finished, st.builds(Usage, counts, counts, counts, counts, counts), st.lists(reals).map(tuple)
    )
)


def through_msgpack(value: object) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


@given(requests | encode_requests)
def test_requests_arrive_as_they_were(request_: GenerationRequest | EncodeRequest) -> None:
    found = wire.request_from_wire(through_msgpack(wire.request_to_wire(request_)))
    assert found == request_
    assert isinstance(found.priority, Priority)


@given(st.integers(1, 2**40), events)
def test_events_arrive_as_they_were(number: int, event: Event | Encoded) -> None:
    sent = through_msgpack(wire.event_to_wire(number, event))
    assert sent[0] == number
    assert wire.event_from_wire(sent) == event
    assert (sent[1] <= wire.FINISHED) == isinstance(event, Finished)


def test_the_common_delta_is_three_values() -> None:
    assert wire.event_to_wire(7, Delta(0, " word", 1)) == (7, 0, " word")


@pytest.mark.parametrize("kind", [errors.QueueFull, errors.ContextLengthExceeded, errors.EngineFailed])
def test_errors_keep_class_and_fields(kind: type[errors.LlmaticError]) -> None:
    sent = kind("words", param="prompt", retry_after_s=2.5)
    found = wire.event_from_wire(through_msgpack(wire.event_to_wire(1, sent)))
    assert isinstance(found, kind)
    assert found.to_wire() == sent.to_wire()


def test_specs_and_infos() -> None:
    spec = ModelSpec("m", "/x.gguf", aliases=("a",), options=MappingProxyType({"depth": [1, {"k": None}]}))
    assert wire.spec_from_wire(through_msgpack(wire.to_plain(spec))) == spec
    encoder = EncoderInfo("classify", 2, ("a", "b"), prompts=MappingProxyType({"query": "q: "}))
    info = EngineInfo(1, 2, 3, 4, True, False, "fp", size_bytes=2**40, encoder=encoder, writes=False)
    assert wire.info_from_wire(through_msgpack(wire.to_plain(info))) == info
