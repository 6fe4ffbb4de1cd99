# mypy: disable-error-code="import-not-found"
"""Pydantic AI's examples once more, over /responses."""

from pydantic_ai.models.openai import OpenAIResponsesModel

from tests.clients.programs import examples
from tests.clients.programs import pydantic_ai_examples as over_chat

over_chat.MODEL = OpenAIResponsesModel(examples.MODEL, provider=over_chat.PROVIDER)

if __name__ == "__main__":
    examples.run(*over_chat.EXAMPLES)
