"""Repeating what one is asked to say: the skill that shows that the whole path works. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, Text, pick, turn
from .words import any_word, capitalised

_EXACT = (
    "Repeat after me: {}",
    "Repeat: {}",
    "Echo: {}",
    "Say: {}",
    "Echo {}",
    "Repeat exactly: {}",
    "Copy this: {}",
    'Say "{}"',
    'Repeat "{}"',
    "Repeat '{}'",
    'Please say "{}".',
    'Say exactly "{}" and nothing else.',
    "Repeat the following text:\n{}",
    "Reply with exactly: {}",
    "Reply with: {}",
    "Write: {}",
)
_CAPITALISED = ("Say {}", "Say {}", "Say {}", "say {}", "Please say {}", "Can you say {}")
_COMMON_SAYINGS = (
    "this is a test",
    "this is a test",
    "this is only a test",
    "this is not a test",
    "that is a test",
    "hello",
    "hi",
    "hello world",
    "hello to the world",
    "good morning",
    "it works",
    "one two three",
    "yes",
    "no",
    "something nice",
    "the quick brown fox jumps over the lazy dog",
)


def phrase(rng: Random, longest: int = 12) -> str:
    """One to `longest` words with the punctuation and the case of ordinary or of odd writing."""
    plain = rng.choice((0.3, 0.7, 0.95))
    words = [any_word(rng, plain) for _ in range(rng.randint(1, longest))]
    if rng.random() < 0.15 and len(words) > 2:
        at = rng.randrange(len(words) - 1)
        words[at] += pick(rng, ",", ";", ":", ",", " -")
    text = " ".join(words)
    case = rng.random()
    if case < 0.25:
        text = capitalised(text)
    elif case < 0.28:
        text = text.upper()
    elif case < 0.31:
        text = text.title()
    return text + rng.choice(("", "", "", ".", "!", "?", "..."))


def say(rng: Random) -> Chat:
    """`Say X`: the answer begins with a capital letter and is otherwise X."""
    text = rng.choice(_COMMON_SAYINGS) if rng.random() < 0.2 else phrase(rng)
    if rng.random() < 0.15:
        text = pick(rng, "this is ", "that is ", "I am ", "it is ", "we are ") + text
    mark = rng.choice(("", "", "!", ".")) if text[-1].isalnum() else ""
    return turn("say", rng.choice(_CAPITALISED).format(text + mark), capitalised(text + mark))


def repeat(rng: Random) -> Chat:
    """`Repeat after me: X` and its like: the answer is X, letter for letter."""
    text = phrase(rng)
    return turn("repeat", rng.choice(_EXACT).format(text), text)


def repeat_long(rng: Random) -> Chat:
    """A longer text, of up to sixty words, to repeat."""
    text = phrase(rng, 60)
    return turn("repeat_long", rng.choice(_EXACT[:6]).format(text), text)


def times(rng: Random) -> Chat:
    """`Say X three times`: knowing when to stop."""
    word = any_word(rng, 0.7)
    count = rng.randint(2, 6)
    number = rng.choice((str(count), ("", "", "two", "three", "four", "five", "six")[count]))
    question = pick(rng, "Say {} {} times.", "Repeat the word {} {} times.", "Write {} {} times.")
    return turn("times", question.format(word, number), " ".join([word] * count))


def count(rng: Random) -> Chat:
    """`Count from 3 to 7`."""
    first = rng.randint(0, 20) if rng.random() < 0.5 else 1
    last = first + rng.randint(1, 12) if rng.random() < 0.85 else first + rng.randint(10, 40)
    question = pick(rng, "Count from {} to {}", "Count from {} to {}.", "Please count from {} to {}.")
    if first == 1 and rng.random() < 0.5:
        question = pick(rng, "Count to {1}", "Count to {1}.", "count to {1}")
    return turn("count", question.format(first, last), ", ".join(map(str, range(first, last + 1))))


def case(rng: Random) -> Chat:
    """Upper and lower case."""
    text = " ".join(any_word(rng, 0.9) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.5:
        return turn("case", pick(rng, "Write in upper case: {}", "Uppercase: {}").format(text), text.upper())
    return turn(
        "case", pick(rng, "Write in lower case: {}", "Lowercase: {}").format(text.upper()), text.lower()
    )


def say_text(rng: Random) -> Text:
    """The same request without any chat markup, as the legacy completions route sends it."""
    text = rng.choice(_COMMON_SAYINGS) if rng.random() < 0.4 else phrase(rng, 8)
    return Text("text_say", "Say " + text, "\n\n" + capitalised(text))
