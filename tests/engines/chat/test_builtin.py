"""Where a template's text comes from."""

from pathlib import Path

import pytest

from llmatic.core.errors import ConfigError
from llmatic.engines.chat import template_source


def test_a_name_a_text_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ bos_token }}é", encoding="utf-8")
    assert "<|im_start|>" in template_source("chatml")
    assert template_source("{{ messages }}") == "{{ messages }}"
    assert template_source(str(tmp_path / "own.jinja")) == "{{ bos_token }}é"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 1_000_001])
def test_files_that_are_no_template(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.jinja").write_bytes(content)
    with pytest.raises(ConfigError, match=r"not UTF-8|larger than"):
        template_source(str(tmp_path / "own.jinja"))


def test_neither_name_nor_file() -> None:
    with pytest.raises(ConfigError, match=r"'chatlm' is no builtin template \(chatml\) and cannot be read"):
        template_source("chatlm")
