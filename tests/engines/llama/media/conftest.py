"""Small models that see or hear, one of each kind per session."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines.llama.small_model import write_model
from tests.engines.llama.small_vision import write_projector


@dataclass(frozen=True, slots=True)
class Seeing:
    """A model and its projector."""

    path: Path
    projector: Path


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seeing]:
    folder = tmp_path_factory.mktemp("seeing")
    plain = write_model(folder / "plain.gguf")
    grid = write_model(folder / "grid.gguf", arch="qwen2vl", rope_sections=(4, 2, 2, 0))
    return {
        "mlp": Seeing(plain, write_projector(folder / "mlp.gguf")),
        "gemma3": Seeing(plain, write_projector(folder / "gemma3.gguf", vision="gemma3")),
        "qwen2vl_merger": Seeing(grid, write_projector(folder / "grid-mm.gguf", vision="qwen2vl_merger")),
        "ultravox": Seeing(plain, write_projector(folder / "ears.gguf", vision=None, audio="ultravox")),
        "both": Seeing(plain, write_projector(folder / "both.gguf", audio="ultravox")),
    }
