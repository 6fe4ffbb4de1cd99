"""Harmony: channels, recipients in both places, and what the grammar allows."""

import pytest

from llmatic.engines.chat.syntax.harmony import Begin, HarmonyParser, harmony_grammar
from tests.engines.chat.reading import Answer, read_in_every_way
from tests.engines.chat.syntax.sections import call, function
from tests.engines.chat.syntax.walking import Bytes

F = function("f", {"n": {"type": "integer"}})
ONE = (call("f", '{"n": 1}'),)
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"n": 1}'
MARKS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")


def parser() -> HarmonyParser:
    """Of an answer from its beginning."""
    return HarmonyParser((F,))


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<|channel|>final<|message|>Hello\n<b>", Answer("Hello\n<b>")),
        ("<|channel|>final<|message|>Hello<|return|>", Answer("Hello")),
        (THOUGHT + "<|channel|>final<|message|>Hello", Answer("Hello", "Hm.")),
        (THOUGHT + '<|channel|>final <|constrain|>json<|message|>{"a": 1}', Answer('{"a": 1}', "Hm.")),
        (THOUGHT + "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant" + CALL + "<|call|>",
         Answer("Let me see.", "Hm.", ONE)),
        (CALL, Answer(calls=ONE)),
        (' to=functions.f<|channel|>commentary json<|message|>{"n": 1}<|call|>', Answer(calls=ONE)),
        (' to=functions.f<|channel|>analysis<|message|>{"n": 1}', Answer(calls=ONE)),
        ('<|channel|>analysis to=functions.f code<|message|> {"n": 1}<|end|>', Answer(calls=ONE)),
        ('<|channel|>commentary to=f<|message|>{"n": 1}<|call|>', Answer(calls=ONE)),
        ('<|channel|>commentary to=functions.g<|message|><|call|>', Answer(calls=(call("g", "{}"),))),
        (CALL + "<|call|><|start|>assistant" + CALL + "<|call|>", Answer(calls=ONE * 2)),
        (CALL[:-1], Answer(calls=(call("f", '{"n": 1', is_whole=False),))),
        ("<|channel|>commentary to=assistant" + THOUGHT + "<|channel|>final<|message|>Hello", Answer("Hello", "Hm.")),
        (THOUGHT + " to=python<|channel|>commentary<|message|>print(1)<|call|>", Answer("print(1)", "Hm.")),
        ('<|channel|>commentary to=functions.f<|message|>{"a": "<|end|> \\" <|channel|>"}<|call|>',
         Answer(calls=(call("f", '{"a": "<|end|> \\" <|channel|>"}'),))),
        ("<|channel|>analysis<|message|>The <|channel|> marker, <|start|> too.<|end|>",
         Answer("", "The <|channel|> marker, <|start|> too.")),
        ("<|channel|>analysis<|message|>Hm<|channel|>final<|message|>Hello", Answer("Hello", "Hm")),
        ("<|channel|>analysis<|message|>a <|e b<|en", Answer("", "a <|e b<|en")),
    ],
)  # fmt: skip
def test_reads_messages(raw: str, answer: Answer) -> None:
    assert read_in_every_way(parser, raw) == answer


@pytest.mark.parametrize(
    "raw", ["Hello there.", "assist", " to", "to=do or not", "a < b", "<b>", "<|other|>x", "x" * 900]
)
def test_text_without_a_header_is_content(raw: str) -> None:
    assert read_in_every_way(parser, raw) == Answer(raw)


@pytest.mark.parametrize(
    "raw", ["<|start|>user<|message|>Hi", "<|channel|>final<|message|>Hello<|end|> and more"]
)
def test_what_follows_a_message_is_not_lost(raw: str) -> None:
    answer = read_in_every_way(parser, raw)
    assert answer.content.endswith(("Hi", "Hello and more"))


