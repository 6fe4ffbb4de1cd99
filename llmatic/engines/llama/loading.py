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
from llmatic.engines.llama.backend import N_SCORED_ROWS_MAX, Backend, DecodeResult, open_backend
from llmatic.engines.llama.calibration import calibrate
from llmatic.engines.llama.chats import Chats, open_chats
from llmatic.engines.llama.determinism import computes_alone
from llmatic.engines.llama.extras import open_drafter, open_media, open_saved
from llmatic.engines.llama.intake import Intake
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.media.reader import MediaReader
from llmatic.engines.llama.options import Options, read_options
from llmatic.engines.llama.pace import Pace
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
    media: MediaReader
    saved: SavedStates | None = None
    draft: Drafter | None = None

    def close(self) -> None:
        """Write what is to outlive the process; free context and weights."""
        if self.saved is not None:
            self.saved.close()
        if self.draft is not None:
            self.draft.model.close()
        self.media.close()
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
        has_media=spec.projector is not None,
        on_progress=None if on_progress is None else lambda share: on_progress(share, "loading"),
    )
    draft: Drafter | None = None
    media: MediaReader | None = None
    try:
        _warm_up(backend)
        pace = Pace(target_s=options.gap_target_s, n_batch=backend.n_batch)
        calibrate(backend, pace)
        draft = open_drafter(spec, options, backend, on_progress=on_progress)
        media = open_media(spec, options, backend, n_context=backend.n_context_each, on_progress=on_progress)
        return _assemble(spec, options, backend, pace, draft, media)
    except BaseException:
        if media is not None:
            media.close()
        if draft is not None:
            draft.model.close()
        backend.close()
        backend.model.close()
        raise


def _assemble(
    spec: ModelSpec,
    options: Options,
    backend: Backend,
    pace: Pace,
    draft: Drafter | None,
    media: MediaReader,
) -> Loaded:
    chats = open_chats(spec, backend.model)
    info = _info(spec, backend, chats, media)
    saved = open_saved(options, backend, pace)
    may_guess = backend.can_fork and not spec.deterministic
    workspace = Workspace(info.n_vocab)
    runner = Runner(
        backend,
        Scheduler(_limits(spec, options, backend, saved), None if saved is None else saved.match),
        workspace,
        pace,
        clock=time.perf_counter,
        saved=saved,
        speculation=Speculation(pace.decode_s, draft) if may_guess else None,
    )
    intake = Intake(
        chats.reader,
        chats.forms,
        backend.adapters,
        n_context=info.n_context,
        n_vocab=info.n_vocab,
        copies=may_guess and options.speculation in ("auto", "lookup"),
        shares_media=not spec.deterministic,
    )
    return Loaded(backend, runner, intake, workspace, pace, info, media, saved, draft)


def _info(spec: ModelSpec, backend: Backend, chats: Chats, media: MediaReader) -> EngineInfo:
    model, vocabulary = backend.model, backend.model.vocabulary
    return EngineInfo(
        n_context=min(backend.n_context_each, model.n_context_train or backend.n_context_each),
        n_context_train=model.n_context_train,
        n_vocab=vocabulary.n_tokens,
        n_parallel=spec.parallel,
        has_chat_template=chats.has_template,
        has_infill=vocabulary.infill is not None,
        fingerprint=model.fingerprint(*_mode(spec, backend), media.identity),
        description=model.description,
        chat_template_error=chats.template_error,
        size_bytes=model.size_bytes,
        chat_format=chats.format_name,
        has_tools=chats.reader.traits.presents_tools,
        has_reasoning=chats.family is not None and chats.family.has_reasoning,
        has_vision=media.has_vision,
        has_audio=media.has_audio,
    )


def _limits(spec: ModelSpec, options: Options, backend: Backend, saved: SavedStates | None) -> Limits:
    saves_all = spec.projector is None or not backend.model.has_grids
    n_kept_share = options.n_kept_share(spec.gpu_layers, saves_all=saves_all)
    return Limits(
        n_context=backend.n_context,
        n_batch=backend.n_batch,
        n_slots=backend.n_sequences,
        n_running=spec.parallel,
        can_fork=backend.can_fork,
        is_pooled=backend.is_unified,
        is_dense=backend.can_fork and not backend.is_unified,
        is_exact=spec.deterministic,
        is_alone=spec.deterministic and computes_alone(backend),
        n_outputs=backend.n_outputs_max,
        n_scored=N_SCORED_ROWS_MAX,
        n_block=0 if saved is None else saved.n_block(backend),
        n_kept_max=int(n_kept_share * backend.n_context),
        max_queue=spec.max_queue,
        max_queue_tokens=spec.max_queue_tokens,
    )


def _mode(spec: ModelSpec, backend: Backend) -> list[str]:
    """What besides the weights decides the text of an answer."""
    template = spec.chat_template or backend.model.chat_template or ""
    versions = [version("llmatic"), version("llama-cpp-python")]
    deterministic = "deterministic" if spec.deterministic else ""
    return [template, *versions, backend.layout, deterministic, spec.chat_format or ""]


def _warm_up(backend: Backend) -> None:
    """Decode one token: a model that cannot is refused now, not at the first request."""
    vocabulary = backend.model.vocabulary
    token = next((t for t in (vocabulary.bos, vocabulary.eos) if t is not None), 0)
    if backend.decode([token], [0], [0], [0]) is not DecodeResult.DONE:
        raise ConfigError(f"'{backend.model.path}' was loaded but cannot decode a token")
    if not math.isfinite(float(backend.logits(0).max())):
        raise ConfigError(f"'{backend.model.path}' is damaged: its first token has no finite probabilities")
    backend.clear()
