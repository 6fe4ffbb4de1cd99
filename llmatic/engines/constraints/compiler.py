"""Lark grammars compiled for one vocabulary, and kept.

Owns the cache, which is bounded by entries and by bytes of source. Any thread may compile: the work is done
without the interpreter's lock, and one grammar that several ask for at once is compiled once.
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import llguidance

from llmatic.core.errors import InvalidRequest
from llmatic.engines.constraints.budget import MAX_GRAMMAR_BYTES, parser_limits
from llmatic.engines.constraints.grammars import told
from llmatic.engines.constraints.matcher import Matcher
from llmatic.engines.constraints.room import Panicked, with_room
from llmatic.engines.constraints.trial import trial_error

_MAX_ENTRIES = 256
_MAX_CACHED_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Compiled:
    """A grammar at its beginning. May be started any number of times, from any thread."""

    _state: llguidance.LLMatcher
    _n_vocab: int

    def start(self) -> Matcher:
        """A matcher for one answer, its own."""
        return Matcher(self._state.deep_copy(), self._n_vocab)


class Compiler:
    """Compiles grammars for one vocabulary. Safe for threads."""

    def __init__(
        self,
        tokenizer: llguidance.LLTokenizer,
        n_vocab: int,
        *,
        max_entries: int = _MAX_ENTRIES,
        max_bytes: int = _MAX_CACHED_BYTES,
    ) -> None:
        self._tokenizer = tokenizer
        self._n_vocab = n_vocab
        self._limits = parser_limits()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._kept: OrderedDict[str, Compiled] = OrderedDict()
        self._n_bytes = 0
        self._under_way: dict[str, Lock] = {}

    @property
    def n_kept(self) -> int:
        """How many grammars are in the cache."""
        return len(self._kept)

    def compile(self, lark: str, *, param: str) -> Compiled:
        """The grammar, compiled now or before. Raises InvalidRequest, which names `param`."""
        n_bytes = len(lark.encode("utf-8", "surrogatepass"))
        if n_bytes > MAX_GRAMMAR_BYTES:
            words = (
                f"The grammar of the answer has {n_bytes} bytes; at most {MAX_GRAMMAR_BYTES} are compiled."
            )
            raise InvalidRequest(words, param=param)
        with self._lock:
            known = self._found(lark)
            if known is not None:
                return known
            turn = self._under_way.setdefault(lark, Lock())
        with turn:
            try:
                with self._lock:
                    known = self._found(lark)
                if known is None:
                    known = self._compiled(lark, param)
                    with self._lock:
                        self._keep(lark, known, n_bytes)
                return known
            finally:
                with self._lock:
                    self._under_way.pop(lark, None)

    def _found(self, lark: str) -> Compiled | None:
        known = self._kept.get(lark)
        if known is not None:
            self._kept.move_to_end(lark)
        return known

    def _compiled(self, lark: str, param: str) -> Compiled:
        try:
            grammar = llguidance.LLMatcher.grammar_from_lark(lark)
        except UnicodeEncodeError:
            raise InvalidRequest("The grammar has an unpaired surrogate.", param=param) from None
        try:
            state = with_room(
                lambda: llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
            )
        except Panicked as panic:
            what = f"The grammar cannot be enforced: {told(str(panic))}."
            raise InvalidRequest(what, param=param) from panic
        if state.is_error():
            raise InvalidRequest(f"The grammar cannot be enforced: {told(state.get_error())}.", param=param)
        compiled = Compiled(state, self._n_vocab)
        words = trial_error(compiled.start())
        if words is not None:
            raise InvalidRequest(f"The grammar cannot be enforced: {words}.", param=param)
        return compiled

    def _keep(self, lark: str, compiled: Compiled, n_bytes: int) -> None:
        if lark in self._kept or n_bytes > self._max_bytes:
            return
        self._kept[lark] = compiled
        self._n_bytes += n_bytes
        while len(self._kept) > self._max_entries or self._n_bytes > self._max_bytes:
            oldest, _ = self._kept.popitem(last=False)
            self._n_bytes -= len(oldest.encode("utf-8", "surrogatepass"))
