"""Where rows stand in a prompt."""

import numpy as np
import pytest

from llmatic.engines.llama.media.rows import Rows, Span, count, pseudo_ids, run_end, span_at, splice, whole


def rows(n: int, *, kind: str = "image", is_whole: bool = False, digest: bytes = b"") -> Rows:
    return Rows(kind, pseudo_ids(digest, n), np.zeros((n, 2), np.float32), is_whole)  # type: ignore[arg-type]


def test_pseudo_ids_follow_from_the_content_and_are_no_token() -> None:
    assert pseudo_ids(b"one", 40) == pseudo_ids(b"one", 40)
    assert pseudo_ids(b"one", 10) == pseudo_ids(b"one", 40)[:10]
    assert not set(pseudo_ids(b"one", 40)) & set(pseudo_ids(b"two", 40))
    assert all(-(2**30) <= token < 0 for token in pseudo_ids(b"one", 5000))


def test_splicing_puts_every_expansion_where_it_belongs() -> None:
    first, second = rows(3, digest=b"1"), rows(2, digest=b"2", kind="audio")
    ids, spans = splice([(1, 2), 1, (3,), 0, 0], [((7,), first, (8,)), (second,)])
    assert ids == (1, 2, *second.ids, 3, 7, *first.ids, 8, 7, *first.ids, 8)
    assert [(span.start, span.end) for span in spans] == [(2, 4), (6, 9), (11, 14)]
    assert (count(spans, "image"), count(spans, "audio")) == (6, 2)


@pytest.mark.parametrize(
    ("position", "end"), [(0, 2), (1, 2), (2, 5), (4, 5), (5, 6), (6, 8), (8, 11), (9, 11)]
)
def test_a_run_ends_where_the_kind_changes(position: int, end: int) -> None:
    spans = [Span(2, rows(3)), Span(6, rows(2))]
    assert run_end(spans, position, 11) == end


def test_a_span_is_found_by_each_of_its_positions() -> None:
    span = Span(2, rows(3))
    assert [span_at([span], n) is span for n in range(7)] == [False, False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("n_tokens", "left"), [(0, 0), (2, 2), (3, 2), (4, 2), (5, 5), (6, 6), (7, 7), (8, 8)]
)
def test_nothing_goes_on_from_among_rows_that_belong_together(n_tokens: int, left: int) -> None:
    spans = [Span(2, rows(3, is_whole=True)), Span(6, rows(2))]
    assert whole(spans, n_tokens) == left
