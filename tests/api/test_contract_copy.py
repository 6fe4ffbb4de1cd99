from pathlib import Path
from typing import Any

import pytest

from llmatic.api.contract_copy import COPY_FILE, parsed
from llmatic.app import contract_path
from tests.contract_check import document

RAW = b"openapi: 3.1.0\npaths: {}\n"
READ = {"openapi": "3.1.0", "paths": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there yet"


def without_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the YAML was read again")

    monkeypatch.setattr("yaml.load", refuse)


def test_the_copy_says_what_the_document_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = contract_path().read_bytes()
    assert parsed(raw, folder) == document()
    without_yaml(monkeypatch)
    assert parsed(raw, folder) == document()


def test_there_is_one_file(folder: Path) -> None:
    parsed(RAW, folder)
    parsed(RAW + b"info: {}\n", folder)
    assert [path.name for path in folder.iterdir()] == [COPY_FILE]


def test_another_document_is_read_anew(folder: Path) -> None:
    parsed(RAW, folder)
    assert parsed(RAW + b"info: {}\n", folder) == {**READ, "info": {}}
    assert parsed(RAW, folder) == READ


@pytest.mark.parametrize("damage", [b"", b"\n", b"{}", b"\x00" * 200, b"0" * 64 + b" " + b"0" * 64 + b"\n{}"])
def test_a_damaged_copy_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    parsed(RAW, folder)
    whole = (folder / COPY_FILE).read_bytes()
    (folder / COPY_FILE).write_bytes(damage)
    assert parsed(RAW, folder) == READ
    assert (folder / COPY_FILE).read_bytes() == whole
    without_yaml(monkeypatch)
    assert parsed(RAW, folder) == READ


def test_a_changed_copy_is_not_believed(folder: Path) -> None:
    parsed(RAW, folder)
    copy = folder / COPY_FILE
    copy.write_bytes(copy.read_bytes().replace(b"paths", b"paTHs"))
    assert parsed(RAW, folder) == READ


def test_a_folder_that_cannot_be_had_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert parsed(RAW, tmp_path / "file" / "below") == READ
    (tmp_path / COPY_FILE).mkdir()
    assert parsed(RAW, tmp_path) == READ
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(f"{COPY_FILE}-")] == []


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parsed(RAW, None) == READ
    assert list(tmp_path.iterdir()) == []
