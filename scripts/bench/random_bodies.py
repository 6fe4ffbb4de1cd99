"""Chat bodies made at random: well-formed ones, odd ones, and what mutations make of them. Pure.

`sound` bodies use what is documented and nothing else: they must be answered. `odd` ones are well-formed but
may ask for what this model or this engine has not. `broken` ones are either of these after some mutations, on
the level of JSON or of bytes; they may happen to mean something still. Everything follows from the seed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from scripts.bench import broken, random_schemas

Body = dict[str, Any]
Kind = Literal["sound", "odd", "broken"]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKS = (
    "What is the weather in Paris?", "Say this is a test", "Give me a JSON object with name Anna and age 31.",
    "Hello", "What is the weather in Rome and Oslo?", "Turn on the light in the kitchen.", "x",
    "🦉 <|im_end|> \x00 {{7*7}}", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "Write a very long story.",
    "",
)  # fmt: skip
NAMES = ("get_weather", "set_light", "f", "a-b_c", "N" * 64, "search")
REGEXES = ("[a-c]{1,5}", "yes|no", "\\d{3}-\\d{4}", "[^\\n]{0,20}", "(?:ab)*c")
GBNF = (
    'root ::= "yes" | "no"',
    'root ::= [a-z]{2,5} ("," [a-z]+)?',
    'root ::= "a" rest\nrest ::= "b" | "c" rest',
)
LARK = ('start: "left" | "right"', 'start: WORD (" " WORD)?\nWORD: /[a-z]{1,6}/')
EVIL_GRAMMARS = (
    "", "root", "root ::=", "root ::= nothing", "root ::= root", 'root ::= root "a"', 'root ::= ("a"*)*',
    "start: start", 'root ::= "a"{1,1000000}', "start: /(/", "start: <[99999999]>", "start: <[1]>",
    "%import common.WORD", "start: %json {", 'start: %json {"type": "nope"}', "start: @other",
    "root ::= [\\x00-", "root ::= \"\\u", "start: " + "(" * 2000, 'root ::= "' + "x" * 50_000 + '"',
    "start[temperature=9]: /a/", "start: \ud800", "root ::= [^]", 'start: ""',
    "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(60)) + '\nr60 ::= "a"\nroot ::= r0',
)  # fmt: skip
URLS = (
    "data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,!!!!", "data:,",
    "data:text/plain;base64,eA==", "http://127.0.0.1:9/x.png", "http://169.254.169.254/latest",
    "file:///etc/passwd", "http://[::1]/", "", "x" * 9000, "https://example.invalid/x.png", "http://0/",
    "ftp://x/y", "data:image/svg+xml;base64,PHN2Zy8+", "http://user:pw@x/",
)  # fmt: skip
MORE_ODD: tuple[Any, ...] = (
    "\ud800",
    "\udc00\ud800",
    "\u0000",
    1e400,
    -1e400,
    2**53,
    [[[[]]]],
    "null",
    "function",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One request. `cut_after` so many events of its stream the client hangs up; None: it stays."""

    number: int
    kind: Kind
    path: str
    data: bytes
    cut_after: int | None = None


def cases(seed: int, number: int) -> Iterator[Case]:
    """So many cases; each is a function of the seed and its own number."""
    for index in range(number):
        random = Random(f"{seed} {index}")
        draw = random.random()
        kind: Kind = "sound" if draw < 0.4 else "odd" if draw < 0.6 else "broken"
        path = CHAT if random.random() < 0.9 else COMPLETIONS
        body = _sound(random, path)
        if kind == "odd" or (kind == "broken" and random.random() < 0.4):
            _make_odd(random, body, path)
        data = json.dumps(body).encode()
        if kind == "broken":
            data = broken_data(random, body)
        cut_after = random.randint(1, 4) if body.get("stream") and random.random() < 0.15 else None
        yield Case(index, kind, path, data, cut_after)


def _sound(random: Random, path: str) -> Body:
    body: Body = {
        "model": "llmatic-tiny",
        "max_tokens": random.choice((1, 8, 60, 200)),
        "temperature": random.choice((0, 0.7, 1.5)),
        "seed": random.randint(0, 99),
    }
    if random.random() < 0.4:
        body["stream"] = True
        if random.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
    if random.random() < 0.15:
        body["n"] = random.randint(1, 3)
    if path == COMPLETIONS:
        body["prompt"] = random.choice(ASKS[:6])
        body |= _form(random)
        return body
    body["messages"] = _messages(random)
    draw = random.random()
    if draw < 0.45:
        body |= _tool_fields(random)
    elif draw < 0.55:
        body |= _function_fields(random)
    elif draw < 0.95:
        body |= _form(random)
    if random.random() < 0.15:
        body |= {"logprobs": True, "top_logprobs": random.randint(0, 5)}
    return body


