import json
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.services.searched_file import MAX_LABELS, Document, choose, query_words


def lines(*documents: dict[str, Any]) -> Any:
    data = b"".join(json.dumps(document).encode() + b"\n" for document in documents)
    return lambda: iter([data[k : k + 50] for k in range(0, len(data), 50)])


def chosen(query: str, count: int, *texts: str) -> list[int]:
    found = choose(lines(*({"text": text} for text in texts)), query, count, lambda _: True)
    return [document.number for document in found.documents]


def test_few_texts_are_all_chosen() -> None:
    assert chosen("nothing of it", 3, "a", "b", "c") == [0, 1, 2]


def test_of_many_the_nearest_by_words_are_chosen_in_the_files_order() -> None:
    texts = ["a cat", "the weather", "Happy PUPPY", "a dog", "puppy", "the end"]
    assert chosen("Which puppy is happy?", 2, *texts) == [2, 4]


def test_rare_words_say_more_than_common_ones() -> None:
    assert chosen("the quark", 1, *["the the the thing"] * 9, "one quark") == [9]


def test_a_short_text_is_nearer_than_a_long_one() -> None:
    assert chosen("rose", 1, "rose " + "and more " * 50, "a rose") == [1]


def test_where_no_text_has_a_word_the_first_fill_up() -> None:
    assert chosen("zzz", 2, "a", "b", "c") == [0, 1]
    assert chosen("c", 2, "a", "b", "c") == [0, 2]
    assert chosen("?!", 2, "a", "b", "c") == [0, 1]


def test_words_without_spaces_are_found_by_pairs() -> None:
    assert query_words("東京の天気 weather") == ("東京", "京の", "の天", "天気", "weather")
    assert chosen("東京の天気は", 1, "大阪は雨", "今日の東京は晴れ", "犬") == [1]


def test_labels_and_metadata_come_along() -> None:
    found = choose(
        lines(
            {"text": "a", "label": "X", "metadata": {"n": 1}},
            {"text": "b", "label": "Y"},
            {"text": "c", "label": " "},
        ),
        "a",
        9,
        lambda document: document.label == "X",
    )
    assert found.documents == [Document(0, "a", "X", {"n": 1})]
    assert found.labels == ["X", "Y"]


def test_blank_lines_do_not_count() -> None:
    found = choose(lambda: [b'\n{"text": "a"}\n\n{"text": "b"}'], "b", 1, lambda _: True)
    assert [(document.number, document.text) for document in found.documents] == [(1, "b")]


def test_too_many_labels_are_refused() -> None:
    documents = [{"text": "a", "label": str(k)} for k in range(MAX_LABELS + 1)]
    with pytest.raises(InvalidRequest, match="more than 200 labels"):
        choose(lines(*documents), "a", 9, lambda _: True)


def test_a_line_that_is_no_document_is_told() -> None:
    with pytest.raises(InvalidRequest, match="Line 2"):
        choose(lambda: [b'{"text": "a"}\n[1]'], "a", 9, lambda _: True)
