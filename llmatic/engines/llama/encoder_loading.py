"""Putting a GGUF encoder's parts together.

Owns the order of loading: header, options, file, contexts, one computed text. Blocks; keeps nothing.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError, EngineFailed
from llmatic.core.types import EncoderInfo, EncodeTask, EngineInfo
from llmatic.engines.encoding.backend import Item
from llmatic.engines.encoding.engine import EncoderEngine
from llmatic.engines.encoding.inputs import InputReader
from llmatic.engines.encoding.vocabularies import open_vocabulary
from llmatic.engines.llama.encoder import LlamaEncoder, Parts
from llmatic.engines.llama.encoder_context import EncoderContexts
from llmatic.engines.llama.encoder_options import GgufEncoderOptions, pooling_of, read_options
from llmatic.engines.llama.encoder_tokenizer import EncoderTokenizer
from llmatic.engines.llama.memory import total_bytes
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.rank_template import read_rank_template
from llmatic.engines.llama.threads import default_threads
from llmatic.folders import check_sha256
from llmatic.gguf_header import ENCODERS, GgufHeader

_N_ALWAYS = 512
_F32_BYTES, _F16_BYTES = 4, 2
_RANK_TEMPLATE = "tokenizer.chat_template.rerank"
_SOFTMAX_INSIDE = ("qwen3", "qwen3vl")


def load_encoder(
    spec: ModelSpec,
    path: Path,
    header: GgufHeader,
    task: EncodeTask,
    on_progress: Callable[[float | None, str], None] | None = None,
) -> EncoderEngine:
    """The engine of a file that is there. Raises ConfigError."""
    options = read_options(spec)
    if options.encoder.sha256:
        check_sha256(path.parent, options.encoder.sha256, spec.id)
    backend = open_encoder(
        spec,
        options,
        path,
        header,
        task,
        on_progress=None if on_progress is None else lambda share: on_progress(share, "loading"),
    )
    return EncoderEngine(spec, backend, batch_tokens=options.encoder.batch_tokens)


def open_encoder(
    spec: ModelSpec,
    options: GgufEncoderOptions,
    path: Path,
    header: GgufHeader,
    task: EncodeTask,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> LlamaEncoder:
    """Load the file and compute one text. Raises ConfigError: no such model, no memory, damaged weights."""
    pooling = pooling_of(spec, options, header, task)
    model = Model(path, options.loading, n_gpu_layers=spec.gpu_layers, on_progress=on_progress, encodes=True)
    contexts: EncoderContexts | None = None
    try:
        is_causal = _is_causal(model, header, pooling)
        n_context = _n_context(options, model, is_causal=is_causal)
        contexts = EncoderContexts(
            model,
            options.loading,
            n_context=n_context,
            n_rows=options.n_rows,
            pooling=pooling,
            n_columns=model.n_classes if pooling == "rank" else model.n_embd_out,
            n_threads=spec.threads or default_threads(),
            is_causal=is_causal,
        )
        encoder = _assemble(spec, options, header, task, model, contexts, n_context)
        _warm_up(encoder, path)
        return encoder
    except BaseException:
        if contexts is not None:
            contexts.close()
        model.close()
        raise


def _assemble(
    spec: ModelSpec,
    options: GgufEncoderOptions,
    header: GgufHeader,
    task: EncodeTask,
    model: Model,
    contexts: EncoderContexts,
    n_context: int,
) -> LlamaEncoder:
    source = model.metadata(_RANK_TEMPLATE) if task == "rank" else None
    template = read_rank_template(source, model.vocabulary.special_pattern) if source else None
    prompts = dict(options.encoder.prompts or {})
    tokenizer = EncoderTokenizer(model, template)
    n_special = max(tokenizer.frame.n_single, tokenizer.frame.n_pair if task == "rank" else 0)
    if n_context <= n_special:
        raise ConfigError(
            f"model '{spec.id}': a context of {n_context} tokens is too small: {n_special} are special ones"
        )
    reader = InputReader(
        tokenizer,
        options.encoder,
        model_id=spec.id,
        n_context=n_context,
        prompts=prompts,
        vocabulary=open_vocabulary(options.encoder, spec.id),
    )
    info = EngineInfo(
        n_context=n_context,
        n_context_train=model.n_context_train,
        n_vocab=model.vocabulary.n_tokens,
        n_parallel=spec.parallel,
        has_chat_template=False,
        has_infill=False,
        fingerprint=model.fingerprint(str(options.pooling), str(options.normalize)),
        description=model.description,
        size_bytes=model.size_bytes,
        encoder=EncoderInfo(
            task=task,
            n_columns={"embed": model.n_embd_out, "rank": 1, "classify": len(header.labels)}[task],
            labels=header.labels if task == "classify" else (),
            has_dimensions=bool(options.encoder.matryoshka),
            prompts=prompts,
            backend="llama.cpp",
            precision=header.quantization,
        ),
        writes=False,
    )
    return LlamaEncoder(
        Parts(model, contexts, reader, template, info),
        has_probabilities=header.architecture in _SOFTMAX_INSIDE,
        normalizes=options.normalize,
    )


def _is_causal(model: Model, header: GgufHeader, pooling: str) -> bool:
    """Whether the last token's row is made of the tokens before it alone, so that texts can be cut."""
    if header.architecture in ENCODERS or pooling not in ("last", "rank"):
        return False
    return model.metadata(f"{header.architecture}.attention.causal") != "false"


def _n_context(options: GgufEncoderOptions, model: Model, *, is_causal: bool) -> int:
    """The longest text: what was learnt or is wished for, as far as half the machine's memory goes.

    Of a text that is computed in one call llama.cpp keeps room for logits, of others the keys and values.
    """
    n_learnt = model.n_context_train or _N_ALWAYS
    if options.encoder.max_length is not None:
        return min(n_learnt, options.encoder.max_length)
    a_token = model.vocabulary.n_tokens * _F32_BYTES
    if is_causal:
        a_token = 2 * model.n_layers * model.n_embd * _F16_BYTES
    return min(n_learnt, max(_N_ALWAYS, total_bytes() // 2 // a_token))


def _warm_up(encoder: LlamaEncoder, path: Path) -> None:
    """Compute one text: a file that cannot is refused now, not at the first request."""
    token = min(100, encoder.info.n_vocab - 1)
    try:
        row = encoder.compute([Item([token, token])])
    except EngineFailed as error:
        raise ConfigError(f"'{path}' was loaded but cannot compute a text: {error.message}") from error
    if not np.isfinite(row).all():
        raise ConfigError(f"'{path}' is damaged: a text's numbers are not finite")
