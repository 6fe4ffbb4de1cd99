"""Raw strings up to a closing text, held to a schema's limits."""

import pytest

from llmatic.engines.chat.syntax.parameters import Texts
from llmatic.engines.chat.syntax.texts import Rules, closed_text
from tests.engines.chat.syntax.walking import Bytes

CLOSE = "</p>"
VOCABULARIES = [Bytes(), Bytes([CLOSE]), Bytes(["p>"])]


def lark_of(vocabulary: Bytes, *texts: Texts, newline: bool = False, without: str = "") -> str:
    """The grammar of such a text, a mark behind it."""
    rules = Rules("t")
    start = closed_text(rules, texts, CLOSE, vocabulary.mark, newline=newline, without=without)
    return "\n".join(["%llguidance {}", f'start: {start} "!"', *rules.lines])


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=["text", "control token", "half a control token"])
@pytest.mark.parametrize(
    ("texts", "right", "wrong"),
    [
        (Texts(), ["", "a", "\n<\n", "</p", "é😀"], []),
        (Texts(max_length=3), ["", "abc", "\n\n\n", "é😀<"], ["abcd"]),
        (Texts(max_length=20_000), ["", "a" * 20_000], ["a" * 20_001]),
        (Texts(min_length=1), ["a", "abcdef", "<a", "é"], [""]),
        (Texts(min_length=2, max_length=5), ["ab", "abcde", "a<b"], ["", "a", "abcdef"]),
        (Texts(min_length=2, max_length=3), ["ab", "abc"], ["", "a", "abcd"]),
        (Texts(min_length=1, max_length=1), ["a"], ["", "ab"]),
        (Texts(min_length=1, max_length=300), ["a", "<a", "a" * 300], ["", "a" * 301]),
        (Texts(min_length=80, max_length=100), ["a" * 80, "a" * 100], ["a" * 79, "a" * 101]),
        (Texts(min_length=3, max_length=300), ["abc", "a<bc", "a" * 297], ["", "ab", "a" * 301]),
        (Texts(patterns=("^a{2,}$",), max_length=2000), ["aa", "a" * 2000], ["a", "a" * 2001]),
        (Texts(patterns=("^.+b$",), max_length=300), ["ab", "a b"], ["b", "ab ", "a\nb"]),
        (Texts(patterns=("^[a-z]+$",)), ["a", "abc"], ["", "A", "a1", "a\n"]),
        (Texts(patterns=("b|^x",)), ["b", "abc", "xyz"], ["", "a", "zx"]),
        (Texts(patterns=("^(a|b)+\\$$", "a")), ["ab$", "a$"], ["b$", "a", "$"]),
        (Texts(patterns=("^\\d+$",), max_length=3, min_length=2), ["12", "123"], ["1", "1234", "٣٣"]),
        (Texts(values=("x", "<y>", "")), ["x", "<y>", ""], ["y", "xx"]),
    ],
)
def test_allows_what_fits(vocabulary: Bytes, texts: Texts, right: list[str], wrong: list[str]) -> None:
    for newline in (False, True):
        lark = lark_of(vocabulary, texts, newline=newline)
        end = ("\n" if newline else "") + CLOSE + "!"
        for text in right:
            assert vocabulary.allows(lark, text + end), text
        for text in wrong:
            assert not vocabulary.allows(lark, text + end), text


@pytest.mark.parametrize(
    "texts",
    [
        Texts(),
        Texts(max_length=9),
        Texts(min_length=2),
        Texts(min_length=4, max_length=9),
        Texts(patterns=("a$",)),
    ],
)
def test_the_text_ends_at_the_first_close(texts: Texts) -> None:
    vocabulary = Bytes()
    for text in ("a", "aa", "aaaa", ""):
        assert not vocabulary.allows(lark_of(vocabulary, texts), f"{text}{CLOSE}a{CLOSE}!")


def test_a_value_that_holds_the_close_is_left_out() -> None:
    vocabulary = Bytes()
    lark = lark_of(vocabulary, Texts(values=("a", f"a{CLOSE}")))
    assert vocabulary.allows(lark, f"a{CLOSE}!")
    assert not vocabulary.allows(lark, f"a{CLOSE}{CLOSE}!")


def test_characters_may_be_kept_out() -> None:
    vocabulary = Bytes()
    lark = lark_of(vocabulary, Texts(max_length=4), without="<\n")
    assert vocabulary.allows(lark, f"a&b{CLOSE}!")
    for text in ("<", "a\n", "abcde"):
        assert not vocabulary.allows(lark, f"{text}{CLOSE}!")
    assert closed_text(Rules("t"), [Texts(values=("a<",))], CLOSE, vocabulary.mark, without="<") == ""


def test_any_of_several_kinds() -> None:
    vocabulary = Bytes()
    lark = lark_of(vocabulary, Texts(values=("x",)), Texts(patterns=("^[0-9]+$",)))
    for text, is_right in (("x", True), ("12", True), ("y", False), ("", False)):
        assert vocabulary.allows(lark, f"{text}{CLOSE}!") is is_right
