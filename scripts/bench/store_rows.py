"""A store as it is after a busy year: files, runs, batches, responses, conversations, keys, usage. Made up.

Owns what is in it, so that the names of rows and how many fit a filter are known without asking. Ids are
random to the eye, as real ones are, and the same each time.
"""

import dataclasses
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from llmatic.store.files import FileRecord, shown
from llmatic.store.runs import USUAL, metadata_label, parent_label, tag_label

OWNER: Final = "bench"
DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000
NOW_US: Final = int(time.time()) // 3600 * HOUR_US
FIRST_US: Final = NOW_US - 90 * DAY_US
N_RARE: Final = 20
MODELS: Final = ("llama-3.1-8b", "qwen2.5-3b", "mistral-7b")
RARE_MODEL: Final = "seldom-asked"
N_INTERACTIONS: Final = 200
LOREM: Final = "the quick brown fox jumps over the lazy dog while seven wizards boxed in the quiet jazz club "

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of each. `usage_keys`: keys that are used every hour of `usage_days`."""

    files: int = 100_000
    runs: int = 1_000_000
    batches: int = 10_000
    responses: int = 100_000
    interactions: int = 10_000
    keys: int = 2_000
    items: int = 10_000
    usage_days: int = 365
    usage_keys: int = 25


def name(prefix: str, number: int) -> str:
    """The id of the row with that number."""
    return prefix + hashlib.blake2b(f"{prefix}{number}".encode(), digest_size=12).hexdigest()


def run_name(number: int) -> str:
    """The id of a run: of five, three are stored completions and two are executions of an interaction."""
    return name("chatcmpl-" if is_chat(number) else "run_", number)


def is_chat(number: int) -> bool:
    """Whether it is a stored completion."""
    return number % 5 < 3


def owner_of(number: int) -> str:
    """One in twenty is somebody else's."""
    return f"owner-{number // 20 % 50}" if number % 20 == 19 else OWNER


