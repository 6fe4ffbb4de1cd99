"""Files and uploads with the official SDK against a real server process."""

import io
from pathlib import Path
from typing import Any, cast

import openai

from tests.clients.conftest import Server

LINES = b'{"text": "Puppy A is happy."}\n{"text": "Puppy B is sad."}\n'


def test_a_file_from_birth_to_death(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "щенки.jsonl"
    path.write_bytes(LINES)
    made = client.files.create(file=path, purpose="user_data")
    assert (made.filename, made.bytes) == ("щенки.jsonl", len(LINES))
    assert client.files.wait_for_processing(made.id, poll_interval=0.01).status == "processed"
    assert made.id in [file.id for file in client.files.list(purpose="user_data", limit=1)]
    client.files.content(made.id).write_to_file(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LINES
    assert client.files.delete(made.id).deleted


def test_a_stream_of_unknown_length(client: openai.OpenAI) -> None:
    class Pipe(io.RawIOBase):
        left = 3_000_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            n = min(len(buffer), self.left)
            buffer[:n] = b"x" * n
            self.left -= n
            return n

    made = client.files.create(file=("pipe", io.BufferedReader(cast(Any, Pipe()))), purpose="user_data")
    assert made.bytes == 3_000_000
    client.files.delete(made.id)


def test_an_upload_in_chunks(client: openai.OpenAI) -> None:
    data = LINES * 1000
    done = client.uploads.upload_file_chunked(
        file=data,
        filename="a.jsonl",
        bytes=len(data),
        mime_type="text/jsonl",
        purpose="user_data",
        part_size=9_999,
    )
    assert done.file is not None
    assert client.files.content(done.file.id).read() == data
    client.files.delete(done.file.id)


async def _async_round_trip(base_url: str) -> bytes:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-local", max_retries=0) as client:
        made = await client.files.create(file=LINES, purpose="user_data")
        content = (await client.files.content(made.id)).read()
        await client.files.delete(made.id)
        return content


def test_the_async_client(server: Server) -> None:
    import asyncio

    assert asyncio.run(_async_round_trip(server.base_url)) == LINES
