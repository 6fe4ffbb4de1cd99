"""How often the model calls the right functions with the right arguments when it is free to call or not.

    python -m scripts.tiny.evaluate_tools --model FILE.gguf                      # llama.cpp, no server
    python -m scripts.tiny.evaluate_tools --base-url http://127.0.0.1:8000/v1    # OpenAI's SDK

Greedy decoding, examples from a seed that no training uses. An answer is right when it makes exactly the
calls that are wanted, with exactly the arguments that are wanted, or none where none is; their order does
not count.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from . import greedy
from .data.assistance import INVENTED, KNOWN, no_call, one_call, several_calls, several_turns
from .data.example import Chat, Example, Json, Message
from .data.published import published
from .data.tools import tool_call, tool_two_calls, tool_unused
from .rendering import render

_SEED = "held out: functions"
_N_PREDICT = 300
_VARIED = (one_call, several_calls, no_call, several_turns)
_CALL = re.compile(r"<tool_call>\n?(.*?)\n?</tool_call>", re.DOTALL)
BEGIN, END = "<!-- functions -->\n", "\n<!-- /functions -->"

Call = tuple[str, str]
Reply = Callable[[Chat], list[Call]]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a kind's answers made the right calls."""

    kind: str
    right: int
    total: int


def call(name: str, arguments: object) -> Call:
    """A call that can be compared: the arguments as JSON whose keys are sorted."""
    return name, json.dumps(arguments, sort_keys=True, ensure_ascii=False)


def read(name: str, arguments: str) -> Call:
    """A call as it comes over the wire; arguments that end too early stay the text that they are."""
    try:
        return call(name, json.loads(arguments))
    except ValueError:
        return name, arguments


def to_last_question(chat: Chat) -> Chat:
    """The conversation up to the answer that follows its last question."""
    last = max(at for at, message in enumerate(chat.messages) if message["role"] == "user")
    return Chat(chat.task, chat.messages[: last + 2], chat.tools)


def accepted(chat: Chat) -> Chat:
    """The conversation without `strict` where a definition lacks what goes with it.

    Training has such definitions, since clients have them; a server may refuse them.
    """
    tools: list[dict[str, Json]] = []
    for tool in chat.tools:
        function = tool["function"]
        assert isinstance(function, dict)
        parameters = function.get("parameters")
        assert isinstance(parameters, dict | None)
        closed = parameters is not None and parameters.get("additionalProperties") is False
        kept = closed and parameters is not None and "required" in parameters
        plain: dict[str, Json] = {k: v for k, v in function.items() if kept or k != "strict"}
        tools.append({**tool, "function": plain})
    return Chat(chat.task, chat.messages, tuple(tools))


def wanted(chat: Chat) -> list[Call]:
    """The calls of the last message."""
    calls = chat.messages[-1].get("tool_calls", [])
    return sorted(call(c["function"]["name"], c["function"]["arguments"]) for c in calls)


def examples(per_kind: int) -> dict[str, list[Chat]]:
    """The evaluation set in three parts, from seeds that no training uses; `per_kind` drawn of each kind.

    `ordinary` has what the SDKs publish and the functions that all stages of the training know. `varied` has
    more functions in more forms, questions that take two of them, and whole conversations. `invented` has
    functions whose names and parameters are drawn at random.
    """
    parts: dict[str, tuple[Callable[[Random], Example], ...]] = {
        "ordinary": (tool_call, tool_two_calls, tool_unused),
        "varied": tuple(partial(make, kinds=KNOWN) for make in _VARIED),
        "invented": (partial(one_call, kinds=INVENTED),),
    }
    drawn: dict[str, list[Chat]] = {}
    for part, makers in parts.items():
        rng = Random(f"{_SEED}: {part}")
        chats = [make(rng) for make in makers for _ in range(per_kind)]
        drawn[part] = [accepted(to_last_question(chat)) for chat in chats if isinstance(chat, Chat)]
    drawn["ordinary"] = published() + drawn["ordinary"]
    return drawn


def calls_in(text: str) -> list[Call]:
    """The calls of an answer as the model writes it; one that is not JSON counts as a call of nothing."""
    found: list[Call] = []
    for body in _CALL.findall(text):
        try:
            value = json.loads(body)
            found.append(call(value["name"], value["arguments"]))
        except (ValueError, KeyError, TypeError):
            found.append(("", body))
    if "<tool_call>" in _CALL.sub("", text):
        found.append(("", text))
    return sorted(found)


