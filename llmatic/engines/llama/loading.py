"""Putting an engine's parts together.

Owns the order of loading: options, file, context, vocabulary, template, one decoded token. Runs in the
engine's thread and blocks; keeps nothing.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.core.types import EngineInfo
from llmatic.engines.chat.builtin import template_source
from llmatic.engines.chat.template import ChatTemplate, InvalidTemplate
from llmatic.engines.llama.backend import N_SCORED_ROWS_MAX, Backend, DecodeResult, open_backend
from llmatic.engines.llama.calibration import calibrate
from llmatic.engines.llama.determinism import computes_alone
from llmatic.engines.llama.extras import open_drafter, open_saved
from llmatic.engines.llama.intake import Intake
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.options import Options, read_options
from llmatic.engines.llama.pace import Pace
from llmatic.engines.llama.prompt import PromptReader
from llmatic.engines.llama.runner import Runner
from llmatic.engines.llama.sampling import Workspace
from llmatic.engines.llama.saved import SavedStates
from llmatic.engines.llama.scheduler import Scheduler
from llmatic.engines.llama.speculation import Drafter, Speculation
from llmatic.engines.llama.threads import default_threads
from llmatic.sources import locate_source


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that has decoded a token, and the parts that serve it."""

    backend: Backend
    runner: Runner
    intake: Intake
    workspace: Workspace
    pace: Pace
    info: EngineInfo
    saved: SavedStates | None = None
    draft: Drafter | None = None

    def close(self) -> None:
        """Write what is to outlive the process; free context and weights."""
        if self.saved is not None:
            self.saved.close()
        if self.draft is not None:
            self.draft.model.close()
        self.backend.close()
        self.backend.model.close()


Progress = Callable[[float | None, str], None]


def load(spec: ModelSpec, on_progress: Progress | None = None) -> Loaded:
    """Load what `spec` names; `on_progress` is told a share from 0 to 1 and what is being done.

    Raises ConfigError: wrong options, no such file, not servable, no memory."""
    options = read_options(spec)
    backend = open_backend(
        locate_source(spec, on_progress=on_progress),
        options,
        n_gpu_layers=spec.gpu_layers,
        n_context=spec.context,
        n_running=spec.parallel,
        n_threads=spec.threads or default_threads(),
        is_exact=spec.deterministic,
        on_progress=None if on_progress is None else lambda share: on_progress(share, "loading"),
    )
    draft: Drafter | None = None
    try:
        _warm_up(backend)
        pace = Pace(target_s=options.gap_target_s, n_batch=backend.n_batch)
        calibrate(backend, pace)
        draft = open_drafter(spec, options, backend, on_progress=on_progress)
        return _assemble(spec, options, backend, pace, draft)
    except BaseException:
        if draft is not None:
            draft.model.close()
        backend.close()
        backend.model.close()
        raise


def _assemble(
    spec: ModelSpec, options: Options, backend: Backend, pace: Pace, draft: Drafter | None
) -> Loaded:
    model, vocabulary = backend.model, backend.model.vocabulary
    n_context = min(backend.n_context_each, model.n_context_train or backend.n_context_each)
    template, template_error = _compile_template(spec, backend)
    reader = PromptReader(vocabulary, template, template_error=template_error)
    info = EngineInfo(
        n_context=n_context,
        n_context_train=model.n_context_train,
        n_vocab=vocabulary.n_tokens,
        n_parallel=spec.parallel,
        has_chat_template=template is not None,
        has_infill=vocabulary.infill is not None,
        fingerprint=model.fingerprint(*_mode(spec, backend)),
        description=model.description,
        chat_template_error=template_error,
        size_bytes=model.size_bytes,
    )
    is_alone = spec.deterministic and computes_alone(backend)
    saved = open_saved(options, backend, pace)
    limits = Limits(
        n_context=backend.n_context,
        n_batch=backend.n_batch,
        n_slots=backend.n_sequences,
        n_running=spec.parallel,
        can_fork=backend.can_fork,
        is_pooled=backend.is_unified,
        is_dense=backend.can_fork and not backend.is_unified,
        is_exact=spec.deterministic,
        is_alone=is_alone,
        n_outputs=backend.n_outputs_max,
        n_scored=N_SCORED_ROWS_MAX,
        n_block=0 if saved is None else saved.n_block(backend),
        n_kept_max=int(options.n_kept_share(spec.gpu_layers) * backend.n_context),
        max_queue=spec.max_queue,
        max_queue_tokens=spec.max_queue_tokens,
    )
    may_guess = backend.can_fork and not spec.deterministic
    speculation = Speculation(pace.decode_s, draft) if may_guess else None
    workspace = Workspace(vocabulary.n_tokens)
    runner = Runner(
        backend,
        Scheduler(limits, None if saved is None else saved.match),
        workspace,
        pace,
        clock=time.perf_counter,
        saved=saved,
        speculation=speculation,
    )
    intake = Intake(
        reader,
        backend.adapters,
        n_context=n_context,
        n_vocab=vocabulary.n_tokens,
        copies=may_guess and options.speculation in ("auto", "lookup"),
    )
    return Loaded(backend, runner, intake, workspace, pace, info, saved, draft)


def _mode(spec: ModelSpec, backend: Backend) -> list[str]:
    """What besides the weights decides the text of an answer."""
    template = spec.chat_template or backend.model.chat_template or ""
    versions = [version("llmatic"), version("llama-cpp-python")]
    return [template, *versions, backend.layout, "deterministic" if spec.deterministic else ""]


def _compile_template(spec: ModelSpec, backend: Backend) -> tuple[ChatTemplate | None, str | None]:
    """The template or why there is none; a broken one in the configuration is a ConfigError."""
    model, vocabulary = backend.model, backend.model.vocabulary
    source = template_source(spec.chat_template) if spec.chat_template else model.chat_template
    if source is None:
        return None, None
    bos = "" if vocabulary.bos is None else vocabulary.markup(vocabulary.bos)
    eos = "" if vocabulary.eos is None else vocabulary.markup(vocabulary.eos)
    try:
        return ChatTemplate(source, bos=bos, eos=eos), None
    except InvalidTemplate as error:
        if spec.chat_template:
            raise
        return None, f"its chat template cannot be used ({error.message})"


def _warm_up(backend: Backend) -> None:
    """Decode one token: a model that cannot is refused now, not at the first request."""
    vocabulary = backend.model.vocabulary
    token = next((t for t in (vocabulary.bos, vocabulary.eos) if t is not None), 0)
    if backend.decode([token], [0], [0], [0]) is not DecodeResult.DONE:
        raise ConfigError(f"'{backend.model.path}' was loaded but cannot decode a token")
    if not math.isfinite(float(backend.logits(0).max())):
        raise ConfigError(f"'{backend.model.path}' is damaged: its first token has no finite probabilities")
    backend.clear()
