"""Drafts from a small model of the same vocabulary: what it finds likeliest, as long as it is sure.

Owns a second `Backend`, with a slot for each of the sequences that are drafted for, and knows which tokens
each slot holds. Every call first brings the slots up to date with their texts, then lets all of them write
together. Runs on the engine's thread. Never decides how much to draft, and never what is written: a wrong
draft costs time, not text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmatic.core.errors import ConfigError
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.drafting import NOTHING, UNSURE, Draft, Kind
from llmatic.engines.llama.vocabulary import Vocabulary

# As llama.cpp has it: models of one family pad their vocabularies differently and may name the first apart.
_N_MORE_MAX = 128
_N_FREE = 5


def check_vocabulary(target: Vocabulary, draft: Vocabulary) -> int:
    """How many token ids mean the same to both models. Raises ConfigError if they are no pair."""
    if abs(target.n_tokens - draft.n_tokens) > _N_MORE_MAX:
        raise ConfigError(
            f"the draft model has {draft.n_tokens} tokens and the model {target.n_tokens}: "
            "a draft model needs the same vocabulary"
        )
    if target.add_bos != draft.add_bos or (target.add_bos and target.bos != draft.bos):
        raise ConfigError("the draft model begins texts with another token (BOS) than the model")
    if target.eos != draft.eos:
        raise ConfigError(
            f"the draft model ends texts with token {draft.eos} (EOS), the model with {target.eos}"
        )
    n = min(target.n_tokens, draft.n_tokens)
    if target.pieces[_N_FREE:n] != draft.pieces[_N_FREE:n]:
        i = next(i for i in range(_N_FREE, n) if target.pieces[i] != draft.pieces[i])
        raise ConfigError(
            f"the draft model's token {i} is {draft.pieces[i]!r}, the model's is {target.pieces[i]!r}: "
            "a draft model needs the same vocabulary"
        )
    return n


@dataclass(slots=True)
class _Held:
    """A slot: the tokens whose rows are in the cache, of which the first `n_agreed` are surely the text's."""

    slot: int
    tokens: list[int] = field(default_factory=list)
    n_agreed: int = 0
    used_at: int = 0


@dataclass(slots=True)
class _Job:
    """One sequence of a call: `missing` are the text's tokens that its slot lacks, at least the last one."""

    held: _Held
    index: int
    k: int
    missing: list[int]
    drafted: list[int] = field(default_factory=list)


