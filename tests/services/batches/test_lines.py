import random

import pytest

from llmatic.services.batches import line_numbers, lines
from llmatic.services.batches.lines import LineCheck, slices
from llmatic.services.batches.results import Tokens, tokens_of


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([7], "7"), ([3, 1, 2], "1-3"), ([1, 2, 4, 6, 7], "1-2,4,6-7")]
)
def test_line_numbers_are_written_as_spans(numbers: list[int], text: str) -> None:
    assert line_numbers.written(numbers) == text
    assert line_numbers.read(text) == set(numbers)


def test_any_set_of_line_numbers_is_read_as_written() -> None:
    rng = random.Random(3)
    for _ in range(200):
        numbers = set(rng.sample(range(1, 60), rng.randrange(50)))
        assert line_numbers.read(line_numbers.written(numbers)) == numbers


def test_slices_hold_few_lines_if_they_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SLICE_LINES", 3)
    monkeypatch.setattr(lines, "SLICE_BYTES", 10)
    found = list(
        slices(iter([(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d" * 10), (5, b"e" * 9), (6, b"f"), (7, b"g")]))
    )
    assert [[number for number, _ in part] for part in found] == [[1, 2, 3], [4], [5, 6], [7]]


def test_escapes_in_custom_ids_are_what_they_stand_for() -> None:
    check = LineCheck("/v1/x", lambda body: "m", max_lines=9)
    start, end = b'{"method":"POST","url":"/v1/x","body":{},"custom_id":"', b'"}'
    check.add([(1, start + b"\\u00e9" + end), (2, start + "é".encode() + end), (3, start + b"\\ud800" + end)])
    assert [(error.code, error.line) for error in check.errors] == [
        ("duplicate_custom_id", 2),
        ("invalid_json_line", 3),
    ]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b"{}", Tokens()),
        (b'{"usage":null}', Tokens()),
        (b'{"usage":{"prompt_tokens":5,"total_tokens":5}}', Tokens(5)),
        (
            b'{"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":3,'
            b'"output_tokens_details":{"reasoning_tokens":1}}}',
            Tokens(5, 2, 3, 1),
        ),
        (
            b'{"usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":null}}',
            Tokens(5, 0, 3),
        ),
    ],
)
def test_usage_by_whichever_names(body: bytes, tokens: Tokens) -> None:
    assert tokens_of(body) == tokens
