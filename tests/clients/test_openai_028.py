"""openai 0.28 cannot be installed beside 3.x: a script runs in an environment of its own (see scripts/test)."""

import json
import os
import subprocess

import pytest

from tests.clients.conftest import Server

SCRIPT = """
import json, sys, openai
openai.api_base, openai.api_key = sys.argv[1], "sk-local"
out = {}
out["engines"] = [e.id for e in openai.Engine.list().data]
out["engine"] = openai.Engine.retrieve("llmatic-tiny").id
out["models"] = [m.id for m in openai.Model.list().data]
out["completion"] = openai.Completion.create(model="llmatic-tiny", prompt="Say this is a test", max_tokens=8).choices[0].text
out["by_engine"] = openai.Completion.create(engine="llmatic-tiny", prompt="2 + 2 =", max_tokens=4, n=2).usage.to_dict()
chat = dict(model="llmatic-tiny", messages=[{"role": "user", "content": "Say this is a test"}], temperature=0)
out["chat"] = openai.ChatCompletion.create(**chat).choices[0].message.content
out["stream"] = "".join(c.choices[0].delta.get("content", "") for c in openai.ChatCompletion.create(stream=True, **chat))
try:
    openai.ChatCompletion.create(**dict(chat, temperature=3))
except openai.error.InvalidRequestError as error:
    out["error"] = [error.http_status, error.param]
print(json.dumps(out))
"""


def test_the_old_sdk_works_unchanged(server: Server) -> None:
    python = os.environ.get("LLMATIC_OPENAI_028_PYTHON")
    if not python:
        pytest.skip("needs LLMATIC_OPENAI_028_PYTHON, a Python with openai 0.28 (scripts/test makes one)")
    run = subprocess.run(
        [python, "-c", SCRIPT, server.base_url], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert "llmatic-tiny" in out["engines"]
    assert out["engine"] == "llmatic-tiny"
    assert "llmatic-tiny" in out["models"]
    assert out["completion"]
    assert out["by_engine"]["completion_tokens"] <= 8
    assert "this is a test" in out["chat"].lower()
    assert out["stream"] == out["chat"]
    assert out["error"] == [400, "temperature"]
