"""Templates of rerankers, cut so that pieces may be tokenised apart."""

import re

import pytest

from llmatic.core.errors import ConfigError
from llmatic.engines.llama.rank_template import RankTemplate, read_rank_template

CONTROL = re.compile(re.escape("<|a|>") + "|" + re.escape("<|b|>"))


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("<|a|>Q: {query}\nD: {document}<|b|>", RankTemplate("<|a|>Q:", " ", "\nD:", "", " ", "<|b|>")),
        ("{query}{document}", RankTemplate("", "", "", "", "", "")),
        (
            "Q:  {query} end<|b|>\n<|a|>D: {document} ok",
            RankTemplate("Q:", "  ", " end", "<|b|>\n<|a|>", "D: ", " ok"),
        ),
    ],
)
def test_pieces(template: str, wanted: RankTemplate) -> None:
    found = read_rank_template(template, CONTROL)
    assert found == wanted
    pieces = (found.before, found.query_prefix, "{query}", found.query_suffix, found.between)
    assert "".join((*pieces, found.text_prefix, "{document}", found.after)) == template


def test_a_model_without_control_tokens() -> None:
    assert read_rank_template("<|a|>{query}<|b|> {document}", None) == RankTemplate(
        "<|a|>", "", "<|b|>", "", " ", ""
    )


@pytest.mark.parametrize("template", ["{query}", "{document} {query}", "{query} {document} {query}", ""])
def test_templates_that_cannot_be_used(template: str) -> None:
    with pytest.raises(ConfigError, match="template for ranking"):
        read_rank_template(template, CONTROL)
