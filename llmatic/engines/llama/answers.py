"""What a request has been told so far.

Owns the output side of a request: samplers, text streams, token counts, and the events made from drawn
tokens. Pure; the engine's thread uses it. Where tokens come from is the runner's business.
"""

from collections.abc import Sequence

from llmatic.core.types import Delta, Finished, FinishReason, TokenLogprob, TopLogprob, Usage
from llmatic.engines.llama.detokenizer import TextStream
from llmatic.engines.llama.intake import Prepared
from llmatic.engines.llama.sampling import Sample, Sampler, Workspace
from llmatic.engines.llama.sequences import Group, make_group
from llmatic.engines.llama.vocabulary import Vocabulary


class Answer:
    """One choice: `accept` turns a drawn token into what may be sent."""

    __slots__ = (
        "_eog", "_index", "_max_tokens", "_n_unsent", "_pieces", "_stream", "_texts", "_vocabulary",
        "_wants_logprobs", "finish_reason", "n_tokens", "sampler", "sum_logprobs",
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
    ) -> None:
        self._index = index
        self.sampler = sampler
        self._stream = TextStream(stops)
        self._max_tokens = max_tokens
        self._vocabulary = vocabulary
        self._pieces = vocabulary.pieces
        self._texts = vocabulary.texts
        self._eog = vocabulary.eog
        self._wants_logprobs = wants_logprobs
        self._n_unsent = 0
        self.n_tokens = 0
        self.sum_logprobs = 0.0
        self.finish_reason: FinishReason | None = None

    def accept(self, sample: Sample) -> Delta | None:
        """The next Delta, or None while its text is held back. Sets `finish_reason` on the last token."""
        token = sample.token
        self.n_tokens += 1
        self._n_unsent += 1
        if sample.logprob is not None:
            self.sum_logprobs += sample.logprob
        stream = self._stream
        if token in self._eog:
            self.finish_reason = "stop"
            text = stream.finish()
        else:
            entry = describe(self._vocabulary, sample, self._pieces[token]) if self._wants_logprobs else None
            text = stream.push(self._pieces[token], self._texts[token], entry)
            if self.n_tokens >= self._max_tokens:
                self.finish_reason = "length"
                text += stream.finish()
            if stream.is_stopped:
                self.finish_reason = "stop"
        if not text and self.finish_reason is None:
            return None
        n_unsent, self._n_unsent = self._n_unsent, 0
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._wants_logprobs:
            logprobs = stream.take_logprobs(is_end=self.finish_reason is not None)
        return Delta(self._index, text, n_unsent, logprobs, self.finish_reason)


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
        self.n_accepted = self.n_rejected = 0
        self.needs_computing = prepared.max_tokens > 0 or self.group.n_to_score > 0
        banned = vocabulary.hidden + (tuple(vocabulary.eog) if request.ignore_eos else ())
        self.answers = [
            Answer(
                index,
                Sampler(
                    params,
                    workspace,
                    seed=seed if params.seed is None else params.seed,
                    choice=index,
                    prompt=prepared.prompt,
                    banned=banned,
                    end_tokens=vocabulary.eog,
                    n_tokens_min=request.min_tokens,
                ),
                request.stop,
                prepared.max_tokens,
                vocabulary,
                wants_logprobs=params.n_logprobs is not None,
            )
            for index in range(n_sequences)
        ]

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
        )
        return Finished(usage, means)


def describe(vocabulary: Vocabulary, sample: Sample, data: bytes) -> TokenLogprob:
    """A drawn or given token as clients see it."""
    top = tuple(TopLogprob(token, vocabulary.spell_one(token), logprob) for token, logprob in sample.top)
    return TokenLogprob(sample.token, data, sample.logprob, top)
