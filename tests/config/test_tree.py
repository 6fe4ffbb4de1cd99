"""Files that are no configuration at all: one sentence each, with the line where there is one."""

from pathlib import Path

import pytest

from llmatic.config import load_settings
from llmatic.core.errors import ConfigError

BOMB = "a: &a [x, x]\n" + "".join(f"b{k}: &b{k} [*{'a' if k == 0 else f'b{k - 1}'}]\n" for k in range(30))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty; write a configuration or remove it to use the defaults"),
        (b"# nothing\n", ": the file is empty; write a configuration or remove it to use the defaults"),
        (b"just words", ":1: expected sections such as 'server:' and 'models:', found the text 'just words'"),
        (b"- a\n", ":1: expected sections such as 'server:' and 'models:', found a list"),
        (b"server:\n  host: caf\xe9\n", ":2: not UTF-8 text (byte 0xe9)"),
        (b"server:\n\thost: x\n", ":2: a tab cannot indent YAML; use spaces"),
        (b"server:\n  port: 1\n  host: x\n  port: 2\n", ":4: the key 'port' is there twice; the first is on line 2"),
        (b"server: {}\nserver: {}\n", ":2: the key 'server' is there twice; the first is on line 1"),
        (BOMB.encode(), ":2: aliases (*a) are not supported; write the value out"),
        (b"server: !!python/object:os.system {}", ":1: the YAML tag tag:yaml.org,2002:python/object:os.system is not supported"),
        (b"server: !own 1", ":1: the YAML tag !own is not supported"),
        (b"? [a, b]\n: 1\n", ":1: a key must be plain text"),
        (b"a: 1\n---\nb: 2\n", ":2: no YAML: but found another document (expected a single document in the stream)"),
        (b"server: [1, 2", ":1: no YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)"),
        (b"x: " + b"[" * 100_000, ":1: nested more than 32 levels deep"),
        (b"x: " + b"[" * 40 + b"]" * 40, ":1: nested more than 32 levels deep"),
        (b"x: \x00", ":1: holds a NUL character"),
        (b"x: \x07", ": no YAML: unacceptable character #x0007: special characters are not allowed"),
        (b"x" * 1_000_001, ": larger than 1000000 bytes"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert caught.value.message == f"{path}{message}"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfserver: {port: 7}")
    assert load_settings(path, {}).server.port == 7


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file or directory"):
        load_settings(tmp_path / "missing.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})
