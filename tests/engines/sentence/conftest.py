from pathlib import Path

import pytest

from tests.engines.sentence.models import make_classifier, make_ranker, minilm

MOODS = {
    "joy": [
        "I am so happy today",
        "what a wonderful surprise",
        "this made me smile",
        "we laughed and danced",
    ],
    "anger": ["this makes me furious", "I hate waiting here", "how dare you", "he shouted in rage"],
    "sadness": [
        "I feel so lonely",
        "she cried all night",
        "we miss him terribly",
        "a gloomy, tearful farewell",
    ],
}


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    pytest.importorskip("sentence_transformers")
    return minilm()


@pytest.fixture(scope="session")
def ranker_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ranker(tmp_path_factory.mktemp("ranker"))


@pytest.fixture(scope="session")
def classifier_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"), MOODS)


@pytest.fixture(scope="session")
def multi_label_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("multi-label"), MOODS, is_multi_label=True)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory that all tests of this folder share, so that each model is converted once."""
    return tmp_path_factory.mktemp("cache")
