"""Small sums, differences and products. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, Text, pick, turn

_WORDS = {"+": "plus", "-": "minus", "*": "times"}


def _sum(rng: Random) -> tuple[int, str, int, int]:
    sign = pick(rng, "+", "+", "-", "*")
    top = 12 if sign == "*" else 20
    a, b = rng.randint(0, top), rng.randint(0, top)
    if rng.random() < 0.25:
        a, b = rng.randint(0, 9), rng.randint(0, 9)
    return a, sign, b, a + b if sign == "+" else a - b if sign == "-" else a * b


def arithmetic(rng: Random) -> Chat:
    """`What is 2+2?` is answered with `2 + 2 = 4`; a bare number on request."""
    a, sign, b, value = _sum(rng)
    shown = f"{a}{sign}{b}" if rng.random() < 0.5 else f"{a} {sign} {b}"
    if rng.random() < 0.2:
        shown = f"{a} {_WORDS[sign]} {b}"
    if rng.random() < 0.2:
        question = pick(rng, "What is {}? Answer with a number only.", "Compute {}. Only give the number.")
        return turn("arithmetic", question.format(shown), str(value))
    question = pick(
        rng,
        "What is {}?",
        "What is {}?",
        "What's {}?",
        "what is {}",
        "{}",
        "{}=",
        "{} = ?",
        "Compute {}.",
        "Calculate {}",
        "How much is {}?",
    )
    return turn("arithmetic", question.format(shown), f"{a} {sign} {b} = {value}")


def think(rng: Random) -> Chat:
    """A sum with the working shown between the thinking tokens, when the system message asks for it."""
    a, sign, b, value = _sum(rng)
    thought = f"I need {a} {_WORDS[sign]} {b}. That is {value}."
    example = turn(
        "think", f"What is {a} {sign} {b}?", f"<think>\n{thought}\n</think>\n\n{a} {sign} {b} = {value}"
    )
    return Chat("think", ({"role": "system", "content": "Think before you answer."}, *example.messages))


def compare(rng: Random) -> Chat:
    """Which of two numbers is larger, or smaller."""
    a, b = rng.sample(range(100), 2)
    larger = rng.random() < 0.6
    word = pick(rng, "larger", "bigger", "greater") if larger else pick(rng, "smaller", "less")
    return turn("compare", f"Which is {word}, {a} or {b}?", str(max(a, b) if larger else min(a, b)))


def arithmetic_text(rng: Random) -> Text:
    """`2 + 2 =` as plain text."""
    a, sign, b, value = _sum(rng)
    if rng.random() < 0.3:
        return Text("text_sum", f"{a}{sign}{b}=", str(value))
    return Text("text_sum", f"{a} {sign} {b} =", f" {value}")
