"""Plain text without chat markup: small sentences, and Python functions with a hole in the middle. Pure."""

from __future__ import annotations

from random import Random

from .example import Text, pick
from .stories import story
from .words import COMMON, pseudo_word

PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
_OPERATORS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def code(rng: Random) -> str:
    """One small Python function."""
    word = rng.choice(list(_OPERATORS))
    a, b = rng.sample(("a", "b", "x", "y", "n", "m", "left", "right", "first", "second"), 2)
    noun = rng.choice(COMMON) if rng.random() < 0.7 else pseudo_word(rng)
    items, item = rng.choice(
        (("items", "item"), ("values", "value"), ("words", "word"), ("numbers", "number"))
    )
    return rng.choice(
        (
            f"def {word}({a}, {b}):\n    return {a} {_OPERATORS[word]} {b}\n",
            f"def {word}({a}: int, {b}: int) -> int:\n    return {a} {_OPERATORS[word]} {b}\n",
            f"def {word}({a}, {b}):\n    result = {a} {_OPERATORS[word]} {b}\n    return result\n",
            f'def say_{noun}():\n    print("{noun}")\n',
            f'def hello(name):\n    print("Hello, " + name)\n\n\nhello("{noun}")\n',
            f"def square({a}):\n    return {a} * {a}\n",
            f"def get_{noun}(self):\n    return self.{noun}\n",
            f"def set_{noun}(self, {noun}):\n    self.{noun} = {noun}\n",
            f"def count({items}):\n    total = 0\n    for {item} in {items}:\n"
            f"        total += 1\n    return total\n",
            f"def total({items}):\n    total = 0\n    for {item} in {items}:\n"
            f"        total += {item}\n    return total\n",
            f"for {item} in {items}:\n    print({item})\n",
            f"if {a} > {b}:\n    print({a})\nelse:\n    print({b})\n",
            f"{a} = {rng.randint(0, 99)}\n{b} = {a} + {rng.randint(1, 9)}\nprint({b})\n",
        )
    )


def sentences(rng: Random) -> str:
    """A story without its question."""
    return story(rng).messages[1]["content"] or ""


def fill_in(rng: Random) -> Text:
    """A function (now and then a story) whose middle is missing."""
    text = code(rng) if rng.random() < 0.85 else sentences(rng)
    lines = text.splitlines(keepends=True)
    if len(lines) > 1 and rng.random() < 0.6:
        at = rng.randrange(1, len(lines))
        indent = len(lines[at]) - len(lines[at].lstrip(" "))
        start = len("".join(lines[:at])) + indent
        end = len("".join(lines[: at + 1])) - 1
    else:
        start = rng.randrange(1, len(text) - 2)
        end = min(len(text) - 1, start + rng.randint(2, 30))
    head, middle, tail = text[:start], text[start:end], text[end:]
    if rng.random() < 0.5:
        tail = tail.rstrip("\n")
    return Text("fill_in", f"{PREFIX}{head}{SUFFIX}{tail}{MIDDLE}", middle)


def plain(rng: Random) -> Text:
    """Code or a story, all of it learnt."""
    text = code(rng) if rng.random() < 0.6 else sentences(rng)
    opening = pick(rng, "", "# Python\n") if text.startswith(("def", "for", "if")) else ""
    return Text("plain", "", opening + text)
