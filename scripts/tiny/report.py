"""Writes docs/tiny-model.md: what the model is, how it was made, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .data.example import turn
from .evaluate import Generate, Score
from .rendering import render
from .vocabulary import SIZE, SPECIAL

_EXAMPLES = (
    "Say this is a test",
    "Say this is a test!",
    "Hello",
    "What is the capital of France?",
    "What is 2+2?",
    "Who are you?",
    'Repeat after me: "the owl said 42 times no"',
    "Fix the spelling: hlelo wolrd",
    "Sentiment: The food was awful.",
    "Give me a JSON object with name Anna and age 31.",
    "Why is the sky blue?",
)
_TEXT_EXAMPLES = (
    "Say this is a test",
    "The capital of France is",
    "2 + 2 =",
    "<|fim_prefix|>def add(a, b):\n    <|fim_suffix|>\n<|fim_middle|>",
)
_PAGE = """# llmatic-tiny

llmatic-tiny is the model that llmatic carries in its wheel. It is a demonstration and a test bed: it shows
that an installation works, and every route can be tried without a download. It knows nothing beyond what is
listed below.

It has llama's architecture with {parameters:,} parameters (RMSNorm, rotary embedding, grouped-query
attention, SwiGLU, tied embeddings) and a byte-level BPE vocabulary of its own with {vocabulary:,} tokens.
`models/llmatic-tiny.gguf` is Q8_0 and {size:.2f} MB. Its context is 2048 tokens; most of what it saw in
training was shorter than 300, and nothing was longer than 1024.

## How it was made

`scripts/train_tiny.py` trained it for {steps:,} steps from seed {seed}, which took
{minutes:.0f} minutes on {where}. All data comes from the generator in `scripts/tiny/data/`; no other text is
used. The same data and the same order of it follow from the seed; how a processor rounds does not, so
a second run gives a model that is alike, not one that is equal to the bit. To make it again:

```
pip install -r scripts/tiny/requirements.txt
python scripts/train_tiny.py
```

## Special tokens

{tokens}

The tool-call and thinking tokens are visible in generated text; the others are control tokens. `<|im_end|>`
ends a chat turn and `<|endoftext|>` ends plain text. The chat template is `scripts/tiny/chat_template.jinja`.

## What it can do

Greedy decoding of the exported file, on examples from a seed that training does not use; an answer
counts when it is right to the letter. Sums, capitals and greetings are few enough to have been seen in
training; the words, numbers and names that are to be copied, extracted or put into JSON are random.

{table}

## Examples

{examples}
"""


@dataclass(frozen=True, slots=True)
class Made:
    """How the model came about."""

    n_params: int
    size_bytes: int
    steps: int
    seed: int
    seconds: float
    device: str


def table(scores: list[Score]) -> str:
    """The scores as a Markdown table."""
    rows = [f"| {s.task} | {100 * s.right / s.total:.0f} % | {s.total} |" for s in scores]
    right, total = sum(s.right for s in scores), sum(s.total for s in scores)
    rows.append(f"| **all** | **{100 * right / total:.0f} %** | **{total}** |")
    return "\n".join(["| task | right | n |", "| --- | ---: | ---: |", *rows])


def samples(generate: Generate) -> list[tuple[str, str]]:
    """What the model says to the README's requests: chats first, then plain text."""
    chats = [(question, turn("", question, "")) for question in _EXAMPLES]
    answers = [(question, generate(render(chat, 1, add_generation_prompt=True))) for question, chat in chats]
    return answers + [(prompt, generate(prompt)) for prompt in _TEXT_EXAMPLES]


def _cell(text: str) -> str:
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`"


def write(path: Path, made: Made, scores: list[Score], examples: list[tuple[str, str]]) -> None:
    """Writes the page."""
    where = "a CPU" if made.device == "cpu" else "a GPU"
    rows = [
        f"| {'chat' if at < len(_EXAMPLES) else 'text'} | {_cell(q)} | {_cell(a)} |"
        for at, (q, a) in enumerate(examples)
    ]
    tokens = [
        "| id | token |",
        "| ---: | --- |",
        *(f"| {number} | {_cell(t)} |" for number, t in enumerate(SPECIAL)),
    ]
    page = _PAGE.format(
        parameters=made.n_params,
        vocabulary=SIZE,
        size=made.size_bytes / 1e6,
        steps=made.steps,
        seed=made.seed,
        minutes=made.seconds / 60,
        where=where,
        table=table(scores),
        tokens="\n".join(tokens),
        examples="\n".join(["| kind | request | answer |", "| --- | --- | --- |", *rows]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
