from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatic.core.errors import InvalidRequest
from llmatic.services.jsonl import MAX_LINE_BYTES, check_lines, lines_of

GOOD = b'{"text": "a", "metadata": [1]}'


@given(
    st.lists(st.sampled_from([b"{}", b"", b"  ", b'{"text": "\xd1\x8f"}'])), st.integers(1, 9), st.booleans()
)
def test_lines_are_found_however_the_bytes_are_cut(lines: list[bytes], step: int, crlf: bool) -> None:
    data = (b"\r\n" if crlf else b"\n").join(lines)
    found = list(lines_of(data[k : k + step] for k in range(0, len(data), step)))
    assert found == [(k + 1, line) for k, line in enumerate(lines) if line.strip()]


@pytest.mark.parametrize(
    ("purpose", "data"),
    [
        ("search", GOOD + b"\n\n" + GOOD + b"\n"),
        ("search", b"\xef\xbb\xbf" + GOOD),
        ("fine-tune", b'{"messages": []}'),
        ("search", '{"text": "тест", "metadata": "m"}'.encode()),
        ("classifications", b'{"text": "t", "label": "L"}'),
    ],
)
def test_good_files(purpose: str, data: bytes) -> None:
    assert check_lines(purpose, [data]) == data.count(b"{")


@pytest.mark.parametrize(
    ("purpose", "data", "words"),
    [
        ("search", b"", "The file is empty"),
        ("search", b" \n\n", "The file is empty"),
        ("search", GOOD + b"\n\nnope\n", 'Line 3 is not valid JSON .HINT: line starts with: "nope"'),
        ("fine-tune", b"{}\n[1]", "Line 2 is not a JSON object"),
        ("search", b'{"text": 7}', "Line 1 has no field 'text' that is a string"),
        ("classifications", b'{"text": "t"}', "Line 1 has no field 'label'"),
        ("search", b"\xff\xfe{", "Line 1 is not valid JSON"),
        ("search", b'{"label": "text"}', "Line 1 has no field 'text' that is a string"),
        ("classifications", b'{"text": 1, "label": "a"}', "Line 1 has no field 'text' that is a string"),
        ("classifications", b'{"text": "a", "label": []}', "Line 1 has no field 'label' that is a string"),
        ("fine-tune", b"5", "Line 1 is not a JSON object"),
        ("fine-tune", b'{"a": 1}{"a": 2}', "Line 1 is not valid JSON"),
        ("fine-tune", b'{"a": NaN}', "Line 1 is not valid JSON"),
        ("fine-tune", b'{"a": "\xff"}', "Line 1 is not valid JSON"),
        ("fine-tune", b'{"a": "\\ud800"}', "Line 1 is not valid JSON"),
        ("fine-tune", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Line 1 is not valid JSON"),
    ],
)
def test_bad_files_are_told_by_line(purpose: str, data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_lines(purpose, [data])
    assert caught.value.param == "file"


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    seen = []

    def endless() -> Iterator[bytes]:
        while True:
            seen.append(1)
            yield b"x" * (1024 * 1024)

    with pytest.raises(InvalidRequest, match="Line 1 of the file is longer"):
        check_lines("search", endless())
    assert len(seen) == MAX_LINE_BYTES // (1024 * 1024) + 1