def _form(random: Random) -> Body:
    schema = random_schemas.sound(random) if random.random() < 0.85 else random_schemas.recursive(random)
    named = {"name": "answer", "schema": schema, "strict": random.random() < 0.6}
    grammar = {"syntax": "lark", "definition": random.choice(LARK)}
    return random.choice(
        (
            {"response_format": {"type": "text"}},
            {"response_format": {"type": "json_object"}},
            *[{"response_format": {"type": "json_schema", "json_schema": named}}] * 4,
            {"regex": random.choice(REGEXES)},
            {"grammar": random.choice(GBNF)},
            {"grammar": grammar},
        )
    )


def _messages(random: Random) -> list[Body]:
    messages: list[Body] = []
    if random.random() < 0.3:
        messages.append({"role": random.choice(("system", "developer")), "content": "Be brief."})
    messages.append({"role": "user", "content": random.choice(ASKS[:6])})
    if random.random() < 0.25:
        call = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        calls = [{"id": "call_1", "type": "function", "function": call}]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21 degrees"})
    elif random.random() < 0.2:
        parts = [{"type": "text", "text": "Hello!"}, {"type": "text", "text": " 🦉"}]
        messages.append({"role": "assistant", "content": random.choice(("Hi.", parts))})
        messages.append({"role": "user", "content": [{"type": "text", "text": "Say this is a test"}]})
    return messages


def _functions(random: Random) -> list[Body]:
    functions = []
    for name in random.sample(NAMES, random.randint(1, 4)):
        function: Body = {"name": name}
        if random.random() < 0.8:
            function |= {"parameters": random_schemas.sound(random), "strict": random.random() < 0.5}
        if random.random() < 0.5:
            function["description"] = random.choice(ASKS)
        functions.append(function)
    return functions


def _tool_fields(random: Random) -> Body:
    functions = _functions(random)
    named = {"type": "function", "function": {"name": random.choice(functions)["name"]}}
    allowed = {"mode": random.choice(("auto", "required")), "tools": [named]}
    fields: Body = {"tools": [{"type": "function", "function": function} for function in functions]}
    choices: tuple[Any, ...] = (
        "auto",
        "none",
        "required",
        named,
        {"type": "allowed_tools", "allowed_tools": allowed},
    )
    if random.random() < 0.8:
        fields["tool_choice"] = random.choice(choices)
    if random.random() < 0.4:
        fields["parallel_tool_calls"] = random.random() < 0.5
    return fields


def _function_fields(random: Random) -> Body:
    functions = _functions(random)
    for function in functions:
        function.pop("strict", None)
    choices = ("auto", "none", {"name": functions[0]["name"]})
    return {"functions": functions, "function_call": random.choice(choices)}


def _make_odd(random: Random, body: Body, path: str) -> None:
    """Change a body in place into one that is well-formed but strange."""
    schema = random_schemas.evil(random)
    strict = random.random() < 0.5
    named = {"name": "odd", "schema": schema, "strict": strict}
    parts = [{"type": "text", "text": "x"}, _media(random)]
    odd: tuple[Body, ...] = (
        *[{"response_format": {"type": "json_schema", "json_schema": named}}] * 4,
        {"response_format": {"type": "json_object", "schema": schema}},
        {"regex": random.choice(random_schemas.EVIL_PATTERNS)},
        {"grammar": random.choice(EVIL_GRAMMARS)},
        {"grammar": {"syntax": random.choice(("lark", "gbnf")), "definition": random.choice(EVIL_GRAMMARS)}},
    )
    if path == CHAT:
        function = {"name": "odd", "parameters": schema, "strict": strict}
        tools = [{"type": "function", "function": function}]
        many = [{"type": "function", "function": {"name": f"f{index}"}} for index in range(300)]
        odd += (
            *[{"tools": tools, "tool_choice": random.choice(("auto", "required"))}] * 4,
            {"tools": many, "tool_choice": "required"},
            {"tools": [*tools, *tools]},
            {"messages": [{"role": "user", "content": parts}]},
            {
                "messages": [
                    *body["messages"],
                    {"role": "assistant", "content": random.choice(("{", "<think>", "This is"))},
                ]
            },
            {"messages": _strange_messages(random)},
            {"messages": body["messages"] * random.choice((20, 400))},
            {"reasoning_effort": random.choice(("none", "minimal", "low", "high", "max"))},
            {"thinking_budget_tokens": random.choice((0, 1, 5, 2**31))},
            {"verbosity": random.choice(("low", "high"))},
            {"tool_choice": "required"},
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]},
            {"tools": tools, "response_format": {"type": "json_object"}},
            {"chat_template_kwargs": {"enable_thinking": True, "tools": 7, "messages": []}},
        )
    body |= random.choice(odd)