@pytest.mark.parametrize("raw", ["", "<|channel|>fin", "<|channel|>commentary to=functions.f", " \n"])
def test_the_beginning_of_a_header_is_nothing(raw: str) -> None:
    assert read_in_every_way(parser, raw) == Answer()


@pytest.mark.parametrize(
    ("begins", "answer"), [("thinking", Answer("Hello", "so.")), ("content", Answer("so.Hello"))]
)
def test_goes_on_where_the_prompt_stopped(begins: Begin, answer: Answer) -> None:
    raw = "so.<|end|><|start|>assistant<|channel|>final<|message|>Hello"
    assert read_in_every_way(lambda: HarmonyParser((F,), begins), raw) == answer


def test_tells_where_it_is() -> None:
    at = parser()
    where = []
    for piece in (THOUGHT[:30], THOUGHT[30:], CALL[:40], CALL[40:60], "<|call|>", "<|start|>assistant"):
        at.feed(piece)
        where.append((at.is_thinking, at.is_calling))
    assert where == [
        (True, False),
        (False, False),
        (False, True),
        (False, True),
        (False, False),
        (False, False),
    ]


BYTES = [Bytes(), Bytes(MARKS)]
IN_ROLE = CALL.replace("<|channel|>commentary to=functions.f", " to=functions.f<|channel|>commentary")


@pytest.mark.parametrize("vocabulary", BYTES, ids=["text", "control tokens"])
def test_required_calls(vocabulary: Bytes) -> None:
    lark = harmony_grammar([F], vocabulary.mark, mode="required")
    for right in (CALL, IN_ROLE, THOUGHT + THOUGHT + CALL, CALL.replace(" <|constrain|>", " ")):
        assert vocabulary.allows(lark, right), right
    for wrong in ("<|channel|>final<|message|>Hello", "Hello", THOUGHT, CALL.replace("1", '"1"'), CALL[:-1]):
        assert not vocabulary.allows(lark, wrong), wrong


@pytest.mark.parametrize("vocabulary", BYTES, ids=["text", "control tokens"])
def test_calls_at_will(vocabulary: Bytes) -> None:
    lark = harmony_grammar([F], vocabulary.mark, mode="auto")
    preamble = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
    for right in (
        "<|channel|>final<|message|>Hello",
        THOUGHT + preamble + CALL,
        THOUGHT + "<|channel|>final<|message|>",
    ):
        assert vocabulary.allows(lark, right), right
    for wrong in ("Hello", CALL.replace(".f ", ".g "), CALL.replace('"n"', '"m"')):
        assert not vocabulary.allows(lark, wrong), wrong


@pytest.mark.parametrize("vocabulary", BYTES, ids=["text", "control tokens"])
def test_the_final_message_is_held_to_a_rule(vocabulary: Bytes) -> None:
    lark = (
        harmony_grammar([], vocabulary.mark, mode="auto", content_rule="content")
        + '\ncontent: "yes" | "no"\n'
    )
    for right in (
        THOUGHT + "<|channel|>final<|message|>yes",
        "<|channel|>final <|constrain|>json<|message|>no",
    ):
        assert vocabulary.allows(lark, right), right
    for wrong in ("yes", "<|channel|>final<|message|>maybe", "<|channel|>commentary<|message|>yes", CALL):
        assert not vocabulary.allows(lark, wrong), wrong


@pytest.mark.parametrize("vocabulary", BYTES, ids=["text", "control tokens"])
def test_the_grammar_goes_on_where_the_prompt_stopped(vocabulary: Bytes) -> None:
    rest = "so.<|end|><|start|>assistant"
    thinking = harmony_grammar([F], vocabulary.mark, mode="required", begins="thinking")
    assert vocabulary.allows(thinking, rest + CALL)
    assert not vocabulary.allows(thinking, CALL)
    content = harmony_grammar([], vocabulary.mark, mode="auto", begins="content", content_rule="content")
    assert vocabulary.allows(content + '\ncontent: "yes"\n', "yes")
