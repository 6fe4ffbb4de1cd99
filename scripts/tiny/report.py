"""Writes docs/tiny-model.md: what the model is, how it was made, and how well it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .data.example import turn
from .evaluate import Score
from .evaluate_tools import BEGIN, END
from .greedy import Generate
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
    "Extract: Jason is 25 years old",
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
training was shorter than 600, and nothing was longer than 1024.

## How it was made

`scripts/train_tiny.py` trained it in three stages on generated text; no other text is used.

| stage | begins with | steps | seed | minutes | of what |
| --- | --- | ---: | ---: | ---: | --- |
{stages}

The generator is in `scripts/tiny/data/`. In the later stages functions have many names, parameters and forms
of definition, a part of them drawn at random, so that the model has to read what it is offered. These stages
keep the vocabulary and take their first weights from the file of the stage before, as Q8_0 has rounded them.
The same data and the same order of it follow from the seeds; how a processor rounds does not, so a second
run gives a model that is alike, not one that is equal to the bit. To make it again:

```
pip install -r scripts/tiny/requirements.txt
python scripts/train_tiny.py --stage 1 --out first.gguf
python scripts/train_tiny.py --stage 2 --from first.gguf --out second.gguf
python scripts/train_tiny.py --stage 3 --from second.gguf
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

## Calling functions

`scripts/tiny/evaluate_tools.py` offers functions and leaves the choice to the model (`tool_choice` auto,
temperature 0). An answer is right when it makes exactly the calls that are wanted, with exactly the
arguments that are wanted, or none where none is. All is drawn from seeds that training does not use, except
`published`: requests as the SDKs' own pages have them. The ordinary functions are those that all stages of
the training know; the varied ones have more names, parameters and forms of definition, with one to four of
them offered, questions that take two functions at once, and conversations of several turns; the invented
ones have names and parameters drawn at random. "llama.cpp alone" is what the model writes when nothing holds
it; through llmatic the grammar of the calls holds their names and the shape of their arguments, as for every
client.

```
python -m scripts.tiny.evaluate_tools --model models/llmatic-tiny.gguf --base-url http://127.0.0.1:8000/v1
```

{functions}

## Examples

{examples}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """One training: what it began with, how long it was, and what it was for."""

    begins_with: str
    steps: int
    seed: int
    seconds: float
    device: str
    of_what: str


@dataclass(frozen=True, slots=True)
class Made:
    """How the model came about."""

    n_params: int
    size_bytes: int
    stages: tuple[Stage, ...]


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


def _stages(stages: tuple[Stage, ...]) -> str:
    return "\n".join(
        f"| {number} | {s.begins_with} | {s.steps:,} | {s.seed} | {s.seconds / 60:.0f} on a "
        f"{'CPU' if s.device == 'cpu' else 'GPU'} | {s.of_what} |"
        for number, s in enumerate(stages, 1)
    )


def functions(path: Path) -> str:
    """The table of calls that the page has, with its marks: it is `evaluate_tools` that makes it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in text:
        return BEGIN + "Not measured yet." + END
    return BEGIN + text.split(BEGIN)[1].split(END)[0] + END


def write(path: Path, made: Made, scores: list[Score], examples: list[tuple[str, str]]) -> None:
    """Writes the page."""
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
        stages=_stages(made.stages),
        functions=functions(path),
        table=table(scores),
        tokens="\n".join(tokens),
        examples="\n".join(["| kind | request | answer |", "| --- | --- | --- |", *rows]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
