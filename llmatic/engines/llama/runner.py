"""One step: plan, compute, draw, tell.

Owns the requests in progress, and joins the scheduler's decisions with the backend's arithmetic. Has no
thread of its own: the engine's thread calls it. Every submitted generation ends exactly once: with Finished,
with an error, or silently when cancelled.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError
from llmatic.core.types import Event, Started
from llmatic.engines.constraints.matcher import GrammarFailed
from llmatic.engines.llama.answers import Generation
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.batching import Plan
from llmatic.engines.llama.pace import Pace
from llmatic.engines.llama.precedence import may_stop
from llmatic.engines.llama.sampling import BadLogits, Sample, Workspace, log_sum_exp, top_logprobs
from llmatic.engines.llama.saved import SavedStates
from llmatic.engines.llama.scheduler import Scheduler
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.slots import Effect, Fork, Free, Save, Trim, slot_of
from llmatic.engines.llama.speculation import Speculation

StepEvent = tuple[str, Event | LlmaticError]


class Runner:
    """Runs the steps of one backend. `events` collects what is to be told; the caller takes it."""

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        workspace: Workspace,
        pace: Pace,
        *,
        clock: Callable[[], float],
        saved: SavedStates | None = None,
        speculation: Speculation | None = None,
    ) -> None:
        """`clock` tells seconds; the others are this backend's own."""
        self._backend = backend
        self._workspace = workspace
        self._pace = pace
        self._clock = clock
        self._saved = saved
        self.speculation = speculation
        self.scheduler = scheduler
        self.events: list[StepEvent] = []
        self.n_generated = 0
        self.n_prompt = 0
        self.n_computed = 0
        self._reading_since: float | None = None
        self._was_broken = False
        self._live: dict[str, Generation] = {}

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._live)

    @property
    def n_live(self) -> int:
        """Requests in progress."""
        return len(self._live)

    def submit(self, generation: Generation) -> None:
        """Queue it and tell that it started. Raises QueueFull, or InvalidRequest for an unusable adapter."""
        if generation.needs_computing:
            in_use = [live.group.adapters for live in self._live.values()]
            self._backend.prepare(generation.group.adapters, in_use)
            self.scheduler.submit(generation.group)
            if self.speculation is not None and generation.prepared.max_tokens > 1:
                for sequence, answer in zip(generation.group.sequences, generation.answers, strict=True):
                    sequence.certain = answer.forced
                    self.speculation.begin(sequence, generation.prepared.material)
        self._live[generation.id] = generation
        self.n_prompt += len(generation.prepared.prompt)
        self.events.append((generation.id, Started(len(generation.prepared.prompt))))
        is_scored = not generation.group.n_to_score
        if is_scored and (generation.prepared.request.echo or not generation.needs_computing):
            self._echo(generation)

    def cancel(self, request_id: str) -> None:
        """Forget a request; unknown ids are ignored."""
        generation = self._live.pop(request_id, None)
        if generation is not None:
            self._forget_drafts(generation)
            self.scheduler.cancel(generation.group)

    def fail_all(self, message: str) -> None:
        """End every request with EngineFailed and empty the cache."""
        self.scheduler.reset()
        for generation in self._live.values():
            self._forget_drafts(generation)
            self.events.append((generation.id, EngineFailed(message)))
        self._live.clear()
        self._backend.clear()

    def settle(self) -> None:
        """Do to the cache what ended and cancelled requests have left to do."""
        self._do(self.scheduler.take_effects())

    def save_all(self) -> None:
        """Save what is kept in the cache, which is about to go."""
        self.scheduler.slots.save_all()
        self.settle()

    def step(self) -> None:
        """Compute one batch, if there is anything to compute."""
        began = self._clock()
        scheduler = self.scheduler
        self.settle()
        while self._do(scheduler.prepare()):
            pass  # what was restored may serve the next one
        takers = scheduler.taking_part
        is_reading = any(s.awaits is None and s.n_left > 1 for s in takers)
        self._reading_since = (self._reading_since or began) if is_reading else None
        if self.speculation is not None and not is_reading:
            self.speculation.propose([s for s in takers if s.is_writing], 0)
        plan = scheduler.plan(self._prompt_rows, self._background_rows)
        self._do(plan.effects)
        if not plan.tokens:
            return
        decode_began = self._clock()
        try:
            self._backend.use(plan.adapters)
            result = self._compute(plan)
        except EngineFailed as error:
            self.fail_all(error.message)
            return
        if result is DecodeResult.NO_ROOM and not scheduler.shrink():
            self.fail_all("The model's cache has no room for this request.")
        if result is not DecodeResult.DONE:
            if result is DecodeResult.ABORTED:
                self._take_back(plan)
            return
        samples = scheduler.commit(plan)
        self._score(plan)
        is_shared = len(samples) > len(plan.samples)
        for sequence, row in samples:
            self._draw(sequence, row, is_shared)
        self._observe(plan, self._clock() - decode_began)

    def _compute(self, plan: Plan) -> DecodeResult:
        limits = self.scheduler.limits
        may_break = limits.is_pooled and limits.can_fork and may_stop(self.scheduler.running)
        if may_break and not self._was_broken:
            with self._backend.interruption.allowed():
                return self._backend.decode(plan.tokens, plan.positions, plan.slots, plan.outputs)
        self._was_broken = self._was_broken and not may_break
        if not plan.rows:
            return self._backend.decode(plan.tokens, plan.positions, plan.slots, plan.outputs)
        rows = plan.rows[0] if len(plan.rows) == 1 else np.concatenate(plan.rows)
        return self._backend.decode_rows(
            rows, plan.positions, plan.slots, plan.outputs, is_causal=plan.is_causal, grid=plan.grid
        )

    def _take_back(self, plan: Plan) -> None:
        """Of a batch that was broken off, forget what was computed. The next of the kind will not be."""
        self._was_broken = True
        for part in plan.parts:
            self._backend.trim(slot_of(part.sequence), part.sequence.n_computed)

    def _background_rows(self, n_writing: int, n_more: int) -> tuple[int, int]:
        n_cells = self.scheduler.n_cells
        return self._pace.background_rows(n_writing, n_more, n_cells, is_short=self._was_broken)

    def _prompt_rows(self, n_writing: int, n_wanted: int) -> int:
        waited_s = 0.0 if self._reading_since is None else self._clock() - self._reading_since
        return self._pace.prefill_rows(n_writing, waited_s, self.scheduler.n_cells, n_wanted)

    def _observe(self, plan: Plan, seconds: float) -> None:
        n_prompt_rows = plan.n_prompt_rows
        self.n_computed += n_prompt_rows
        n_rows = len(plan.tokens) - n_prompt_rows
        self._pace.observe(n_rows, n_prompt_rows, len(plan.outputs), seconds, self.scheduler.n_cells)

    def _do(self, effects: Iterable[Effect]) -> bool:
        """Do to the cache what is wanted, and what follows from it, in order; True if that was restoring."""
        backend, todo, has_restored = self._backend, deque(effects), False
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Free):
                backend.free(effect.slot)
            elif isinstance(effect, Fork):
                backend.fork(effect.source, effect.target, effect.n_tokens)
            elif isinstance(effect, Trim):
                backend.trim(effect.slot, effect.n_tokens)
            elif isinstance(effect, Save):
                if self._saved is not None:
                    self._saved.save(backend, effect)
            else:
                n_tokens = effect.n_held if self._saved is None else self._saved.restore(backend, effect)
                self.scheduler.restored(effect.sequence, n_tokens)
                todo.extend(self.scheduler.take_effects())  # shares with those that waited for it
                has_restored = True
        return has_restored

    def _score(self, plan: Plan) -> None:
        for sequence, position, row in plan.scores:
            generation = self._live.get(sequence.group.id)
            if generation is None:
                continue
            token = sequence.tokens[position + 1]
            logits = self._backend.logits(row)
            try:
                total = log_sum_exp(logits, self._workspace)
            except BadLogits as error:
                self._fail(generation, error)
                continue
            n_top = generation.prepared.request.sampling.n_logprobs or 0
            logprob = min(0.0, float(logits[token]) - total)
            generation.add_score(Sample(token, logprob, top_logprobs(logits, n_top, total)))
            if not sequence.group.n_to_score and position == sequence.group.n_prompt - 2:
                self._echo(generation)

    def _echo(self, generation: Generation) -> None:
        self.events.extend((generation.id, delta) for delta in generation.echo())
        if not generation.prepared.max_tokens:
            if generation.needs_computing:
                self.scheduler.cancel(generation.group)
            self._finish(generation)

    def _draw(self, sequence: Sequence, row: int, is_shared: bool) -> None:
        """Draw the sequence's next token, and more for as long as its drafts are what is drawn."""
        drafts, sequence.drafts = sequence.drafts, []
        generation = self._live.get(sequence.group.id)
        if generation is None or sequence.is_done:
            return
        answer = generation.answers[sequence.index]
        drawn: list[int] = []
        while answer.finish_reason is None:
            try:
                sample = answer.draw(self._backend.logits(row + len(drawn)), is_shared=is_shared)
                delta = answer.accept(sample)
            except (BadLogits, GrammarFailed) as error:
                self._fail(generation, error)
                return
            drawn.append(sample.token)
            if delta is not None:
                self.events.append((generation.id, delta))
            if len(drawn) > len(drafts) or sample.token != drafts[len(drawn) - 1]:
                break
        self.n_generated += len(drawn)
        self._advance(generation, sequence, drafts, drawn)
        if answer.finish_reason is not None:
            self.scheduler.finish(sequence)
            generation.n_unfinished -= 1
            if generation.n_unfinished == 0:
                self._finish(generation)

    def _advance(
        self, generation: Generation, sequence: Sequence, drafts: list[int], drawn: list[int]
    ) -> None:
        """The sequence goes on with `drawn`, of which all but the last may have been drafted."""
        n_right = len(drawn) - 1
        if generation.answers[sequence.index].finish_reason is None:
            for token in drawn:
                self.scheduler.append(sequence, token)
        else:
            for token in drawn[:-1]:
                self.scheduler.append(sequence, token)
        if drafts:
            self.scheduler.accept(sequence, len(drafts), n_right)
        if self.speculation is not None:
            n_accepted, n_rejected = self.speculation.observe(sequence, len(drafts), n_right, drawn)
            generation.n_accepted += n_accepted
            generation.n_rejected += n_rejected

    def _finish(self, generation: Generation) -> None:
        self.events.append((generation.id, generation.finished()))
        self._forget_drafts(generation)
        del self._live[generation.id]

    def _fail(self, generation: Generation, error: BadLogits | GrammarFailed) -> None:
        del self._live[generation.id]
        self._forget_drafts(generation)
        is_damaged = isinstance(error, BadLogits)
        self.scheduler.cancel(generation.group, is_damaged=is_damaged)
        if is_damaged:
            failure: LlmaticError = EngineFailed(
                "The model computed no usable probabilities for this request."
            )
        else:
            failure = InvalidRequest(f"The answer can no longer be held to the grammar: {error}")
        self.events.append((generation.id, failure))

    def _forget_drafts(self, generation: Generation) -> None:
        if self.speculation is not None:
            for sequence in generation.group.sequences:
                self.speculation.forget(sequence)
