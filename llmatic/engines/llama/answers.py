"""What a request has been told so far.

Owns the output side of a request: samplers, text streams, token counts, and the events made from drawn
tokens. Pure; the engine's thread uses it. Where tokens come from is the runner's business.
"""

from collections import deque
from collections.abc import Sequence

from llmatic.core.types import Delta, Finished, FinishReason, TokenLogprob, TopLogprob, Usage
from llmatic.engines.constraints.matcher import Matcher
from llmatic.engines.llama.detokenizer import TextStream
from llmatic.engines.llama.forms import Thinking
from llmatic.engines.llama.intake import Prepared
from llmatic.engines.llama.logits import Floats
from llmatic.engines.llama.media.rows import count
from llmatic.engines.llama.parsed import ParsedText, Parts
from llmatic.engines.llama.sampling import Sample, Sampler, Workspace
from llmatic.engines.llama.sequences import Group, make_group
from llmatic.engines.llama.vocabulary import Vocabulary


class Answer:
    """One choice: `draw` takes a token from logits, `accept` turns it into what may be sent.

    `forced`: the tokens that come next whatever the logits say.
    """

    __slots__ = (
        "_eog", "_index", "_matcher", "_max_tokens", "_n_unsent", "_parsed", "_pieces", "_sampler", "_stream",
        "_texts", "_thinking", "_vocabulary", "_wants_logprobs", "finish_reason", "forced", "n_tokens",
        "sum_logprobs",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        sampler: Sampler,
        stops: Sequence[str],
        max_tokens: int,
        vocabulary: Vocabulary,
        *,
        wants_logprobs: bool,
        matcher: Matcher | None = None,
        parsed: ParsedText | None = None,
        thinking: Thinking | None = None,
    ) -> None:
        """`matcher` holds the answer to a form. `parsed` takes it apart, and is who knows `stops` then."""
        self._index = index
        self._sampler = sampler
        self._stream = TextStream(stops)
        self._max_tokens = max_tokens
        self._vocabulary = vocabulary
        self._pieces = vocabulary.pieces
        self._texts = vocabulary.texts
        self._eog = vocabulary.eog
        self._wants_logprobs = wants_logprobs
        self._matcher = matcher
        self._parsed = parsed
        self._thinking = thinking
        self._n_unsent = 0
        self.n_tokens = 0
        self.sum_logprobs = 0.0
        self.finish_reason: FinishReason | None = None
        self.forced: deque[int] = deque()
        if matcher is not None:
            self.forced.extend(matcher.forced())
        if parsed is not None:
            self._limit_thinking(parsed)

    @property
    def n_thinking(self) -> int:
        """Tokens of thinking."""
        return 0 if self._parsed is None else self._parsed.n_thinking

    def draw(self, row: Floats, *, is_shared: bool) -> Sample:
        """The next token. Overwrites `row` unless it `is_shared`. Raises BadLogits and GrammarFailed."""
        forced = self.forced.popleft() if self.forced else None
        matcher = self._matcher
        if matcher is None:
            return self._sampler.sample(row, is_shared=is_shared, forced=forced)
        if forced is not None and not matcher.accepts(forced):
            self.forced.clear()
            forced = None
        return self._sampler.sample(row, is_shared=is_shared, gate=matcher, forced=forced)

    def accept(self, sample: Sample) -> Delta | None:
        """The next Delta, or None while its text is held back. Sets `finish_reason` on the last token."""
        token = sample.token
        self.n_tokens += 1
        self._n_unsent += 1
        if sample.logprob is not None:
            self.sum_logprobs += sample.logprob
        is_end = token in self._eog
        if self._parsed is not None:
            return self._accept_parsed(self._parsed, sample, is_end=is_end)
        stream = self._stream
        if is_end:
            self.finish_reason = "stop"
            text = stream.finish()
        else:
            entry = describe(self._vocabulary, sample, self._pieces[token]) if self._wants_logprobs else None
            text = stream.push(self._pieces[token], self._texts[token], entry)
            if self._ends_here():
                text += stream.finish()
            if stream.stopped_by:
                self.finish_reason = "stop"
        if not text and self.finish_reason is None:
            return None
        n_unsent, self._n_unsent = self._n_unsent, 0
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._wants_logprobs:
            logprobs = stream.take_logprobs(is_end=self.finish_reason is not None)
        return Delta(self._index, text, n_unsent, logprobs, self.finish_reason, stop=stream.stopped_by)

    def _ends_here(self) -> bool:
        """Whether no further token is wanted. Sets `finish_reason`; looks ahead where there is a grammar."""
        matcher = self._matcher
        if matcher is not None and matcher.is_over:
            self.finish_reason = "stop"
        elif self.n_tokens >= self._max_tokens:
            self.finish_reason = "length"
        elif matcher is not None and not self.forced:
            self.forced.extend(matcher.forced())
        return self.finish_reason is not None

    def _accept_parsed(self, parsed: ParsedText, sample: Sample, *, is_end: bool) -> Delta | None:
        token = sample.token
        if is_end:
            self.finish_reason = "stop"
            parts = parsed.finish()
        else:
            piece, text = self._pieces[token], self._texts[token]
            if not piece:
                piece, text = self._vocabulary.spell_one(token), None
            entry = describe(self._vocabulary, sample, piece) if self._wants_logprobs else None
            parts = parsed.push(piece, text, entry)
            if self._ends_here():
                rest = parsed.finish()
                parts = Parts(
                    parts.content + rest.content, parts.thoughts + rest.thoughts, parts.calls + rest.calls
                )
            self._limit_thinking(parsed)
            if parsed.is_stopped:
                self.finish_reason = "stop"
        if self.finish_reason is not None:
            self.finish_reason = parsed.reason(self.finish_reason)
        elif parts.is_empty:
            return None
        n_unsent, self._n_unsent = self._n_unsent, 0
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._wants_logprobs:
            logprobs = parsed.take_logprobs(is_end=self.finish_reason is not None)
        return Delta(
            self._index,
            "".join(parts.content),
            n_unsent,
            logprobs,
            self.finish_reason,
            "".join(parts.thoughts),
            tuple(parts.calls),
            parsed.stopped_by,
        )

    def _limit_thinking(self, parsed: ParsedText) -> None:
        limit = self._thinking
        if limit is None or not parsed.is_thinking or parsed.n_thinking < limit.n_tokens_max:
            return
        if not self.forced and parsed.is_between_characters:
            self.forced.extend(limit.end_tokens)


