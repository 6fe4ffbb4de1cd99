"""From an encode request to the tokens of its inputs.

Owns prompts, special tokens, pairs, token ids from outside, and what happens to a text too long. Never loads
a vocabulary itself and never pads. `InputReader` keeps no state: any thread, as far as its tokenizer allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.engines.encoding.vocabularies import ForeignVocabulary

# Of a text longer than this (in characters) only so much is read, if that is too long already.
MIN_HEAD = 1 << 16
CHARACTERS_PER_TOKEN = 16
# A word that is cut in two may have more tokens than the whole one: of longer words tokenizers make no parts.
CUT_WORD = 256
# A text so many times as long, whose beginning has so few tokens that all may fit, is one endless word.
WHOLE_PER_HEAD = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens around one text, and those around a pair of query and text.

    `pair_types`: the type ids of before, query, between, text, after; None: the model has no types.
    `filler` stands for an empty text where there are no special tokens.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    pair_before: tuple[int, ...] = ()
    pair_between: tuple[int, ...] = ()
    pair_after: tuple[int, ...] = ()
    pair_types: tuple[int, int, int, int, int] | None = None
    filler: int = 0

    @property
    def n_single(self) -> int:
        """Special tokens around one text."""
        return len(self.before) + len(self.after)

    @property
    def n_pair(self) -> int:
        """Special tokens around a pair."""
        return len(self.pair_before) + len(self.pair_between) + len(self.pair_after)


class Tokenizer(Protocol):
    """A model's own tokenizer."""

    @property
    def n_vocab(self) -> int:
        """Token ids are below this."""
        ...

    @property
    def frame(self) -> Frame:
        """The special tokens that the model wants."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, special ones around it not included."""
        ...


@dataclass(frozen=True, slots=True)
class _Content:
    """The tokens between the special ones. `is_head`: only those of the beginning of a very long text.

    `n_characters`: of a text that is not read to its end although its beginning would fit; 0 for any other.
    """

    ids: Sequence[int]
    is_head: bool = False
    n_characters: int = 0


