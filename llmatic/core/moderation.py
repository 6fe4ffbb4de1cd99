"""OpenAI's categories of harmful content, in OpenAI's order. Constants; any thread."""

from typing import Final

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

# Those of the API's version 1.2.0, and those of today's that each of them takes in.
LEGACY_CATEGORIES: Final = {
    "hate": ("hate",),
    "hate/threatening": ("hate/threatening",),
    "self-harm": ("self-harm", "self-harm/intent", "self-harm/instructions"),
    "sexual": ("sexual",),
    "sexual/minors": ("sexual/minors",),
    "violence": ("violence",),
    "violence/graphic": ("violence/graphic",),
}

# Those whose `category_applied_input_types` may name pictures.
PICTURED: Final = frozenset(
    {
        "self-harm",
        "self-harm/intent",
        "self-harm/instructions",
        "sexual",
        "violence",
        "violence/graphic",
    }
)