class Generation:
    """One request: its group of sequences and an Answer for each of them."""

    def __init__(
        self, prepared: Prepared, arrival: int, vocabulary: Vocabulary, workspace: Workspace, *, seed: int
    ) -> None:
        """`seed` is used if the request brings none."""
        request = prepared.request
        params = request.sampling
        self.prepared = prepared
        self.id = request.id
        self.n_unfinished = request.n_choices
        self._vocabulary = vocabulary
        self._scores: list[TokenLogprob] = []
        wants_scores = request.echo and params.n_logprobs is not None
        n_sequences = request.n_choices if prepared.max_tokens else 1
        self.group: Group = make_group(
            request.id, arrival, prepared.prompt, n_sequences, wants_scores=wants_scores
        )
        self.group.namespace = prepared.namespace
        self.group.adapters = prepared.adapters
        self.group.client = request.client
        self.group.priority = request.priority
        self.group.retention = request.cache_retention
        self.group.is_keyed = bool(request.cache_key)
        self.group.n_wanted = prepared.max_tokens
        self.group.spans = prepared.spans
        self.group.is_private = prepared.is_private
        self.n_accepted = self.n_rejected = 0
        self.needs_computing = prepared.max_tokens > 0 or self.group.n_to_score > 0
        banned = vocabulary.hidden + (tuple(vocabulary.eog) if request.ignore_eos else ())
        self.answers = [
            self._answer(index, workspace, seed if params.seed is None else params.seed, banned)
            for index in range(n_sequences)
        ]

    def _answer(self, index: int, workspace: Workspace, seed: int, banned: Sequence[int]) -> Answer:
        prepared, request, vocabulary = self.prepared, self.prepared.request, self._vocabulary
        form = prepared.form
        return Answer(
            index,
            Sampler(
                request.sampling,
                workspace,
                seed=seed,
                choice=index,
                prompt=prepared.text,
                banned=banned,
                end_tokens=vocabulary.eog,
                n_tokens_min=request.min_tokens,
            ),
            request.stop,
            prepared.max_tokens,
            vocabulary,
            wants_logprobs=request.sampling.n_logprobs is not None,
            matcher=None if form.matcher is None else form.matcher(),
            parsed=None if form.parser is None else ParsedText(form.parser(), request.stop),
            thinking=form.thinking,
        )

    @property
    def n_tokens(self) -> int:
        """Tokens drawn, end tokens included."""
        return sum(answer.n_tokens for answer in self.answers)

    def add_score(self, sample: Sample) -> None:
        """The next prompt token's log probability; the prompt's first token has none and is not given."""
        self._scores.append(describe(self._vocabulary, sample, self._vocabulary.spell_one(sample.token)))

    def echo(self) -> list[Delta]:
        """The prompt's text for every choice, with its scores; the last Delta if no token is wanted."""
        prompt, vocabulary, request = self.prepared.prompt, self._vocabulary, self.prepared.request
        logprobs: tuple[TokenLogprob, ...] = ()
        if request.sampling.n_logprobs is not None:
            first = TokenLogprob(prompt[0], vocabulary.spell_one(prompt[0]), None)
            was_written = self.prepared.echo.encode().startswith(first.data)
            logprobs = ((first,) if was_written else ()) + tuple(self._scores)
        reason: FinishReason | None = None if self.prepared.max_tokens else "length"
        return [Delta(index, self.prepared.echo, 0, logprobs, reason) for index in range(request.n_choices)]

    def finished(self) -> Finished:
        """The last event."""
        means: tuple[float, ...] = ()
        if self.prepared.request.sampling.n_logprobs is not None:
            means = tuple(a.sum_logprobs / max(1, a.n_tokens) for a in self.answers)
        usage = Usage(
            len(self.prepared.prompt),
            self.n_tokens,
            self.group.n_cached or 0,
            self.n_accepted,
            self.n_rejected,
            sum(answer.n_thinking for answer in self.answers),
            count(self.group.spans, "image"),
            count(self.group.spans, "audio"),
        )
        return Finished(usage, means)


def describe(vocabulary: Vocabulary, sample: Sample, data: bytes) -> TokenLogprob:
    """A drawn or given token as clients see it."""
    top = tuple(TopLogprob(token, vocabulary.spell_one(token), logprob) for token, logprob in sample.top)
    return TokenLogprob(sample.token, data, sample.logprob, top)
