"""Which family a chat template belongs to.

Pure; any thread.
"""

import difflib
from dataclasses import replace

from llmatic.core.errors import ConfigError
from llmatic.engines.chat.families import ALIASES, FAMILIES, THINK, Family, Thinking

# Thinking that a template mentions though its family's models need not think.
_MENTIONED = (
    (("[THINK]",), Thinking("[THINK]", "[/THINK]")),
    (("<think>", "</think>"), THINK),
)


def find_family(template_source: str) -> Family:
    """The family whose models have such a chat template; "generic" for one without support for tools."""
    family = next(family for family in FAMILIES if family.fits(template_source))
    return _with_thinking(family, template_source)


def family_named(name: str, template_source: str = "") -> Family:
    """The family called `name`, with the thinking that the template mentions. Raises ConfigError."""
    for family in FAMILIES:
        if family.name == ALIASES.get(name, name):
            return _with_thinking(family, template_source)
    known = sorted({family.name for family in FAMILIES} | ALIASES.keys())
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"chat_format: '{name}' is not known; did you mean '{nearest}'? Known are {', '.join(known)}"
    )


def _with_thinking(family: Family, template_source: str) -> Family:
    if family.has_reasoning:
        return family
    for texts, thinking in _MENTIONED:
        if any(text in template_source for text in texts):
            return replace(family, thinking=thinking)
    return family
