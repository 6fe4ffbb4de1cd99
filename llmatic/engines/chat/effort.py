"""OpenAI's `reasoning_effort`, said in the names that one chat template knows.

Owns the table from levels to template names, found by rendering: a name counts only if setting it changes
what the template writes. Never looks at a client's messages. Pure; usable from any thread.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat.template import ChatTemplate

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_OFF = ("none", "minimal")
# Names that switch thinking: the value for on, the value for off.
_SWITCHES: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("thinking_mode", "enabled", "disabled"),
)
# Names that take a level's word; "no_think" is Hunyuan's for none.
_GRADES = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_WORDS_OFF = {"none": ("none", "no_think", "minimal"), "minimal": ("minimal", "none", "no_think")}
_USUAL = ("low", "medium", "high")
# Seed-OSS's budgets in tokens: 0 is no thinking, -1 no limit.
_BUDGET = "thinking_budget"
_BUDGETS = {"none": 0, "minimal": 0, "low": 1024, "medium": 4096, "high": 16384, "xhigh": -1, "max": -1}
_NONSENSE = "needle7261"
_PROBE = [{"role": "user", "content": "question"}]


@dataclass(frozen=True, slots=True)
class Efforts:
    """What each supported level sets. `medium` is always there."""

    table: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"medium": {}})

    @property
    def supported(self) -> tuple[str, ...]:
        """The levels that the template can express, least effort first."""
        return tuple(level for level in LEVELS if level in self.table)

    def names(self, level: str | None, *, is_wish: bool = False) -> Mapping[str, Any]:
        """Names for the template; none without a level.

        What it cannot express: `is_wish`, the nearest thinking that it can; otherwise raises InvalidRequest.
        """
        if level is None:
            return {}
        names = self.table.get(level)
        if names is None and is_wish:
            place = LEVELS.index(level)
            on = [known for known in self.supported if known not in _OFF]
            return self.table[min(on, key=lambda known: abs(LEVELS.index(known) - place))]
        if names is None:
            supported = " and ".join(", ".join(f"'{known}'" for known in self.supported).rsplit(", ", 1))
            raise InvalidRequest(
                f"Unsupported value: 'reasoning_effort' does not support '{level}' with this model. "
                f"Supported values are: {supported}.",
                param="reasoning_effort",
                code="unsupported_value",
            )
        return names


def find_efforts(template: ChatTemplate) -> Efforts:
    """The levels that `template` knows; some twenty small renderings at most."""
    if _BUDGET in template.names and _differs(template, {_BUDGET: 0}, {_BUDGET: 1024}):
        return Efforts({level: {_BUDGET: budget} for level, budget in _BUDGETS.items()})
    switch = _find_switch(template)
    on = {switch[0]: switch[1]} if switch else {}
    table: dict[str, Mapping[str, Any]] = {"medium": on}
    if switch:
        table |= {level: on for level in LEVELS if level not in _OFF}
        table |= {level: {switch[0]: switch[2]} for level in _OFF}
    for grade in _GRADES:
        if grade in template.names and (graded := _find_grades(template, grade, on)):
            off = {level: table[level] for level in _OFF if level in table}
            medium = on if switch else _medium(template, graded)
            return Efforts({"medium": medium, **off, **graded})
    return Efforts(table)


def _find_switch(template: ChatTemplate) -> tuple[str, Any, Any] | None:
    for switch in _SWITCHES:
        name, on, off = switch
        if name in template.names and _differs(template, {name: on}, {name: off}):
            return switch
    return None


def _differs(template: ChatTemplate, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    texts = [template.attempt(_PROBE, names=names) for names in (one, other)]
    return None not in texts and texts[0] != texts[1]


def _find_grades(template: ChatTemplate, grade: str, on: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The levels of a name that takes words, empty if no word makes a difference."""
    unknown = template.attempt(_PROBE, names={**on, grade: _NONSENSE})
    echoes = _NONSENSE in (unknown or "")
    texts = {word: template.attempt(_PROBE, names={**on, grade: word}) for word in (*LEVELS, "no_think")}
    if all(text in (None, unknown) for text in texts.values()):
        return {}
    spoken = set(re.findall(r"""["'`]([a-z_]+)["'`]""", template.source))
    # A template that repeats any word does not say which its model has learnt: the usual, and those it names.
    learnt = texts.keys() if not echoes else spoken | set(_USUAL)
    known = {word for word, text in texts.items() if text and word in learnt}
    graded: dict[str, Mapping[str, Any]] = {
        level: {**on, grade: level} for level in LEVELS if level in known and level not in _OFF
    }
    for level, words in _WORDS_OFF.items():
        candidates = (level,) if echoes else words
        word = next((word for word in candidates if word in known and texts[word] != unknown), None)
        if word is not None:
            graded[level] = {grade: word}
    return graded


def _medium(template: ChatTemplate, graded: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What medium means where it is not among the grades: the default, or if that is off, the next grade."""
    is_off = "none" in graded and not _differs(template, graded["none"], {})
    return graded.get("high", {}) if is_off else {}