def files(sizes: Sizes) -> Iterator[Row]:
    """Rows of `files`; those of others come on top."""
    n = sizes.files + sizes.files // 10
    rare = _rare(n)
    for number in range(n):
        is_batch = number % 5 < 3
        purpose = "vision" if number in rare else "batch" if is_batch else "user_data"
        created = FIRST_US + number * (90 * DAY_US // n)
        owner = OWNER if number % 11 else f"owner-{number // 11 % 50}"
        filename = f"requests of “{number:06d}” – März.jsonl"
        expires = NOW_US + 30 * DAY_US + number if is_batch else None
        size = 1000 + number % 5000
        record = FileRecord(name("file-", number), owner, filename, purpose, size, created, expires)
        yield (*dataclasses.astuple(record), shown(record))


def file_totals(sizes: Sizes) -> Iterator[Row]:
    """Rows of `file_totals`."""
    totals: Counter[str] = Counter()
    for row in files(sizes):
        totals[row[1]] += row[4]
    yield from totals.items()


@dataclass(frozen=True, slots=True)
class MadeRun:
    """Rows of one run."""

    run: Row
    body: Row
    labels: tuple[Row, ...]


def runs(sizes: Sizes) -> Iterator[MadeRun]:
    """All of them, oldest first."""
    rare = _rare(sizes.runs)
    step = 90 * DAY_US // sizes.runs
    for number in range(sizes.runs):
        yield _run(number, FIRST_US + number * step, number in rare)


def _run(number: int, created: int, is_rare: bool) -> MadeRun:
    run_id, owner, chance = run_name(number), owner_of(number), (number * 7919 + 13) % 1000
    model = RARE_MODEL if is_rare else MODELS[0 if chance < 500 else 1 if chance < 900 else 2]
    is_failed = chance % 50 == 7
    status = "created" if is_rare and not is_chat(number) else "failed" if is_failed else "completed"
    interaction, tags, metadata, labels = None, [], {}, []
    if is_chat(number):
        metadata = {"user": f"u{chance * 7 + number % 7}", "env": "dev" if chance % 5 == 1 else "prod"}
        if is_rare:
            metadata["case"] = "seldom"
        labels = [] if is_failed else [_metadata_label(key, value) for key, value in metadata.items()]
    else:
        interaction = interaction_of(number)
        # Those that failed were never in development.
        tags = ["dev" if chance % 10 == 1 else "prod", f"experiment-{(number * 31) % 1000}"]
        tags += ["seldom"] if is_rare else []
        labels = [_tag_label(tag) for tag in tags]
    parent = run_name(number - 5) if number % 100 == 54 else None
    if parent:
        labels.append(parent_label(parent))
    summary = {
        "tags": tags,
        "metadata": metadata,
        "parent": parent,
        "config": {"temperature": 0.7, "max_tokens": 256},
        "usage": {"prompt_tokens": 211, "completion_tokens": 97, "total_tokens": 308},
        "finish_reason": "stop",
        "source": {"type": "api", "label": "API request", "principal_type": "apikey", "principal_id": "key"},
        "execution_ms": 811.3,
        "n_chunks": 97,
    }
    kind = "chat" if is_chat(number) else "run"
    is_stored = int(is_chat(number) and not is_failed)
    row = (
        *(run_id, owner, "key_0", kind, is_stored, model, interaction, status, json.dumps(summary)),
        *(created, created, NOW_US + 30 * DAY_US + number),
    )
    start = chance % 90
    request, reply = _request(model, start), _reply(run_id, model, created, start)
    odd_status = None if status == USUAL else status
    places = tuple((run_id, label, owner, created, model, interaction, odd_status) for label in labels)
    return MadeRun(row, (run_id, request, reply), places)


def interaction_of(number: int) -> str:
    """Half of the executions are of the first interaction."""
    return name("int_", 0 if number % 2 else number // 2 % N_INTERACTIONS)


def batches(sizes: Sizes) -> Iterator[Row]:
    """Rows of `batches`, ended ones."""
    for number in range(sizes.batches):
        at = FIRST_US + number * (90 * DAY_US // sizes.batches)
        done = at + HOUR_US
        yield (
            *(name("batch_", number), OWNER, "{}", "/v1/chat/completions", name("file-", number), "24h"),
            *("completed", MODELS[0], '{"job":"nightly"}', None, None),
            *(name("file-", number + 1), None, at, at + DAY_US, at, done, done, None, None, None, None),
            *(1000, 1000, 0, 211_000, 0, 97_000, 0, 10, 1, None, None),
        )


def responses(sizes: Sizes) -> Iterator[Row]:
    """Rows of `responses`, in chains of ten."""
    body = json.dumps({"object": "response", "created_at": 1, "error": None, "model": MODELS[0], "tools": []})
    for number in range(sizes.responses):
        previous = name("resp_", number - 1) if number % 10 else None
        text = body.replace("{", f'{{"id": "{name("resp_", number)}", ', 1)
        yield (
            *(name("resp_", number), OWNER, "completed", previous, text, 9, FIRST_US + number),
            *(NOW_US + 20 * DAY_US + number, None),
        )


def response_items(sizes: Sizes) -> Iterator[Row]:
    """Rows of `response_items`: a question and an answer each; the first response was asked a lot."""
    for number in range(sizes.responses):
        for place in range(1000 if number == 0 else 2):
            is_output = place == (999 if number == 0 else 1)
            item_id = name(f"msg_{place}_", number)
            yield (name("resp_", number), place, item_id, is_output, _item(item_id, is_output))


def conversations(sizes: Sizes) -> Iterator[Row]:
    """Rows of `conversations`: a thousand short ones, the first one full."""
    for number in range(1000):
        n = sizes.items if number == 0 else 20
        yield (name("conv_", number), OWNER, '{"topic":"x"}', n, n, FIRST_US + number)


def conversation_items(sizes: Sizes) -> Iterator[Row]:
    """Rows of `conversation_items`."""
    for number in range(1000):
        for place in range(sizes.items if number == 0 else 20):
            item_id = name(f"msg_c{place}_", number)
            yield (name("conv_", number), place, item_id, _item(item_id, bool(place % 2)))


def interactions(sizes: Sizes) -> Iterator[Row]:
    """Rows of `interactions`: names of twenty versions each, the last one a draft."""
    prompt = {"role": "user", "content": LOREM * 5 + "{{ text }}"}
    definition = json.dumps({"prompts": [prompt], "description": "Made up.", "tags": ["bench"]})
    for number in range(sizes.interactions):
        version = number % 20 + 1
        status = "draft" if version == 20 else "archived" if number % 997 == 5 else "published"
        at = FIRST_US + number
        yield (
            *(name("int_", number), OWNER, f"Interaction{number // 20}", version, status, None, definition),
            *(1, "key_0", "key_0", at, at),
        )


def keys(sizes: Sizes) -> Iterator[Row]:
    """Rows of `api_keys`: nine of ten were revoked."""
    for number in range(sizes.keys):
        key_id, at = name("key_", number), FIRST_US + number
        revoked = NOW_US if number % 10 else None
        yield (
            *(key_id, OWNER, f"key {number}", name("", number), "sk-llmat****", '["inference"]', None, "{}"),
            *(at, None, revoked, None),
        )


def usage(sizes: Sizes, width_us: int) -> Iterator[Row]:
    """Rows of `usage` or `usage_days`: each key asks two models every hour, one in batches, and embeds."""
    first = NOW_US // DAY_US * DAY_US - sizes.usage_days * DAY_US
    n_hours = width_us // HOUR_US
    counts = tuple(n_hours * count for count in (7, 1500, 300, 700))
    for at in range(first, NOW_US // DAY_US * DAY_US, width_us):
        for key in range(sizes.usage_keys):
            what = (
                ("completions", MODELS[key % 3], False),
                ("completions", MODELS[(key + 1) % 3], True),
                ("embeddings", "minilm", False),
            )
            for operation, model, is_batch in what:
                yield (operation, at, name("key_", key), model, is_batch, OWNER, *counts)


def _rare(n: int) -> frozenset[int]:
    """Numbers of those that are seldom: spread over all, of the owner's own, half of them no chats."""
    step = max(n // N_RARE // 20 * 20, 20)
    return frozenset(step * place + 20 + (3 if place % 2 else 0) for place in range(N_RARE))


def _item(item_id: str, is_output: bool) -> str:
    kind, role = ("output_text", "assistant") if is_output else ("input_text", "user")
    content = {"type": kind, "text": LOREM * 3}
    item = {"id": item_id, "type": "message", "role": role, "status": "completed", "content": [content]}
    return json.dumps(item)


def _request(model: str, start: int) -> str:
    return (
        f'{{"model":"{model}","store":true,"temperature":0.7,"max_tokens":256,"messages":[{{"role":"system",'
        f'"content":"{_text(start, 700)}"}},{{"role":"user","content":"{_text(start + 5, 500)}"}}]}}'
    )


def _reply(run_id: str, model: str, created: int, start: int) -> str:
    return (
        f'{{"id":"{run_id}","object":"chat.completion","created":{created // 1_000_000},"model":"{model}",'
        f'"choices":[{{"index":0,"message":{{"role":"assistant","content":"{_text(start + 9, 600)}"}},'
        '"finish_reason":"stop"}],"usage":{"prompt_tokens":211,"completion_tokens":97,"total_tokens":308}}'
    )


@lru_cache(1000)
def _text(start: int, length: int) -> str:
    return (LOREM * 10)[start : start + length]


_tag_label = lru_cache(20_000)(tag_label)
_metadata_label = lru_cache(20_000)(metadata_label)
