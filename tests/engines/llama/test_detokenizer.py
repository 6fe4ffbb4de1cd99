import random

import pytest

from llmatic.core.types import TokenLogprob
from llmatic.engines.llama.detokenizer import TextStream


def feed(stream: TextStream, *pieces: str | bytes) -> list[str]:
    out = []
    for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else piece
        out.append(stream.push(data, piece if isinstance(piece, str) else None))
    return out


def test_whole_tokens_pass_at_once() -> None:
    assert feed(TextStream(), "Hel", "lo") == ["Hel", "lo"]


def test_a_split_character_waits_for_its_last_byte() -> None:
    euro = "€".encode()
    assert feed(TextStream(), euro[:1], euro[1:2], euro[2:], "!") == ["", "", "€", "!"]


def test_text_after_half_a_character_keeps_its_place() -> None:
    assert feed(TextStream(), b"\xe2\x82", "a") == ["", "\ufffda"]


def test_an_unfinished_character_ends_as_a_replacement() -> None:
    stream = TextStream()
    assert feed(stream, b"a\xf0\x9f") == ["a"]
    assert stream.finish() == "\ufffd"


def test_a_stop_string_across_tokens_never_leaks() -> None:
    stream = TextStream(["STOP"])
    assert feed(stream, "a S", "T", "OP", "b") == ["a ", "", "", ""]
    assert stream.is_stopped
    assert stream.finish() == ""


def test_a_false_alarm_is_released() -> None:
    stream = TextStream(["STOP"])
    assert feed(stream, "ST", "ST", "x") == ["", "ST", "STx"]


def test_what_is_held_comes_out_at_the_end() -> None:
    stream = TextStream(["\n\n"])
    assert feed(stream, "a\n") == ["a"]
    assert stream.finish() == "\n"


def test_the_stop_string_that_begins_first_wins() -> None:
    stream = TextStream(["cd", "bcdX", "b"])
    assert "".join(feed(stream, "a", "bcd")) == "a"


@pytest.mark.parametrize("pieces", [["xabc"], ["xa", "bc"], ["x", "a", "b", "c"]])
def test_which_stop_string_it_was(pieces: list[str]) -> None:
    # Of two that begin at one place the shorter one, however the tokens fall.
    stream = TextStream(["c", "abc", "ab"])
    assert stream.stopped_by == ""
    assert "".join(feed(stream, *pieces)) == "x"
    assert stream.stopped_by == "ab"


def test_a_stop_string_inside_one_token() -> None:
    stream = TextStream(["."])
    assert feed(stream, "end. More") == ["end"]


def test_a_stop_string_completed_by_the_replacement_character() -> None:
    stream = TextStream(["\ufffd"])
    assert feed(stream, "a", b"\xf0") == ["a", ""]
    assert stream.finish() == ""
    assert stream.is_stopped


def test_empty_stop_strings_are_ignored() -> None:
    assert feed(TextStream([""]), "abc") == ["abc"]


@pytest.mark.parametrize("seed", range(200))
def test_random_pieces_equal_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("aab€😀\n") for _ in range(30))
    data = text.encode()
    cuts = sorted(rng.sample(range(len(data)), 12))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    stops = ["".join(rng.choice("aab€") for _ in range(rng.randint(2, 4))) for _ in range(rng.randint(0, 3))]
    stream = TextStream(stops)
    out = ""
    for piece in pieces:
        out += stream.push(piece)
        assert not any(stop in out for stop in stops)
    out += stream.finish()
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    assert out == text[: min(ends, default=len(text))]


def entry(n: int) -> TokenLogprob:
    return TokenLogprob(n, b"", -1.0)


def test_log_probabilities_travel_with_their_text() -> None:
    stream = TextStream(["END"])
    taken = []
    for n, piece in enumerate(["a", "E", "x", "EN", "D"]):
        stream.push(piece.encode(), piece, entry(n))
        taken.append([e.token_id for e in stream.take_logprobs(is_end=stream.is_stopped)])
    assert taken == [[0], [], [1, 2], [], []]


def test_a_token_that_begins_before_the_stop_string_is_reported() -> None:
    stream = TextStream(["."])
    stream.push(b"a.", "a.", entry(0))
    assert [e.token_id for e in stream.take_logprobs(is_end=True)] == [0]


def test_every_token_of_an_unstopped_text_is_reported() -> None:
    stream = TextStream(["END"])
    for n, piece in enumerate([b"a", b"", b"\xe2", b"E"]):
        stream.push(piece, None, entry(n))
    stream.finish()
    assert [e.token_id for e in stream.take_logprobs(is_end=True)] == [0, 1, 2, 3]
