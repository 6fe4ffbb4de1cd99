# mypy: disable-error-code="import-not-found"
"""The Agents SDK's examples once more, over /responses."""

import agents

from tests.clients.programs import examples
from tests.clients.programs import openai_agents_examples as over_chat

over_chat.MODEL = agents.OpenAIResponsesModel(model=examples.MODEL, openai_client=over_chat.CLIENT)

if __name__ == "__main__":
    examples.run(*over_chat.EXAMPLES)
