import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.constraints.hostile import GRAMMARS

ROOT = Path(__file__).parents[3]

COMPILED = {
    "many values",
    "many properties",
    "many optional properties",
    "long string",
    "items of items",
    "nested counts",
    "blow-up",
    "choices of choices",
    "short chain",
    "ambiguous",
    "wide choice",
    "deep schema",
    "left recursion",
    "ambiguous rules",
    "negations",
    "many choices",
    "exponential automaton",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Tried in a process of their own, which a crash would end."""
    command = [sys.executable, "-m", "tests.engines.constraints.hostile"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_hostile_constraints_neither_crash_nor_pass_unnoticed(outcomes: dict[str, str]) -> None:
    assert outcomes.keys() == GRAMMARS.keys()
    assert set(outcomes.values()) <= {"compiled", "refused"}


def test_what_is_only_large_is_served(outcomes: dict[str, str]) -> None:
    assert {name for name in COMPILED if outcomes[name] != "compiled"} == set()
