"""One step: plan, compute, draw, tell.

Owns the requests in progress, and joins the scheduler's decisions with the backend's arithmetic. Has no
thread and no clock of its own: the engine's thread calls it. Every submitted generation ends exactly once:
with Finished, with an error, or silently when cancelled.
"""

from llmatic.core.errors import EngineFailed, LlmaticError
from llmatic.core.types import Event, Started
from llmatic.engines.llama.answers import Generation
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.sampling import BadLogits, Sample, Workspace, log_sum_exp, top_logprobs
from llmatic.engines.llama.scheduler import Fork, Plan, Scheduler
from llmatic.engines.llama.sequences import Sequence

StepEvent = tuple[str, Event | LlmaticError]


class Runner:
    """Runs the steps of one backend. `events` collects what is to be told; the caller takes it."""

    def __init__(self, backend: Backend, scheduler: Scheduler, workspace: Workspace) -> None:
        self._backend = backend
        self._workspace = workspace
        self.scheduler = scheduler
        self.events: list[StepEvent] = []
        self.n_generated = 0
        self.n_prompt = 0
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
        """Queue it and tell that it started. Raises QueueFull."""
        if generation.needs_computing:
            self.scheduler.submit(generation.group)
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
            self.scheduler.cancel(generation.group)

    def fail_all(self, message: str) -> None:
        """End every request with EngineFailed and empty the cache."""
        self.scheduler.reset()
        for request_id in self._live:
            self.events.append((request_id, EngineFailed(message)))
        self._live.clear()
        self._backend.clear()

    def step(self) -> None:
        """Compute one batch, if there is anything to compute."""
        plan = self.scheduler.plan()
        self._apply(plan)
        if not plan.tokens:
            return
        try:
            result = self._backend.decode(plan.tokens, plan.positions, plan.slots, plan.outputs)
        except EngineFailed as error:
            self.fail_all(error.message)
            return
        if result is DecodeResult.NO_ROOM and not self.scheduler.shrink():
            self.fail_all("The model's cache has no room for this request.")
        if result is not DecodeResult.DONE:
            return
        samples = self.scheduler.commit(plan)
        self._score(plan)
        is_shared = len(samples) > len(plan.samples)
        for sequence, row in samples:
            self._draw(sequence, row, is_shared)

    def _apply(self, plan: Plan) -> None:
        for effect in plan.effects:
            if isinstance(effect, Fork):
                self._backend.fork(effect.source, effect.target, effect.n_tokens)
            else:
                self._backend.free(effect.slot)

    def _score(self, plan: Plan) -> None:
        for sequence, position, row in plan.scores:
            generation = self._live.get(sequence.group.id)
            if generation is None:
                continue
            token = sequence.tokens[position + 1]
            logits = self._backend.logits(row)
            try:
                total = log_sum_exp(logits, self._workspace)
            except BadLogits:
                self._fail(generation)
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
        generation = self._live.get(sequence.group.id)
        if generation is None or sequence.is_done:
            return
        answer = generation.answers[sequence.index]
        try:
            sample = answer.sampler.sample(self._backend.logits(row), is_shared=is_shared)
        except BadLogits:
            self._fail(generation)
            return
        self.n_generated += 1
        delta = answer.accept(sample)
        if delta is not None:
            self.events.append((generation.id, delta))
        if answer.finish_reason is None:
            self.scheduler.append(sequence, sample.token)
            return
        self.scheduler.finish(sequence)
        generation.n_unfinished -= 1
        if generation.n_unfinished == 0:
            self._finish(generation)

    def _finish(self, generation: Generation) -> None:
        self.events.append((generation.id, generation.finished()))
        del self._live[generation.id]

    def _fail(self, generation: Generation) -> None:
        self.cancel(generation.id)
        message = "The model computed no usable probabilities for this request."
        self.events.append((generation.id, EngineFailed(message)))
