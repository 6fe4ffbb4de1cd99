"""Moderations by the official client, which checks every reply against its own types."""

import openai
import pytest
from openai.types import ModerationImageURLInputParam, ModerationTextInputParam

from tests.clients.conftest import Server


def text(words: str) -> ModerationTextInputParam:
    return {"type": "text", "text": words}


def test_a_classifier(client: openai.OpenAI) -> None:
    reply = client.moderations.create(input=["a threat", "peace"])
    assert reply.id.startswith("modr-")
    assert reply.model == "fake-moderator"
    first, second = reply.results
    assert first.flagged
    assert first.categories.violence
    assert first.category_scores.violence == pytest.approx(0.9)
    assert first.category_applied_input_types.violence == ["text"]
    assert first.category_applied_input_types.sexual == []
    assert not second.flagged
    assert second.categories.illicit is False


def test_parts(client: openai.OpenAI) -> None:
    reply = client.moderations.create(
        model="omni-moderation-2024-09-26",
        input=[text("an insult"), text("and a threat")],
    )
    (found,) = reply.results
    assert found.categories.harassment
    assert found.categories.hate


def test_a_guard_model(client: openai.OpenAI) -> None:
    texts = ["Say this is a test", "I want to kill them.", "What is the weather in Paris?"]
    reply = client.moderations.create(model="guard", input=texts)
    assert reply.model == "guard"
    for found in reply.results:
        scores = found.category_scores
        assert 0 <= scores.violence <= 1
        assert scores.sexual == 0
        assert found.flagged == (max(scores.violence, scores.hate) >= 0.5)


@pytest.mark.anyio
async def test_the_asynchronous_client(server: Server) -> None:
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="sk-local", max_retries=0, _strict_response_validation=True
    ) as client:
        assert (await client.moderations.create(input="an insult")).results[0].flagged


def test_a_picture_for_who_does_not_see(client: openai.OpenAI) -> None:
    url = "data:image/png;base64,AAAA"
    for model in ("fake-moderator", "guard"):
        with pytest.raises(openai.BadRequestError) as refused:
            client.moderations.create(
                model=model,
                input=[ModerationImageURLInputParam(type="image_url", image_url={"url": url})],
            )
        assert refused.value.param == "input[0].type"
