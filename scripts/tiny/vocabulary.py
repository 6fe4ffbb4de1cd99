"""The byte-level BPE vocabulary: trained on the generator's text, cut the way llama.cpp's `qwen2` type cuts.

Ids 0 to 11 are the special tokens in the order of `SPECIAL`; the 256 bytes and the merges follow.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .data.example import Chat, Example
from .data.mixture import stream
from .rendering import render

CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
)
VISIBLE = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
SPECIAL = CONTROL + VISIBLE
ID = {token: number for number, token in enumerate(SPECIAL)}
END_OF_TEXT, IM_START, IM_END = ID["<|endoftext|>"], ID["<|im_start|>"], ID["<|im_end|>"]
SIZE = 1536
_N_EXAMPLES = 30_000
_QWEN2 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def text_of(example: Example) -> str:
    """The whole text of an example, as it is tokenised."""
    return (
        render(example)
        if isinstance(example, Chat)
        else example.prompt + example.completion + SPECIAL[END_OF_TEXT]
    )


def cut(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, made to cut text into words as llama.cpp does before it merges bytes."""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(seed: int) -> Tokenizer:
    """A new vocabulary from the generator's text of this seed."""
    tokenizer = cut(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[AddedToken(t, special=t in CONTROL, normalized=False) for t in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    examples = stream(Random(f"vocabulary:{seed}"))
    tokenizer.train_from_iterator((text_of(next(examples)) for _ in range(_N_EXAMPLES)), trainer)
    return tokenizer


def load_or_train(path: Path, seed: int) -> Tokenizer:
    """The vocabulary at `path`, made there first if need be."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train(seed).save(str(path))
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, example: Example) -> tuple[list[int], list[bool]]:
    """The ids of an example and, for each, whether the model is to learn to write it."""
    if not isinstance(example, Chat):
        prompt = tokenizer.encode(example.prompt).ids if example.prompt else []
        answer = [*tokenizer.encode(example.completion).ids, END_OF_TEXT]
        return prompt + answer, [False] * len(prompt) + [True] * len(answer)
    ids = tokenizer.encode(render(example)).ids
    head = tokenizer.encode("assistant\n").ids
    learnt, position, answering = [False] * len(ids), 0, False
    while position < len(ids):
        if ids[position] == IM_START and ids[position + 1 : position + 1 + len(head)] == head:
            answering, position = True, position + len(head)
        elif answering:
            learnt[position] = True
            answering = ids[position] != IM_END
        position += 1
    return ids, learnt
