"""Reads calls whose arguments stand in tags, each on its own.

Owns what was read of one section. Other whitespace than the table's is tolerated, and so is a call without
its closing tag. Pure; a reader belongs to one answer.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmatic.engines.chat.syntax import Function
from llmatic.engines.chat.syntax.parameters import Parameter, other_parameter, parameters
from llmatic.engines.chat.syntax.raw import LONGEST_WORD, RawReader, Word, escaped
from llmatic.engines.chat.syntax.steps import Found, Steps
from llmatic.engines.chat.syntax.unquoted import Guess, as_json

if TYPE_CHECKING:
    from llmatic.engines.chat.syntax.xml_calls import XmlCalls

_ATTRIBUTE = re.compile(r'\b(?:string|type)="([^"]*)"')


class _Known:
    """The parameters of a function, of which nothing is known if it is None."""

    def __init__(self, function: Function | None) -> None:
        self._named = {p.name: p for p in parameters(function)} if function else {}
        self._other = other_parameter(function) if function else None

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name; None: nothing is known of it."""
        return self._named.get(name, self._other)


class XmlReader(RawReader):
    """A CallReader for the sections of `syntax`."""

    def __init__(self, syntax: "XmlCalls", opened_by: str, functions: Sequence[Function]) -> None:
        self._syntax = syntax
        self._tag_call = syntax.call.strip()
        self._tag_key = syntax.argument.strip()
        self._tag_called = syntax.called.strip()
        self._tag_close = syntax.close.strip()
        self._is_in_call = opened_by.endswith(self._tag_call) and bool(self._tag_call)
        self._known = {function.name: function for function in functions}
        super().__init__()

    def steps(self) -> Steps:
        """See StepReader."""
        while True:
            yield from self.skip_space()
            if self._is_in_call:
                self._is_in_call = False
            elif self._tag_call and not (yield from self.literal(self._tag_call)):
                break
            if not (yield from self._call()):
                return self.give_back()
            if not self._tag_close:
                return None
            yield from self.skip_space()
            if not self._tag_call:
                break
        if (yield from self.literal(self._tag_close)):
            self.settle()
        else:
            self.give_back()

    def _call(self) -> Found:
        """Read a call behind the tag that opens it; false: it is none."""
        name = yield from self._name()
        if not name:
            return False
        n_arguments = -1
        known = _Known(self._known.get(name))
        while True:
            yield from self.skip_space()
            is_argument = yield from self.literal(self._tag_key)
            if not is_argument and n_arguments < 0 and not (yield from self._ends()):
                return False
            if n_arguments < 0:
                self.begin(name)
                self.argue("{")
                n_arguments = 0
            if not is_argument or not (yield from self._argument(known, ", " if n_arguments else "")):
                break
            n_arguments += 1
        if self._tag_called:
            yield from self.literal(self._tag_called)
        self.argue("}")
        self.end()
        return True

    def _ends(self) -> Found:
        """Whether the call ends here; nothing is consumed."""
        for tag in (self._tag_called, self._tag_call, self._tag_close):
            if tag and (yield from self.literal(tag)):
                self.put_back(tag)
                return True
        return False

    def _name(self) -> Word:
        named = self._syntax.named.replace("$index", "").strip()
        if named.startswith('"'):
            name = yield from self.word('"')
            rest = yield from self.word(named[named.rindex('"') + 1 :])
            return None if rest is None else name
        if named:
            return (yield from self.word(named))
        name = ""
        while (yield from self.peek()) not in " \t\r\n<" and len(name) < LONGEST_WORD:
            name += yield from self.next()
        return name

    def _argument(self, known: "_Known", comma: str) -> Found:
        """Read an argument behind the tag that opens it; false, all of it put back: it is none."""
        keyed = self._syntax.keyed.replace("$type", "").strip()
        kind = None
        if keyed.startswith('"'):
            key = yield from self.word('"')
            end = keyed[keyed.rindex('"') + 1 :]
            attributes = None if key is None else (yield from self.word(end))
            if key is None or attributes is None:
                self.put_back(self._tag_key + (key or "") + ('"' if key is not None else ""))
                return False
            found = _ATTRIBUTE.search(attributes)
            kind = found[1] if found and self._syntax.kinds else None
            key = key.replace("&quot;", '"').replace("&amp;", "&") if self._syntax.is_escaped else key
        else:
            end = keyed[: keyed.index(">") + 1]
            key = yield from self.word(end)
            if key is None:
                self.put_back(self._tag_key)
                return False
            if keyed != end:
                yield from self.skip_space()
                yield from self.literal(keyed[len(end) :].strip())
        self.argue(f'{comma}"{escaped(key)}": ')
        yield from self._value(known.parameter(key), kind)
        return True

    def _value(self, known: Parameter | None, kind: str | None) -> Steps:
        close = self._syntax.ended.strip()
        newline = self._syntax.is_on_own_lines
        if newline and (yield from self.peek()) == "\n":
            yield from self.next()
        is_text = known.kind == "text" if known else False
        if self._syntax.has_cdata and (yield from self.literal("<![CDATA[")):
            close, is_text = "]]>" + close, known is None or known.kind != "json"
        elif kind is not None:
            is_text = kind == self._syntax.kinds["string"] and (known is None or known.kind != "json")
        if is_text:
            self.argue('"')
            yield from self.raw(close, lambda piece: self.argue(escaped(piece)), newline=newline)
            self.argue('"')
        elif kind is not None or (known and known.kind == "json"):
            yield from self._json(close, Guess(known) if known and known.kind == "text" else None)
        else:
            is_loose = known is None or any(texts.is_free for texts in known.texts)
            if not is_loose and (yield from self.peek()) in ("{", "["):
                yield from self._json(close, Guess(known))
            else:
                yield from self._either(close, Guess(known), newline)

    def _json(self, close: str, guess: Guess | None) -> Steps:
        held: list[str] = []
        try:
            yield from self.raw_json(close, held.append)
        except GeneratorExit:
            self.argue("".join(held))
            raise
        text = "".join(held)
        self.argue(as_json(text) if guess is None else guess.decide(text))

    def _either(self, close: str, guess: Guess, newline: bool) -> Steps:
        """A value that may be a string: given out as one as soon as it can be nothing else."""
        held = ""
        state = "open"

        def sink(piece: str) -> None:
            nonlocal held, state
            held += piece
            if state == "text":
                self.argue(escaped(piece))
            elif state == "open" and not guess.may_be_json(held):
                state = "text"
                self.argue('"' + escaped(held))
            elif state == "open" and held.lstrip()[:1] in ("{", "[", '"'):
                state = "json"

        try:
            yield from self.raw(close, sink, newline=newline)
        except GeneratorExit:
            if state != "text":
                self.argue(held if state == "json" else '"' + escaped(held))
            raise
        self.argue('"' if state == "text" else guess.decide(held))
