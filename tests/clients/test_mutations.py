"""A short run of the random bodies of scripts/bench/mutations.py against the embedded model."""

import urllib.parse

import openai
import pytest

from scripts.bench import mutations, processes, random_bodies, random_inputs
from tests.clients.conftest import Server, is_ready

NUMBER = 100


def test_random_bodies_are_answered_or_refused_as_openai_does(server: Server) -> None:
    port = urllib.parse.urlsplit(server.url).port
    assert port is not None
    workers = processes.worker_pids(server.pid)
    found = mutations.fire(port, random_bodies.cases(seed=7, number=NUMBER))
    assert not found.words, "\n".join(found.words)
    assert found.total("sent") == NUMBER
    assert found.counts["sound", "200"] > NUMBER / 5
    assert found.counts["broken", "4xx"] > NUMBER / 10
    assert is_ready(server.url)
    assert processes.worker_pids(server.pid) == workers


@pytest.mark.parametrize("name", ["fake-embedder", "all-MiniLM-L6-v2"])
def test_random_inputs_are_embedded_or_refused(
    server: Server, client: openai.OpenAI, embedder: str, name: str
) -> None:
    port = urllib.parse.urlsplit(server.url).port
    assert port is not None
    client.embeddings.create(model=name, input="loaded now", encoding_format="float")
    workers = processes.worker_pids(server.pid)
    found = mutations.fire(port, random_inputs.cases(seed=7, number=NUMBER, model=name))
    assert not found.words, "\n".join(found.words)
    assert found.counts["sound", "200"] == found.counts["sound", "sent"] > NUMBER / 5
    assert found.counts["odd", "200"] > 0
    assert found.counts["broken", "4xx"] > NUMBER / 10
    assert is_ready(server.url)
    assert processes.worker_pids(server.pid) == workers


def test_the_same_seed_makes_the_same_bodies() -> None:
    first, again, other = (list(random_bodies.cases(seed, 30)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    inputs = [list(random_inputs.cases(seed, 30, "m")) for seed in (1, 1, 2)]
    assert inputs[0] == inputs[1] != inputs[2]
