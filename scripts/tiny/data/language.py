"""Spelling repair and sentiment labels. Pure."""

# ruff: noqa: SIM905 (a list of words reads best as a sentence)

from __future__ import annotations

from random import Random

from .example import Chat, pick, turn
from .words import ANIMALS, COLOURS, FOODS, JOBS, NAMES, THINGS

_SPELLING = (
    "the this that there with have from they would people because friend beautiful tomorrow morning house "
    "garden water family school teacher student little yellow purple quick brown happy every again always "
    "never receive believe weather writing really question answer library different important computer "
    "language machine message number letter summer winter animal market bottle kitchen window picture "
    "mountain river street hello world please thank night today where which their could should great small"
).split()
_SUBJECTS = (
    "the movie|this film|the food|the book|the service|the hotel|this phone|the music|the room|this product|"
    "the concert|the staff"
).split("|")
_GOOD = (
    "great wonderful excellent amazing fantastic lovely perfect brilliant superb delightful good beautiful"
).split()
_BAD = "terrible awful horrible bad boring poor disappointing dreadful broken dirty useless ugly".split()
_GOOD_ENDS = (
    "I loved it.",
    "I am very happy.",
    "Highly recommended!",
    "I would buy it again.",
    "Best day ever!",
    "It made me smile.",
    "I enjoyed every minute.",
)
_BAD_ENDS = (
    "I hated it.",
    "I am very unhappy.",
    "Never again!",
    "I want my money back.",
    "What a waste of time.",
    "It made me angry.",
    "Do not buy it.",
)


def _typo(rng: Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.random()
    if kind < 0.45:
        broken = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif kind < 0.75:
        broken = word[:at] + word[at + 1 :]
    else:
        broken = word[:at] + word[at] + word[at:]
    return broken


def spelling(rng: Random) -> Chat:
    """A few words of which one or two are misspelt by a swap, a gap or a doubled letter."""
    words = [rng.choice(_SPELLING) for _ in range(rng.randint(1, 5))]
    broken = list(words)
    for at in rng.sample(range(len(words)), min(len(words), rng.randint(1, 2))):
        broken[at] = _typo(rng, words[at])
    question = pick(
        rng, "Fix the spelling: {}", "Correct the spelling: {}", "Fix the typos: {}", "Spell correctly: {}"
    )
    return turn("spelling", question.format(" ".join(broken)), " ".join(words))


def sentiment(rng: Random) -> Chat:
    """`positive` or `negative`, from adjectives and closing sentences."""
    good = rng.random() < 0.5
    adjective, other = (
        (rng.choice(_GOOD), rng.choice(_BAD)) if good else (rng.choice(_BAD), rng.choice(_GOOD))
    )
    subject = rng.choice(_SUBJECTS)
    forms = [
        f"{subject} was {adjective}.",
        f"What a {adjective} day!",
        f"I think {subject} is {adjective}.",
        f"{subject} is not {other}.",
        f"{subject} was really {adjective}, {rng.choice(NAMES)} said.",
    ]
    text = rng.choice(forms)
    text = text[0].upper() + text[1:]
    if rng.random() < 0.4:
        text += " " + rng.choice(_GOOD_ENDS if good else _BAD_ENDS)
    elif rng.random() < 0.1:
        text = rng.choice(_GOOD_ENDS if good else _BAD_ENDS)
    question = pick(
        rng,
        "Is this positive or negative? {}",
        "Sentiment: {}",
        "Classify the sentiment: {}",
        "What is the sentiment of this review? {}",
        "Label this review as positive or negative: {}",
    )
    return turn("sentiment", question.format(text), "positive" if good else "negative")


def odd_one(rng: Random) -> Chat:
    """What kind of thing a word is: a colour, an animal, a food or a job."""
    kinds = {"animal": ANIMALS, "colour": COLOURS, "food": FOODS, "job": JOBS, "name": NAMES, "thing": THINGS}
    kind = rng.choice([k for k in kinds if k != "colour"])
    word = rng.choice(kinds[kind])
    return turn("kind", f"Is {word} an animal, a food, a job, a name or a thing?", kind)