class InputReader:
    """What `EncoderBackend.read` does, for every library.

    `n_context`: inputs longer than that are too long. `prompts`: those in force. `vocabulary`: where token
    ids of requests come from, if that is not the model's own.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: EncoderOptions,
        *,
        model_id: str,
        n_context: int,
        prompts: Mapping[str, str],
        vocabulary: ForeignVocabulary | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._frame = tokenizer.frame
        self._options = options
        self._model_id = model_id
        self._n_context = n_context
        self._prompts = prompts
        self._vocabulary = vocabulary
        self._n_head = max(MIN_HEAD, n_context * CHARACTERS_PER_TOKEN)
        self._n_whole = self._n_head * WHOLE_PER_HEAD

    def read(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        """As `EncoderBackend.read`."""
        if request.task == "rank":
            return self._pairs(request, first, last)
        prompt = self._prompts.get(request.input_type or "default", "")
        room = self._n_context - self._frame.n_single
        contents = self._contents(request, first, last, prompt, room)
        return [
            self._single(self._fitted(request, content, first + place, room))
            for place, content in enumerate(contents)
        ]

    def _contents(
        self, request: EncodeRequest, first: int, last: int, prompt: str, room: int
    ) -> list[_Content]:
        if request.texts:
            texts = request.texts[first:last]
        elif self._vocabulary is not None:
            # No more of them than may matter, and one that shows that there were more.
            ids = [own[: self._n_whole + 1] for own in request.token_ids[first:last]]
            texts = tuple(self._vocabulary.text(own, param=request.param) for own in ids)
        else:
            return self._own_ids(request, first, last, prompt)
        return self._tokenized([prompt + text for text in texts] if prompt else texts, room)

    def _tokenized(self, texts: Sequence[str], room: int) -> list[_Content]:
        """The texts' tokens; of a text far too long, which may be megabytes, only the beginning is read."""
        n_head = self._n_head
        if all(len(text) <= n_head for text in texts):
            return [_Content(ids) for ids in self._tokenizer.tokenize(texts)]
        made: list[_Content] = []
        for text in texts:
            content = _Content(self._tokenizer.tokenize([text[:n_head]])[0], len(text) > n_head)
            if content.is_head and len(content.ids) <= room + CUT_WORD:
                is_endless = len(text) > self._n_whole
                whole = self._tokenizer.tokenize([text[: self._n_whole]])[0]
                content = _Content(whole, is_head=is_endless, n_characters=len(text) if is_endless else 0)
            made.append(content)
        return made

    def _single(self, content: Sequence[int]) -> Item:
        frame = self._frame
        return Item([*frame.before, *content, *frame.after] or [frame.filler])

    # pairs

    def _pairs(self, request: EncodeRequest, first: int, last: int) -> list[Item]:
        frame = self._frame
        query = self._tokenized([request.query or ""], self._n_context)[0]
        if query.n_characters:
            raise self._endless(query)
        room = self._n_context - frame.n_pair - len(query.ids)
        if room < 0 or (room == 0 and self._truncates(request)):
            where = f"The query ('{request.query_param}') is too long."
            raise self._too_long(len(query.ids) + frame.n_pair, query.is_head, where)
        contents = self._contents(request, first, last, "", room)
        return [
            self._pair(query.ids, self._fitted(request, content, first + place, room))
            for place, content in enumerate(contents)
        ]

    def _pair(self, query: Sequence[int], text: Sequence[int]) -> Item:
        frame = self._frame
        ids = [*frame.pair_before, *query, *frame.pair_between, *text, *frame.pair_after]
        if frame.pair_types is None:
            return Item(ids or [frame.filler])
        parts = (frame.pair_before, query, frame.pair_between, text, frame.pair_after)
        types: list[int] = []
        for kind, part in zip(frame.pair_types, parts, strict=True):
            types += [kind] * len(part)
        return Item(ids, types)

    # lengths

    def _truncates(self, request: EncodeRequest) -> bool:
        return (request.too_long or self._options.too_long) == "truncate"

    def _fitted(self, request: EncodeRequest, content: _Content, row: int, room: int) -> Sequence[int]:
        ids = content.ids
        if len(ids) <= room and not content.n_characters:
            return ids
        if self._truncates(request):
            return ids[: max(0, room)]
        if content.n_characters:
            raise self._endless(content)
        n_tokens = len(ids) + self._n_context - room
        where = f"It is {request.param}[{row}] that is too long." if request.n_rows > 1 else ""
        raise self._too_long(n_tokens, content.is_head, where)

    def _endless(self, content: _Content) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"A text of {content.n_characters} characters is too long: this model's maximum context length "
            f"is {self._n_context} tokens, for which no more than {self._n_whole} characters are read."
        )

    def _too_long(self, n_tokens: int, is_head: bool, where: str) -> ContextLengthExceeded:
        asked = f"more than {n_tokens}" if is_head else str(n_tokens)
        words = (
            f"This model's maximum context length is {self._n_context} tokens, however you requested "
            f"{asked} tokens ({asked} in your prompt; 0 for the completion). Please reduce your "
            "prompt; or completion length."
        )
        return ContextLengthExceeded(f"{words} {where}".rstrip())

    # token ids

    def _own_ids(self, request: EncodeRequest, first: int, last: int, prompt: str) -> list[_Content]:
        """The contents of inputs given as token ids of the model's own vocabulary."""
        given = request.token_ids[first:last]
        if self._options.token_vocabulary is None:
            raise InvalidRequest(self._untold(), param=request.param)
        prefix = self._tokenizer.tokenize([prompt])[0] if prompt else []
        return [_Content([*prefix, *self._bare(self._checked(ids, request.param))]) for ids in given]

    def _bare(self, ids: Sequence[int]) -> Sequence[int]:
        """Without the special tokens that come around every input, if the caller has put them there."""
        before, after = self._frame.before, self._frame.after
        inner = len(ids) - len(after)
        if (not before and not after) or inner < len(before):
            return ids
        if tuple(ids[: len(before)]) != before or tuple(ids[inner:]) != after:
            return ids
        return ids[len(before) : inner]

    def _checked(self, ids: Sequence[int], param: str) -> Sequence[int]:
        n_vocab = self._tokenizer.n_vocab
        wrong = next((token for token in ids if not 0 <= token < n_vocab), None)
        if wrong is None:
            return ids
        raise InvalidRequest(
            f"Token id {wrong} is not in the vocabulary of '{self._model_id}', which has {n_vocab} tokens. "
            "If the ids come from another tokenizer, 'options.token_vocabulary' of the model in config.yaml "
            "has to say from which.",
            param=param,
        )

    def _untold(self) -> str:
        return (
            f"Token ids are not accepted by '{self._model_id}', because its configuration does not say which "
            "vocabulary they are in. Set 'options.token_vocabulary' of the model in config.yaml to "
            "cl100k_base or own, or send text. langchain_openai sends text with "
            "OpenAIEmbeddings(check_embedding_ctx_length=False)."
        )