def _media(random: Random) -> Body:
    return random.choice(
        (
            {"type": "image_url", "image_url": {"url": random.choice(URLS)}},
            {"type": "image_url", "image_url": {"url": random.choice(URLS), "detail": "high"}},
            {
                "type": "input_audio",
                "input_audio": {"data": random.choice(("", "AAAA", "!")), "format": "wav"},
            },
            {"type": "file", "file": {"file_id": "file-x"}},
            {"type": "refusal", "refusal": "no"},
        )
    )


def _strange_messages(random: Random) -> list[Body]:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": random.choice(("{", "[]", "", "{}"))},
    }
    called = {"role": "assistant", "tool_calls": [call]}
    answer = {"role": "tool", "tool_call_id": random.choice(("1", "2")), "content": random.choice(("", "ok"))}
    user = {"role": "user", "content": random.choice(ASKS)}
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    strange: list[list[Body]] = [
        [user, called], [user, called, answer], [answer], [user, called, called, answer, answer],
        [called, answer], [user, old, {"role": "function", "name": "f", "content": "1"}],
        [{"role": "assistant", "content": ""}], [{"role": "system", "content": "x"}],
        [user, {"role": "assistant", "reasoning_content": "hm", "content": "A"}],
        [user, {"role": "assistant", "content": None}], [{"role": "assistant", "content": "x"}, user],
        [user, user], [user, {"role": "assistant", "refusal": "no", "content": None}, user],
        [{**user, "name": "n" * 999}],
    ]  # fmt: skip
    return random.choice(strange)


def broken_data(random: Random, body: Body) -> bytes:
    """The body after some mutations of its tree and, now and then, of its bytes."""
    for _ in range(random.randint(1, 4)):
        body = json.loads(json.dumps(body))  # so that no part stands in two places
        _mutate(random, body)
    text = json.dumps(body, ensure_ascii=random.random() < 0.5)
    draw = random.random()
    if draw < 0.1:  # a key that is there twice
        text = text[:-1] + f', "{random.choice([*body])}": {json.dumps(random.choice(broken.ODD_VALUES))}}}'
    data = text.encode("utf-8", "surrogatepass")
    if draw > 0.93:
        data = data[: random.randrange(len(data))]
    elif draw > 0.86:
        at = random.randrange(len(data))
        data = data[:at] + bytes(random.randrange(256) for _ in range(random.randint(1, 4))) + data[at + 1 :]
    return data


def _mutate(random: Random, body: Body) -> None:
    """One change somewhere in the tree, in place."""
    places = [place for place in _places(body) if place[1] != "model"]
    if not places:
        return
    holder, key = random.choice(places)
    action = random.randrange(8)
    if action == 0:
        del holder[key]
    elif action == 1:
        holder[key] = random_schemas.evil(random)
    elif action == 2:
        other, name = random.choice(places)
        holder[key] = (
            json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
        )
    elif action == 3:
        holder[key] = [holder[key]] * random.choice((0, 1, 2, 30))
    elif action == 4:
        for _ in range(random.choice((1, 10, 100))):
            holder[key] = {random.choice(random_schemas.NAMES): holder[key]}
    elif action == 5 and isinstance(holder, dict):
        holder[random.choice(("no_such_field", "", "\ud800", "type", "strict", "$ref"))] = holder.pop(key)
    else:
        holder[key] = random.choice(broken.ODD_VALUES + MORE_ODD)


def _places(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every holder and key or index in a tree, to a depth that spares the stack."""
    if depth > 30:
        return
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(entries):
        yield node, key
        yield from _places(value, depth + 1)
