import json
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.engines.sentence.files import Facts, read_facts

POOLING = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
DENSE = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def write(folder: Path, **files: Any) -> Path:
    """`config` is config.json, `pooling__config` is 1_Pooling/config.json."""
    names = {"pooling": "1_Pooling/config.json", "dense": "2_Dense/config.json"}
    for name, content in files.items():
        path = folder / names.get(name, f"{name}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def facts(folder: Path, **options: Any) -> Facts:
    return read_facts(folder, EncoderOptions(**options), "m")


def classifier(n_labels: int, **more: Any) -> dict[str, Any]:
    labels = {str(number): f"L{number}" for number in range(n_labels)}
    return {"architectures": ["BertForSequenceClassification"], "id2label": labels, **more}


def test_all_minilm(minilm_folder: Path) -> None:
    assert facts(minilm_folder) == Facts(
        "embed", n_columns=384, n_context=256, n_positions=512, n_vocab=30522, prompts={}
    )
    assert facts(minilm_folder, max_length=100).n_context == 100
    assert facts(minilm_folder, matryoshka=True).has_dimensions


@pytest.mark.parametrize(
    ("files", "task"),
    [
        ({"config": {}, "modules": MODULES}, "embed"),
        ({"config": {"architectures": ["BertModel"]}}, "embed"),
        ({"config": classifier(1)}, "rank"),
        ({"config": classifier(3)}, "classify"),
        ({"config": {"architectures": ["BertForSequenceClassification"]}}, "classify"),
        (
            {
                "config": {},
                "modules": MODULES,
                "config_sentence_transformers": {"model_type": "CrossEncoder"},
            },
            "rank",
        ),
    ],
)
def test_the_task_is_told_by_the_files(tmp_path: Path, files: dict[str, Any], task: str) -> None:
    write(tmp_path, **{"config": {"x": 1}} | {name: content or {"x": 1} for name, content in files.items()})
    assert facts(tmp_path).task == task
    assert facts(tmp_path, task="rank").task == "rank"


def test_a_model_that_writes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, config={"architectures": ["LlamaForCausalLM"]})
    with pytest.raises(ConfigError, match="LlamaForCausalLM, which writes text"):
        facts(tmp_path)
    assert facts(tmp_path, task="embed").task == "embed"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds neither"):
        facts(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json' cannot be read"):
        facts(tmp_path)
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not what its name says"):
        facts(tmp_path)


@pytest.mark.parametrize(
    ("pooling", "dense", "n_columns"),
    [
        (POOLING, None, 384),
        (POOLING | {"pooling_mode_cls_token": True}, None, 768),
        ({"embedding_dimension": 384, "pooling_mode": "mean"}, None, 384),
        ({"embedding_dimension": 384, "pooling_mode": ["mean", "max"]}, None, 768),
        (POOLING, {"in_features": 384, "out_features": 64}, 64),
    ],
)
def test_the_width_of_a_vector(tmp_path: Path, pooling: Any, dense: Any, n_columns: int) -> None:
    modules = [*MODULES, *([DENSE] if dense else [])]
    write(
        tmp_path,
        config={"hidden_size": 384},
        modules=modules,
        pooling=pooling,
        **({"dense": dense} if dense else {}),
    )
    assert facts(tmp_path).n_columns == n_columns


def test_classes(tmp_path: Path) -> None:
    write(tmp_path, config=classifier(2))
    assert facts(tmp_path) == Facts("classify", n_columns=2, labels=("L0", "L1"), prompts={})
    write(tmp_path, config=classifier(2, problem_type="multi_label_classification"))
    assert facts(tmp_path).is_multi_label
    write(tmp_path, config={"architectures": ["BertForSequenceClassification"]})
    assert facts(tmp_path).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("config", "own", "tokenizer", "n_context"),
    [
        ({"max_position_embeddings": 512}, {"max_seq_length": 128}, {}, 128),
        ({"max_position_embeddings": 512}, {}, {"model_max_length": 10**30}, 512),
        ({"max_position_embeddings": 512}, {}, {"model_max_length": 256}, 256),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, {}, {}, 512),
        ({"max_position_embeddings": -1}, {}, {}, None),
    ],
)
def test_the_longest_input(tmp_path: Path, config: Any, own: Any, tokenizer: Any, n_context: Any) -> None:
    write(tmp_path, config=config, sentence_bert_config=own, tokenizer_config=tokenizer)
    assert facts(tmp_path).n_context == n_context


def test_a_model_may_say_that_leading_components_are_of_use(tmp_path: Path) -> None:
    write(tmp_path, config={"matryoshka_dimensions": [32, 64]}, modules=MODULES)
    assert facts(tmp_path).has_dimensions
    assert not facts(tmp_path, matryoshka=False).has_dimensions


def test_prompts(tmp_path: Path) -> None:
    own = {"prompts": {"query": "q: ", "passage": "p: ", "sts": "s: "}, "default_prompt_name": "sts"}
    write(tmp_path, config={"x": 1}, modules=MODULES, config_sentence_transformers=own)
    assert facts(tmp_path).prompts == {"query": "q: ", "document": "p: ", "default": "s: "}
    assert facts(tmp_path, prompts={"query": "Q "}).prompts == {"query": "Q "}
    assert facts(tmp_path, prompts={}).prompts == {}
