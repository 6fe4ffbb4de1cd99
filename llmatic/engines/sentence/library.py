"""Loading a model with sentence-transformers or transformers, as one torch module from token ids to rows.

Owns every import of the two libraries, what they are told, and which of their models are refused. Never uses
the network and never runs code that a model's folder brings. Runs where the model is loaded, and blocks.
"""

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmatic.core.errors import ConfigError
from llmatic.engines.sentence.computing import Shape
from llmatic.engines.sentence.files import UNLIMITED, Facts

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_LIBRARIES = ("torch", "transformers", "sentence_transformers", "huggingface_hub")
_EMBEDDING_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
_RANKING_MODULES = ("Transformer", "Pooling", "Dense", "LayerNorm", "Dropout")
_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A loaded model. `module(*columns)`: an int64 tensor [n, length] for each of `shape.columns` -> rows."""

    module: Any
    shape: Shape


def load_torch_model(folder: Path, facts: Facts, *, device: str, model_id: str) -> TorchModel:
    """Load the folder's model in f32 and set it up for inference. Raises ConfigError."""
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    load = {"embed": _load_embedder, "rank": _load_ranker, "classify": _load_classifier}[facts.task]
    try:
        with _offline():
            import transformers

            transformers.utils.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            return load(folder, facts, device, model_id)
    except ConfigError:
        raise
    except Exception as error:  # whatever the libraries raise for a folder that they cannot load
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name in _LIBRARIES:
            raise ConfigError(
                f"model '{model_id}': {said}. The engine 'sentence' needs torch, transformers and "
                'sentence-transformers: pip install "llmatic[embeddings]"'
            ) from error
        raise ConfigError(f"model '{model_id}': '{folder}' cannot be loaded: {said}") from error


@contextmanager
def _offline() -> Iterator[None]:
    """No network, whatever the libraries look for; `llmatic.hub` may have it again afterwards."""
    from huggingface_hub import constants

    before = {name: os.environ.get(name) for name in _OFFLINE}
    was_offline = constants.HF_HUB_OFFLINE
    os.environ.update(_OFFLINE)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _load_embedder(folder: Path, facts: Facts, device: str, model_id: str) -> TorchModel:
    from sentence_transformers import SentenceTransformer

    from llmatic.engines.sentence.modules import chain

    model = SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=False)
    kinds = _checked_kinds(list(model), _EMBEDDING_MODULES, model_id)
    if facts.prompts and any(
        kind == "Pooling" and not module.include_prompt for kind, module in zip(kinds, model, strict=True)
    ):
        raise ConfigError(
            f"model '{model_id}': its pooling leaves its prompts out, which is not supported; set option "
            "'prompts' to {} to use it without prompts"
        )
    tokenizer = _checked_tokenizer(model.tokenizer, model[0], model_id)
    module = chain(list(model), "sentence_embedding")
    return _described(module, tokenizer, model[0].model)


def _load_ranker(folder: Path, _facts: Facts, device: str, model_id: str) -> TorchModel:
    from sentence_transformers import CrossEncoder

    from llmatic.engines.sentence.modules import chain, score_activation

    model = CrossEncoder(str(folder), device=device, local_files_only=True, trust_remote_code=False)
    _checked_kinds(list(model), _RANKING_MODULES, model_id)
    if model.num_labels != 1:
        raise ConfigError(
            f"model '{model_id}': a model that ranks has one output, this one has {model.num_labels}; "
            "its task may be 'classify'"
        )
    if any((model.prompts or {}).values()):
        raise ConfigError(f"model '{model_id}': rankers with prompts of their own are not supported")
    tokenizer = _checked_tokenizer(model.tokenizer, model[0], model_id)
    module = chain(list(model), "scores", score_activation(model.activation_fn))
    return _described(module, tokenizer, model[0].model)


def _load_classifier(folder: Path, facts: Facts, device: str, model_id: str) -> TorchModel:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from llmatic.engines.sentence.modules import classifier

    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model, report = AutoModelForSequenceClassification.from_pretrained(
        str(folder), output_loading_info=True, dtype="float32", **offline
    )
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"model '{model_id}': '{folder}' has no weights for {missing[0]}: it is no classifier"
        )
    tokenizer = _checked_tokenizer(AutoTokenizer.from_pretrained(str(folder), **offline), None, model_id)
    module = classifier(model.to(device), is_multi_label=facts.is_multi_label)
    return _described(module, tokenizer, model)


def _checked_kinds(modules: list[Any], known: tuple[str, ...], model_id: str) -> list[str]:
    kinds = [type(module).__name__ for module in modules]
    odd = next((kind for kind in kinds if kind not in known), None)
    if odd is None and kinds[:1] != ["Transformer"]:
        odd = kinds[0] if kinds else "nothing"
    if odd is not None:
        raise ConfigError(
            f"model '{model_id}': its module {odd} is not supported; the engine 'sentence' computes chains "
            f"of {', '.join(known)} that begin with a Transformer"
        )
    return kinds


def _checked_tokenizer(tokenizer: Any, transformer: Any, model_id: str) -> Any:
    if transformer is not None and "text" not in transformer.modality_config:
        found = ", ".join(str(name) for name in transformer.modality_config) or "nothing"
        raise ConfigError(f"model '{model_id}': it does not read plain text but {found}")
    if tokenizer is None or not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"model '{model_id}': it has no fast tokenizer (a tokenizer.json), and others are not supported"
        )
    return tokenizer


def _described(module: Any, tokenizer: Any, transformer: Any) -> TorchModel:
    import torch

    made = tokenizer("a")
    taken = inspect.signature(transformer.forward).parameters
    columns = tuple(name for name in _COLUMNS if name in made and name in taken)
    module.eval()
    with torch.inference_mode():
        probe = torch.ones((1, 3), dtype=torch.int64, device=next(module.parameters()).device)
        n_columns = int(module(*[probe] * len(columns)).shape[1])
    pad_id = tokenizer.pad_token_id
    if pad_id is None:
        pad_id = getattr(transformer.config, "pad_token_id", None)
    shape = Shape(
        columns=columns,
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        pad_id=int(pad_id or 0),
        n_context=min(int(tokenizer.model_max_length or UNLIMITED), UNLIMITED),
        n_vocab=int(transformer.get_input_embeddings().weight.shape[0]),
        n_columns=n_columns,
    )
    return TorchModel(module, shape)
