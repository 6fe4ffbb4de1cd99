"""Sections that are nearly right: reading never raises, nothing is lost, and cuts change nothing."""

import random

import pytest

from llmatic.engines.chat.syntax import CallSyntax
from llmatic.engines.chat.syntax.gemma_calls import GEMMA4
from llmatic.engines.chat.syntax.harmony import HarmonyParser
from llmatic.engines.chat.syntax.nested_xml import MINIMAX_M3
from llmatic.engines.chat.syntax.python_calls import LFM2, PYTHONIC
from tests.engines.chat.reading import read
from tests.engines.chat.syntax.sections import read_pieces
from tests.engines.chat.syntax.test_nested_xml import TREES, section
from tests.engines.chat.syntax.test_xml_calls import TABLES, WRITTEN, F

N_MUTATIONS = 60
SECTIONS: list[tuple[CallSyntax, str]] = [
    *((TABLES[name], WRITTEN[name]) for name in WRITTEN),
    *((MINIMAX_M3, section(written)) for written, _ in TREES),
    (GEMMA4, 'call:f{b:true,n:1,o:{k:[<|"|>x<|"|>,None,1.5]},s:<|"|>a\n<b>"c\'<|"|>}<tool_call|>'),
    (LFM2, "[f(s='a\"b', n=1, o={\"k\": ['x', None, (1.5,)]}), f('\\u00e9\\n')]<|tool_call_end|>"),
    (PYTHONIC, "f(s='a', n=-1, b=True), f()]"),
]
HARMONY = (
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
    '<|constrain|>json<|message|>{"n": 1}<|call|><|start|>assistant<|channel|>final<|message|>So.<|return|>'
)
NOISE = (
    "<",
    ">",
    "</",
    '"',
    "'",
    "\n",
    "{",
    "}",
    "]",
    ")",
    ",",
    "\\",
    "=",
    ":",
    "é",
    "|",
    "null",
    " ",
    "<![CDATA[",
)


def mutated(text: str, chance: random.Random) -> str:
    """The text with one or two pieces left out, doubled, moved or replaced by noise."""
    for _ in range(chance.choice((1, 1, 2))):
        a, b = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        b = min(b, a + chance.choice((1, 3, 12, 60)))
        way = chance.randrange(4)
        piece = ("", text[a:b] * 2, chance.choice(NOISE), text[b : b + b - a] + text[a:b])[way]
        text = text[:a] + piece + text[b:]
    return text


def cut(text: str, chance: random.Random) -> list[str]:
    """The text in a few pieces."""
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(6))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("syntax", "text"), SECTIONS, ids=[f"{s.opens[0]}{n}" for n, (s, _) in enumerate(SECTIONS)]
)
def test_sections(syntax: CallSyntax, text: str) -> None:
    chance = random.Random(text)
    for _ in range(N_MUTATIONS):
        wrong = mutated(text, chance)
        answer, rest = read_pieces(syntax, [F], [wrong], syntax.opens[0])
        assert read_pieces(syntax, [F], list(wrong), syntax.opens[0]) == (answer, rest), wrong
        assert read_pieces(syntax, [F], cut(wrong, chance), syntax.opens[0]) == (answer, rest), wrong
        assert rest is None or wrong.endswith(rest)
        if not answer.calls:
            assert wrong in (rest, answer.content), wrong


def test_harmony() -> None:
    chance = random.Random(0)
    for _ in range(5 * N_MUTATIONS):
        wrong = mutated(HARMONY, chance)
        answer = read(HarmonyParser([F]), [wrong])
        assert read(HarmonyParser([F]), list(wrong)) == answer, wrong
        assert read(HarmonyParser([F]), cut(wrong, chance)) == answer, wrong