class ModelDrafter:
    """Greedy drafts for many sequences at once.

    `n_vocab`: ids below it mean the same to both models (`check_vocabulary`), no other is drafted.
    `n_catch_up`: rows of text at most that a call computes before it drafts; who has more to catch up waits
    for the next calls. `p_min`: a draft ends before the first token that is less likely to the draft model.
    The backend wants as much context as the model has: where it is full, the longest text starts anew.
    """

    def __init__(
        self, backend: Backend, n_vocab: int | None = None, *, n_catch_up: int = 256, p_min: float = 0.6
    ) -> None:
        """Take over `backend`, whose slots are empty. ConfigError if its model cannot take tokens back."""
        if not backend.can_fork:
            raise ConfigError(f"'{backend.model.path}' cannot take tokens back and so cannot draft")
        self._backend = backend
        self._n_vocab = backend.n_vocab if n_vocab is None else min(n_vocab, backend.n_vocab)
        self._n_catch_up = min(n_catch_up, backend.n_batch)
        self._p_min = p_min
        self._eog = backend.model.vocabulary.eog
        self._held: dict[int, _Held] = {}
        self._idle = list(range(backend.n_sequences))
        self._n_calls = 0

    def draft(self, wanted: Sequence[tuple[int, Sequence[int], int]]) -> list[Draft]:
        """For each (key, all tokens of the sequence, k) up to `k` tokens that follow.

        The text of a key only ever grows by tokens at its end; call `forget` before it becomes another one.
        NOTHING for a sequence that has not caught up or finds no room, UNSURE if already the first token
        is unsure. Raises EngineFailed if the draft model's computation fails.
        """
        self._n_calls += 1
        drafts = [NOTHING] * len(wanted)
        jobs = self._jobs(wanted)
        ready = self._catch_up(jobs)
        self._write(ready)
        for job in ready:
            drafts[job.index] = Draft(job.drafted, Kind.MODEL) if job.drafted else UNSURE
        return drafts

    def forget(self, key: int) -> None:
        """The sequence is over."""
        held = self._held.pop(key, None)
        if held is not None:
            self._backend.free(held.slot)
            self._idle.append(held.slot)

    def close(self) -> None:
        """Free the draft model and its context. Nothing else may be called afterwards."""
        self._backend.close()
        self._backend.model.close()

    def _jobs(self, wanted: Sequence[tuple[int, Sequence[int], int]]) -> list[_Job]:
        """Who takes part, each with its slot trimmed to what still holds."""
        jobs = []
        for index, (key, tokens, k) in enumerate(wanted):
            k = min(k, self._backend.n_context_each - len(tokens) + 1)
            if k < 1 or not tokens:
                self.forget(key)
                continue
            held = self._slot_for(key)
            if held is None:
                continue
            missing = self._missing(held, tokens)
            if max(missing) < self._backend.n_vocab:
                jobs.append(_Job(held, index, k, missing))
        return jobs

    def _slot_for(self, key: int) -> _Held | None:
        held = self._held.get(key)
        if held is None and (self._idle or self._drop_oldest()):
            held = self._held[key] = _Held(self._idle.pop())
        if held is not None:
            held.used_at = self._n_calls
        return held

    def _drop_oldest(self) -> bool:
        """Forget the sequence that was not drafted for the longest; False if all are part of this call."""
        others = [(held.used_at, key) for key, held in self._held.items() if held.used_at < self._n_calls]
        if not others:
            return False
        self.forget(min(others)[1])
        return True

    def _missing(self, held: _Held, tokens: Sequence[int]) -> list[int]:
        """Cut off what the text did not go on with; the last token is always computed, for its logits."""
        n_most = min(len(held.tokens), len(tokens) - 1)
        n = min(held.n_agreed, n_most)
        while n < n_most and held.tokens[n] == tokens[n]:
            n += 1
        if n < len(held.tokens):
            self._backend.trim(held.slot, n)
            del held.tokens[n:]
        held.n_agreed = n
        return list(tokens[n:])

    def _catch_up(self, jobs: list[_Job]) -> list[_Job]:
        """One batch of what the slots lack, the shortest first; those that are complete, in row order."""
        rows: list[tuple[_Held, int]] = []
        outputs: list[int] = []
        ready: list[_Job] = []
        for job in sorted(jobs, key=lambda job: len(job.missing)):
            now = job.missing[: self._n_catch_up - len(rows)]
            rows += [(job.held, token) for token in now]
            if len(now) == len(job.missing) and len(outputs) < self._backend.n_outputs_max:
                outputs.append(len(rows) - 1)
                ready.append(job)
        if not rows or not self._decode(rows, outputs):
            return []
        for held, _token in rows:
            held.n_agreed = len(held.tokens)
        return ready

    def _write(self, jobs: list[_Job]) -> None:
        """Let all jobs write, one token each per batch, until they are unsure or have what they want."""
        writing = jobs
        while writing:
            going_on = []
            for row, job in enumerate(writing):
                token = self._sure_token(self._backend.logits(row))
                if token is not None:
                    job.drafted.append(token)
                    if len(job.drafted) < job.k:
                        going_on.append(job)
            rows = [(job.held, job.drafted[-1]) for job in going_on]
            if not rows or not self._decode(rows, range(len(rows))):
                return
            writing = going_on

    def _sure_token(self, logits: NDArray[np.float32]) -> int | None:
        """The likeliest token unless it is too unlikely, the end of the turn or unknown to the big model."""
        token = int(logits.argmax())
        if token in self._eog or token >= self._n_vocab:
            return None
        with np.errstate(invalid="ignore"):
            share = float(np.exp(logits - logits[token]).sum())
        return token if share * self._p_min <= 1 else None

    def _decode(self, rows: list[tuple[_Held, int]], outputs: Sequence[int]) -> bool:
        """Append a token to each row's slot; False if the cache is full or the decode was interrupted."""
        lengths: dict[int, int] = {}
        positions = []
        for held, _token in rows:
            position = lengths.get(held.slot, len(held.tokens))
            positions.append(position)
            lengths[held.slot] = position + 1
        tokens = [token for _held, token in rows]
        slots = [held.slot for held, _token in rows]
        result = self._backend.decode(tokens, positions, slots, outputs)
        while result is DecodeResult.NO_ROOM and self._drop_oldest():
            result = self._backend.decode(tokens, positions, slots, outputs)
        if result is DecodeResult.DONE:
            for held, token in rows:
                held.tokens.append(token)
            return True
        self._give_up([held for held, _token in rows], is_full=result is DecodeResult.NO_ROOM)
        return False

    def _give_up(self, helds: list[_Held], *, is_full: bool) -> None:
        """After a failed batch: know again what the slots hold, and make room for the others."""
        for held in helds:
            n = min(len(held.tokens), self._backend.length(held.slot))
            self._backend.trim(held.slot, n)
            del held.tokens[n:]
            held.n_agreed = min(held.n_agreed, n)
        if is_full:
            self.forget(max(self._held, key=lambda key: len(self._held[key].tokens)))
