"""Whether a text is what a grammar allows, token by token of the embedded model's vocabulary."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import llguidance

from llmatic.engines.constraints.compiler import Compiler
from llmatic.engines.llama.grammar_vocabulary import Markup, grammar_tokenizer
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from llmatic.engines.llama.vocabulary import Vocabulary

TINY = Path(__file__).parents[3] / "models" / "llmatic-tiny.gguf"


@dataclass(frozen=True, slots=True)
class Grammars:
    """Grammars over the embedded model's vocabulary. Its control tokens are ChatML's and those of infilling."""

    vocabulary: Vocabulary
    compiler: Compiler
    mark: Markup

    def allows(self, lark: str, text: str) -> bool:
        """Whether an answer that is held to the grammar may be exactly this text."""
        matcher = self.compiler.compile(lark, param="tools").start()
        ids = self.vocabulary.tokenize(text, parse_special=True)
        return all(matcher.accepts(token) for token in ids) and matcher.is_complete

    def begins(self, lark: str, text: str) -> bool:
        """Whether an answer that is held to the grammar may begin with this text and must go on."""
        matcher = self.compiler.compile(lark, param="tools").start()
        ids = self.vocabulary.tokenize(text, parse_special=True)
        return all(matcher.accepts(token) for token in ids) and not matcher.is_complete


def grammars() -> Iterator[Grammars]:
    """A fixture's body: the embedded model is loaded as long as it is used."""
    model = Model(TINY, Options())
    vocabulary = model.vocabulary
    tokenizer: llguidance.LLTokenizer = grammar_tokenizer(vocabulary)
    yield Grammars(vocabulary, Compiler(tokenizer, vocabulary.n_tokens), Markup(vocabulary))
    model.close()
