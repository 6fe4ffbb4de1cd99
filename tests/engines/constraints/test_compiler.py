import threading

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import Constraint
from llmatic.engines.constraints.compiler import Compiler
from llmatic.engines.constraints.grammars import constraint_rules
from tests.engines.constraints.walking import Walker


def lark(word: str) -> str:
    return f'%llguidance {{}}\nstart: "{word}"\n'


def test_a_grammar_is_compiled_once(walker: Walker) -> None:
    compiler = Compiler(walker.tokenizer, walker.n_vocab)
    first = compiler.compile(lark("a"), param="grammar")
    assert compiler.compile(lark("a"), param="grammar") is first
    assert compiler.compile(lark("b"), param="grammar") is not first
    assert compiler.n_kept == 2


def test_matchers_do_not_meet(walker: Walker) -> None:
    compiled = Compiler(walker.tokenizer, walker.n_vocab).compile(lark("ab"), param="grammar")
    one, other = compiled.start(), compiled.start()
    for token in walker.tokenizer.tokenize_str("ab"):
        assert one.accepts(token)
    assert one.is_complete
    assert not other.is_complete


def test_the_least_recently_used_grammars_go_first(walker: Walker) -> None:
    compiler = Compiler(walker.tokenizer, walker.n_vocab, max_entries=2)
    first = compiler.compile(lark("a"), param="grammar")
    second = compiler.compile(lark("b"), param="grammar")
    compiler.compile(lark("a"), param="grammar")
    compiler.compile(lark("c"), param="grammar")
    assert compiler.compile(lark("a"), param="grammar") is first
    assert compiler.compile(lark("b"), param="grammar") is not second


def test_the_cache_is_bounded_by_bytes(walker: Walker) -> None:
    compiler = Compiler(walker.tokenizer, walker.n_vocab, max_bytes=3 * len(lark("a")))
    for word in "abcdefg":
        compiler.compile(lark(word), param="grammar")
    assert compiler.n_kept == 3
    long = lark("long" * 100)
    assert compiler.compile(long, param="grammar") is not compiler.compile(long, param="grammar")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("start: missing", "unknown name"),
        ("start: /[^\\s\\S]/", "no finite text matches it"),
        ('start: a\na: "x" a', "no finite text matches it"),
        ("start: <[99999999]>", "Token range end too large"),
        ('start: "\ud800"', "unpaired surrogate"),
        ("#" * (8 * 1024 * 1024), "bytes; at most"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_sentence(walker: Walker, source: str, words: str) -> None:
    compiler = Compiler(walker.tokenizer, walker.n_vocab)
    with pytest.raises(InvalidRequest) as caught:
        compiler.compile(f"%llguidance {{}}\n{source}\n", param="tools")
    assert words in caught.value.message
    assert caught.value.param == "tools"
    assert "\n" not in caught.value.message
    assert compiler.n_kept == 0


def test_threads_share_one_compiler(walker: Walker) -> None:
    compiler = Compiler(walker.tokenizer, walker.n_vocab, max_entries=8)
    failures: list[BaseException] = []

    def ask(first: int) -> None:
        try:
            for number in range(40):
                word = f"word{(first + number) % 12}"
                matcher = compiler.compile(lark(word), param="grammar").start()
                assert all(matcher.accepts(token) for token in walker.tokenizer.tokenize_str(word))
                assert matcher.is_complete
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert compiler.n_kept == 8


def test_constraints_work_behind_thinking(walker: Walker) -> None:
    rules = constraint_rules(Constraint("json_schema", '{"type":"integer"}'), "content")
    around = 'think[suffix="</think>"]: /(?s:.*)/\nv: think "\\n" content\n'
    compiled = walker.compile_rules(around + rules)
    assert walker.accepts(compiled, 'is it {"a"}?</think>\n42')
    assert not walker.accepts(compiled, "hm</think>\nforty-two")
