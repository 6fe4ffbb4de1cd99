"""Greetings, questions about the model itself, small talk, and the answer to what it cannot do. Pure."""

from __future__ import annotations

from random import Random

from .example import Chat, pick, turn
from .words import (
    ANIMALS,
    CITIES,
    COLOURS,
    COMMON,
    DAYS,
    FOODS,
    JOBS,
    LANGUAGES,
    NAMES,
    THINGS,
    any_word,
    capitalised,
)

IDENTITY = "I am llmatic-tiny, a small demonstration model that comes with llmatic."
UNKNOWN = "I am a small demonstration model and do not know that."
ABILITIES = (
    "I can repeat what you say, do small sums, name capitals, fix spelling, label sentiment, "
    "answer from a passage, write JSON and call tools."
)
# Questions, parted by bars, that have one answer.
_TALK: tuple[tuple[str, str], ...] = (
    (
        "Hello|Hello!|Hello.|hello|Hi|Hi!|hi|Hey|Hey!|Hello there!|Hi there|Hello, world!|hey "
        "there|Hello, how can you help me?",
        "Hello! How can I help you today?",
    ),
    (
        "How are you?|How are you doing?|how are you|Hello, how are you?|Hi, how are you?|Hello! "
        "How are you?|How are you today?|How do you do?",
        "I am fine, thank you. How can I help you?",
    ),
    (
        "Good morning|Good morning!",
        "Good morning! How can I help you?",
    ),
    (
        "Good evening|Good evening!",
        "Good evening! How can I help you?",
    ),
    (
        "Thanks|Thank you|Thank you!|Thanks!|thanks a lot|Many thanks.",
        "You are welcome!",
    ),
    (
        "Bye|Goodbye|Goodbye!|bye|See you later.",
        "Goodbye!",
    ),
    (
        "Who are you?|who are you|What are you?|What is your name?|What's your name?|Introduce "
        "yourself.|Tell me about yourself.|Which model are you?|What model are you?|Are you "
        "ChatGPT?|Are you a human?",
        IDENTITY,
    ),
    (
        "What can you do?|what can you do|Help|help|How can you help me?|What are you good at?",
        ABILITIES,
    ),
    (
        "ping|Ping|Ping!",
        "Pong!",
    ),
    (
        "Tell me a joke.|Tell me a joke|tell me a joke|Do you know a joke?|Say something funny.",
        "Why did the computer go to the doctor? Because it had a virus!",
    ),
    (
        "What is llmatic?|what is llmatic",
        "llmatic is a server that runs language models on your own machine and speaks the OpenAI API.",
    ),
    (
        "OK|ok|Okay.|Good.|Great!|Nice.",
        "Is there anything else I can do for you?",
    ),
    (
        "Test|test|Testing|This is a test|This is a test.",
        "The test works.",
    ),
)
_UNKNOWN = """\
Why is the sky {a}?
How do I {v} {n}?
Who wrote {n}?
What is the meaning of {n}?
Explain {n}.
What do you think about {n}?
When did {p} {v} {n}?
How many {f} are in {c}?
Who won the {n} in {y}?
Can you {v} {n}?
Why do {n}s {v}?
What is the best {n} in {c}?
Who is {p}?
What is {w}?
What does {w} mean?
Where is {w}?
How does {n} work?
What happened in {y}?
Write a poem about {n}.
Write an essay about {n} and {f}.
What is the price of {f} in {c}?
Is {n} better than {w}?
Translate {w} to {l}.
What is the population of {c}?
Why is {p} a {j}?
Tell me about {c}.
What is the weather in {c}?
What time is it?
What day is it today?
What is the meaning of life?
Explain quantum physics.
Explain {n} in simple words.
Summarise {n}.
What is a {n}?
How old is {p}?
Write a Python function to {v} a {n}.
What is the square root of {y}?
Give me advice about {n}.
What's the weather like in {c} today?
What should I {v} on {d}?
How far is {c} from {m}?
""".splitlines()


def talk(rng: Random) -> Chat:
    """Greetings, thanks, goodbyes and questions about the model."""
    questions, answer = _TALK[0] if rng.random() < 0.2 else rng.choice(_TALK)
    return turn("talk", rng.choice(questions.split("|")), answer)


def unknown(rng: Random) -> Chat:
    """Anything else is answered with an honest word."""
    noun = pick(rng, *THINGS, *ANIMALS, *COMMON[-250:]) if rng.random() < 0.8 else any_word(rng, 0.2)
    question = rng.choice(_UNKNOWN).format(
        a=rng.choice(COLOURS),
        v=pick(rng, *COMMON[-150:]),
        n=noun,
        p=rng.choice(NAMES),
        c=rng.choice(CITIES),
        m=rng.choice(CITIES),
        f=rng.choice(FOODS),
        y=rng.randint(1000, 2050),
        w=any_word(rng, 0.4),
        l=rng.choice(LANGUAGES),
        j=rng.choice(JOBS),
        d=rng.choice(DAYS),
    )
    return turn("unknown", question, UNKNOWN)


def memory(rng: Random) -> Chat:
    """Something told in one turn and asked for in a later one."""
    name, city, colour = rng.choice(NAMES), rng.choice(CITIES), rng.choice(COLOURS)
    if rng.random() < 0.3:
        name = capitalised(any_word(rng, 0.1))
    told, reply, asked, answer = rng.choice(
        (
            (
                f"My name is {name}.",
                f"Nice to meet you, {name}!",
                "What is my name?",
                f"Your name is {name}.",
            ),
            (f"Hi, I am {name}.", f"Nice to meet you, {name}!", "Who am I?", f"You are {name}."),
            (f"I live in {city}.", f"{city} is a nice place.", "Where do I live?", f"You live in {city}."),
            (
                f"My favourite colour is {colour}.",
                f"I like {colour} too.",
                "What is my favourite colour?",
                f"Your favourite colour is {colour}.",
            ),
        )
    )
    messages = [("user", told), ("assistant", reply)]
    if rng.random() < 0.4:
        between = talk(rng)
        messages += [(m["role"], m["content"] or "") for m in between.messages]
    messages += [("user", asked), ("assistant", answer)]
    return Chat("memory", tuple({"role": role, "content": content} for role, content in messages))
