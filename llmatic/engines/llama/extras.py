"""What a model may be served with besides itself: a store of saved states, a model that drafts.

Owns their opening. Runs in the engine's thread while the model is loaded.
"""

import logging
import time
from importlib.metadata import version
from pathlib import Path

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.llama.backend import Backend, DecodeResult, open_backend
from llmatic.engines.llama.calibration import calibrate
from llmatic.engines.llama.drafting.model import ModelDrafter, check_vocabulary
from llmatic.engines.llama.media.projector import Projector
from llmatic.engines.llama.media.reader import MediaLimits, MediaReader
from llmatic.engines.llama.memory import total_bytes
from llmatic.engines.llama.options import Options
from llmatic.engines.llama.pace import Pace
from llmatic.engines.llama.saved import SavedStates
from llmatic.engines.llama.speculation import Drafter
from llmatic.engines.llama.threads import default_threads
from llmatic.engines.llama.tiers.codec import Codec, SlicedCodec, WholeCodec
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.layout import UnknownFormat
from llmatic.engines.llama.tiers.store import StateStore
from llmatic.hub import Progress
from llmatic.sources import cache_dir, locate_draft, locate_projector

_LOG = logging.getLogger(__name__)
RAM_SHARE = 8
RAM_MAX_BYTES = 8 << 30
N_PROBED = 8


def open_saved(options: Options, backend: Backend, pace: Pace) -> SavedStates | None:
    """Somewhere to save states to; None if that is switched off or their format is not understood."""
    ram_bytes = options.cache_ram_bytes
    if ram_bytes is None:
        ram_bytes = min(RAM_MAX_BYTES, total_bytes() // RAM_SHARE)
    if not ram_bytes and not options.cache_disk_bytes:
        return None
    codec = _probe(backend)
    if codec is None:
        return None
    disk = None
    if options.cache_disk_bytes:
        folder = Path(options.cache_dir).expanduser() if options.cache_dir else cache_dir() / "states"
        key = backend.model.fingerprint(backend.layout, codec.layout_key, version("llama-cpp-python"))
        try:
            disk = DiskStore(folder, key, max_bytes=options.cache_disk_bytes)
        except ConfigError as error:
            _LOG.warning("computed prompts will not be saved to disk: %s", error.message)
    store = StateStore(codec, ram_bytes=ram_bytes, disk=disk)
    return SavedStates(store, clock=time.time, prompt_s=lambda: pace.prefill_s(64, 0) / 64)


def open_drafter(
    spec: ModelSpec, options: Options, backend: Backend, *, on_progress: Progress | None = None
) -> Drafter | None:
    """The model that drafts for this one, if there is one and it is wanted. Raises ConfigError."""
    if options.speculation == "draft" and spec.draft_source is None:
        raise ConfigError(f"model '{spec.id}': speculation 'draft' needs a model to draft: set 'draft'")
    if options.speculation not in ("auto", "draft") or not backend.can_fork or spec.deterministic:
        return None
    path = locate_draft(spec, on_progress=on_progress)
    if path is None:
        return None
    draft = open_backend(
        path,
        options,
        n_gpu_layers=spec.gpu_layers,
        n_context=backend.n_context,
        n_running=spec.parallel,
        n_threads=spec.threads or default_threads(),
    )
    try:
        n_vocab = check_vocabulary(backend.model.vocabulary, draft.model.vocabulary)
        pace = Pace(target_s=None, n_batch=draft.n_batch)
        calibrate(draft, pace)
        return Drafter(ModelDrafter(draft, n_vocab), pace.decode_s)
    except BaseException:
        draft.close()
        draft.model.close()
        raise


def open_media(
    spec: ModelSpec,
    options: Options,
    backend: Backend,
    *,
    n_context: int,
    on_progress: Progress | None = None,
) -> MediaReader:
    """What reads pictures and sounds, or refuses them. Raises ConfigError."""
    path = locate_projector(spec, on_progress=on_progress)
    n_spare = default_threads() - (spec.threads or default_threads())
    projector = None
    if path is not None:
        projector = Projector(
            path,
            backend.model,
            n_threads=max(1, n_spare),
            uses_gpu=spec.gpu_layers != 0,
            max_rows=options.image_max_tokens,
        )
    limits = MediaLimits(
        n_rows=n_context,
        n_whole=backend.n_whole,
        max_pixels=options.image_max_pixels,
        max_audio_s=options.audio_max_s,
        cache_bytes=options.media_cache_bytes,
    )
    return MediaReader(projector, limits)


def _probe(backend: Backend) -> Codec | None:
    """A codec that has understood a state of this cache. Leaves the cache empty."""
    codec: Codec = SlicedCodec() if backend.can_fork else WholeCodec()
    n_tokens = min(N_PROBED, backend.n_batch, backend.n_context_each)
    try:
        rows = list(range(n_tokens))
        if backend.decode([0] * n_tokens, rows, [0] * n_tokens, [n_tokens - 1]) is not DecodeResult.DONE:
            return None
        codec.probe(backend.save(0), n_tokens)
    except UnknownFormat as error:
        _LOG.warning("computed prompts will not be saved: %s", error.message)
        return None
    finally:
        backend.clear()
    return codec