def wire(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages in OpenAI's shape: calls have ids, and what they return names them."""
    listed: list[dict[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            listed.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": message["content"]})
            continue
        shown: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        calls = message.get("tool_calls", [])
        waiting = [f"call_{len(listed)}_{at}" for at in range(len(calls))]
        if calls:
            shown["tool_calls"] = [
                {
                    "id": known,
                    "type": "function",
                    "function": {
                        "name": made["function"]["name"],
                        "arguments": json.dumps(made["function"]["arguments"], ensure_ascii=False),
                    },
                }
                for known, made in zip(waiting, calls, strict=True)
            ]
        listed.append(shown)
    return listed


def with_llama(path: Path) -> Reply:
    """Replies from llama.cpp alone: no server, no grammar."""
    generate = greedy.with_llama(path, _N_PREDICT)
    return lambda chat: calls_in(generate(render(chat, len(chat.messages) - 1, add_generation_prompt=True)))


def with_server(base_url: str, model: str) -> Reply:
    """Replies through OpenAI's SDK with `tool_choice` auto."""
    import openai

    client: Any = openai.OpenAI(base_url=base_url, api_key="x", max_retries=0)

    def reply(chat: Chat) -> list[Call]:
        answer = client.chat.completions.create(
            model=model,
            messages=wire(chat.messages[:-1]),
            tools=[*chat.tools],
            tool_choice="auto",
            temperature=0,
            max_tokens=_N_PREDICT,
        )
        calls = answer.choices[0].message.tool_calls or []
        return sorted(read(c.function.name, c.function.arguments) for c in calls)

    return reply


def evaluate(reply: Reply, chats: list[Chat], show: bool = False) -> list[Tally]:
    """The tallies of every kind in the order of the examples."""
    rows: dict[str, list[bool]] = {}
    for chat in chats:
        expected, made = wanted(chat), reply(chat)
        rows.setdefault(chat.task, []).append(expected == made)
        if show and expected != made:
            print(f"{chat.task}: {chat.messages[-2]['content']}\n  wanted {expected}\n  made   {made}")
    return [Tally(kind, sum(right), len(right)) for kind, right in rows.items()]


def whole(reply: Reply, per_kind: int, show: bool = False) -> list[Tally]:
    """The tallies of every kind, each part's with its sum behind them."""
    listed: list[Tally] = []
    for part, chats in examples(per_kind).items():
        tallies = evaluate(reply, chats, show)
        listed += tallies if len(tallies) > 1 else []
        listed.append(Tally(f"**{part}**", sum(t.right for t in tallies), sum(t.total for t in tallies)))
    return listed


def table(columns: dict[str, list[Tally]]) -> str:
    """The tallies as a Markdown table with one column for each way of asking."""
    lines = ["| kind | n | " + " | ".join(columns) + " |", "| --- | ---: |" + " ---: |" * len(columns)]
    for row in zip(*columns.values(), strict=True):
        cells = [f"{tally.right} ({100 * tally.right / tally.total:.0f} %)" for tally in row]
        lines.append(f"| {row[0].kind} | {row[0].total} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put(page: Path, text: str) -> None:
    """Replaces what stands between the marks of the page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(before + BEGIN + text + END + after, encoding="utf-8")


def main() -> None:
    """Evaluates in one way or in both, prints the table, and puts it into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a GGUF to run with llama.cpp alone")
    parser.add_argument("--base-url", help="of a server that serves the model")
    parser.add_argument("--served-model", default="llmatic-tiny")
    parser.add_argument(
        "--examples", type=int, default=100, help="drawn examples of each kind (default: 100)"
    )
    parser.add_argument("--page", type=Path, help="the page whose table is to be replaced")
    parser.add_argument("--show", action="store_true", help="print the answers that are wrong")
    args = parser.parse_args()
    columns: dict[str, list[Tally]] = {}
    if args.model:
        columns["llama.cpp alone"] = whole(with_llama(args.model), args.examples, args.show)
    if args.base_url:
        columns["through llmatic"] = whole(
            with_server(args.base_url, args.served_model), args.examples, args.show
        )
    if not columns:
        parser.error("give --model, --base-url or both")
    print(table(columns))
    if args.page:
        put(args.page, table(columns))


if __name__ == "__main__":
    main()
