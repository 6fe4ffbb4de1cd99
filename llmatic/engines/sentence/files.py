"""What the files of a model's folder say of it, without loading anything.

Owns the reading of config.json, modules.json and their neighbours, as sentence-transformers and transformers
write them. The standard library only: the server process calls it for models that are not loaded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmatic.core.errors import ConfigError
from llmatic.core.types import EncodeTask
from llmatic.engines.encoding.options import EncoderOptions

# Their position table begins behind the padding token's id.
_OFFSET_FAMILIES = (
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
)
_WRITERS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
_DOCUMENT_NAMES = ("document", "passage", "corpus")
UNLIMITED = 1 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files tell. None: they do not.

    `n_context`: the longest input in tokens. `prompts`: by input type; "default" is what comes before texts
    without one. `has_dimensions`: leading components of a vector are of use alone.
    """

    task: EncodeTask
    n_columns: int | None = None
    labels: tuple[str, ...] = ()
    is_multi_label: bool = False
    n_context: int | None = None
    n_positions: int | None = None
    n_vocab: int | None = None
    has_dimensions: bool = False
    prompts: Mapping[str, str] | None = None


def read_facts(folder: Path, options: EncoderOptions, model_id: str) -> Facts:
    """What the folder holds, as far as its files tell. Raises ConfigError if it is no encoder's."""
    config = read_json(folder / "config.json")
    own = read_json(folder / "config_sentence_transformers.json")
    modules = read_json(folder / "modules.json", is_list=True)
    if not config and not modules:
        raise ConfigError(f"model '{model_id}': '{folder}' holds neither config.json nor modules.json")
    n_labels = _n_labels(config)
    task = options.task or _task(config, own, bool(modules), n_labels, folder, model_id)
    n_positions = _n_positions(config)
    is_classifier = task == "classify"
    return Facts(
        task,
        n_columns=n_labels if is_classifier else 1 if task == "rank" else _width(folder, config, modules),
        labels=_labels(config, n_labels) if is_classifier else (),
        is_multi_label=is_classifier and _is_multi_label(config, n_labels),
        n_context=_n_context(folder, n_positions, options.max_length),
        n_positions=n_positions,
        n_vocab=config.get("vocab_size"),
        has_dimensions=task == "embed" and _has_dimensions(config, own, options),
        prompts=_prompts(own, options) if task == "embed" else {},
    )


def read_json(path: Path, *, is_list: bool = False) -> Any:
    """The file's object or list; an empty one if there is none. Raises ConfigError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [] if is_list else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{path}' cannot be read: {error}") from error
    if not isinstance(found, list if is_list else dict):
        raise ConfigError(f"'{path}' is not what its name says")
    return found


def _task(
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    is_chain: bool,
    n_labels: int,
    folder: Path,
    model_id: str,
) -> EncodeTask:
    if own.get("model_type") == "CrossEncoder":
        return "rank"
    if is_chain:
        return "embed"
    kinds = [str(name) for name in config.get("architectures") or ()]
    if any(kind.endswith("ForSequenceClassification") for kind in kinds):
        return "rank" if n_labels == 1 else "classify"
    if any(kind.endswith(_WRITERS) for kind in kinds):
        raise ConfigError(
            f"model '{model_id}': '{folder}' holds {kinds[0]}, which writes text; the engine 'sentence' "
            "takes models that turn texts into numbers (option 'task' overrules this)"
        )
    return "embed"


def _n_labels(config: Mapping[str, Any]) -> int:
    """transformers leaves its default, two labels without names, out of the file."""
    return len(config.get("id2label") or ()) or int(config.get("num_labels") or 2)


def _labels(config: Mapping[str, Any], n_labels: int) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    return tuple(str(names.get(str(number), f"LABEL_{number}")) for number in range(n_labels))


def _is_multi_label(config: Mapping[str, Any], n_labels: int) -> bool:
    return config.get("problem_type") == "multi_label_classification" or n_labels == 1


def _width(folder: Path, config: Mapping[str, Any], modules: list[Any]) -> int | None:
    """Columns of a vector: those of the last dense layer, else of the pooling, else of the transformer."""
    width: Any = config.get("hidden_size") or config.get("dim") or config.get("d_model")
    for module in modules:
        if not isinstance(module, dict) or not module.get("path"):
            continue
        settings = read_json(folder / str(module["path"]) / "config.json")
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Dense":
            width = settings.get("out_features", width)
        elif kind == "Pooling":
            width = _pooled(settings, width)
    return width if isinstance(width, int) else None


def _pooled(settings: Mapping[str, Any], width: Any) -> Any:
    each = settings.get("word_embedding_dimension") or settings.get("embedding_dimension") or width
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [
            name for name, is_on in settings.items() if name.startswith("pooling_mode_") and is_on is True
        ]
    n_modes = len(modes) if isinstance(modes, list) else 1
    return each * max(1, n_modes) if isinstance(each, int) else None


def _n_positions(config: Mapping[str, Any]) -> int | None:
    found = config.get("max_position_embeddings")
    if not isinstance(found, int) or found < 1:
        return None
    if config.get("model_type") in _OFFSET_FAMILIES:
        pad = config.get("pad_token_id")
        return found - (pad if isinstance(pad, int) else 1) - 1
    return found


def _n_context(folder: Path, n_positions: int | None, wanted: int | None) -> int | None:
    if wanted is not None:
        return wanted
    own = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if not isinstance(own, int):
        own = read_json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [limit for limit in (own, n_positions) if isinstance(limit, int) and 0 < limit < UNLIMITED]
    return min(limits, default=None)


def _has_dimensions(config: Mapping[str, Any], own: Mapping[str, Any], options: EncoderOptions) -> bool:
    if options.matryoshka is not None:
        return options.matryoshka
    return bool(config.get("matryoshka_dimensions") or own.get("matryoshka_dimensions"))


def _prompts(own: Mapping[str, Any], options: EncoderOptions) -> dict[str, str]:
    """Those of the registry, else the model's own: its names for documents differ."""
    if options.prompts is not None:
        return dict(options.prompts)
    given = own.get("prompts")
    named = given if isinstance(given, Mapping) else {}
    document = next((named[name] for name in _DOCUMENT_NAMES if named.get(name)), "")
    found = {
        "query": named.get("query") or "",
        "document": document,
        "default": named.get(own.get("default_prompt_name") or "") or "",
    }
    return {name: text for name, text in found.items() if isinstance(text, str) and text}
