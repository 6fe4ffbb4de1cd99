"""Pictures and sounds through the whole server: HTTP, worker process, engine."""

import base64
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.engines.llama.small_model import write_model
from tests.engines.llama.small_vision import N_ROWS, N_SOUND_ROWS, picture, wave, write_projector

PROGRAM = """
import json, sys
from llmatic.config import MediaSettings, ModelSpec, ServerSettings, Settings
from llmatic.server import run
model, projector, host = sys.argv[1:]
same = dict(source=model, engine="llama", context=1024, parallel=4, threads=1)
models = {"seeing": ModelSpec("seeing", projector=projector, **same), "blind": ModelSpec("blind", **same)}
media = MediaSettings(hosts=(host,), allow_private=True)
run(Settings(server=ServerSettings(port=0), media=media, models=models))
"""
TEXT = {"type": "text", "text": "what is this?"}


class Pages(http.server.BaseHTTPRequestHandler):
    """A site with one picture."""

    def do_GET(self) -> None:
        data = picture(1).data
        self.send_response(200 if self.path == "/one.png" else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, site: str) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("server")
    model, projector = write_model(folder / "m.gguf"), write_projector(folder / "p.gguf", audio="ultravox")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(model), str(projector), site],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"at (http://127\.0\.0\.1:\d+/v1)", process.stdout.readline())
        assert found
        with openai.OpenAI(base_url=found[1], api_key="none", max_retries=0) as client:
            yield client
    finally:
        process.kill()
        process.communicate()


def shown(data: bytes, **more: str) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url, **more}}


def ask(client: openai.OpenAI, *parts: Any, model: str = "seeing", **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0, **more)


def test_a_picture_is_looked_at_and_found_again(client: openai.OpenAI) -> None:
    first, again, other = (ask(client, TEXT, shown(picture(seed).data)) for seed in (1, 1, 2))
    assert first.choices[0].message.content == again.choices[0].message.content
    assert first.choices[0].message.content != other.choices[0].message.content
    details = again.usage.prompt_tokens_details
    assert details.image_tokens == N_ROWS
    assert details.cached_tokens == again.usage.prompt_tokens - 1
    assert other.usage.prompt_tokens_details.cached_tokens < other.usage.prompt_tokens - N_ROWS


def test_a_picture_from_an_address_is_the_same_picture(client: openai.OpenAI, site: str) -> None:
    direct = ask(client, TEXT, shown(picture(1).data))
    part = {"type": "image_url", "image_url": {"url": f"http://{site}/one.png"}}
    fetched = ask(client, TEXT, part)
    assert fetched.choices[0].message.content == direct.choices[0].message.content
    part = {"type": "image_url", "image_url": {"url": f"http://{site}/other.png"}}
    with pytest.raises(openai.BadRequestError, match="Upstream status code: 404"):
        ask(client, TEXT, part)


def test_a_sound_is_heard_in_a_stream(client: openai.OpenAI) -> None:
    part = {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(wave(1)).decode(), "format": "wav"},
    }
    chunks = list(ask(client, part, TEXT, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.prompt_tokens_details.audio_tokens == N_SOUND_ROWS
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_picture_beside_a_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    reply = ask(client, TEXT, shown(picture(1).data), response_format=wanted)
    assert json.loads(reply.choices[0].message.content)["a"] in (1, 2)


@pytest.mark.parametrize(
    ("parts", "model", "message"),
    [
        ([TEXT, shown(picture(1).data)], "blind", "image_url is only supported by certain models"),
        ([TEXT, shown(b"\x89PNG\r\n\x1a\nnothing")], "seeing", "unsupported image"),
        ([TEXT, shown(b"no picture at all")], "seeing", "unsupported image"),
        (
            [TEXT, {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}],
            "seeing",
            "not allowed here",
        ),
        ([TEXT, {"type": "media", "index": 0}], "seeing", "Supported values are"),
    ],
    ids=["blind", "damaged", "no picture", "other host", "media"],
)
def test_refusals(client: openai.OpenAI, parts: list[Any], model: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        ask(client, *parts, model=model)


def test_capabilities_tell(client: openai.OpenAI) -> None:
    ask(client, TEXT)
    extra: Any = client.models.retrieve("seeing").model_extra
    assert extra["capabilities"]["vision"] is True
    assert extra["capabilities"]["audio"] is True
