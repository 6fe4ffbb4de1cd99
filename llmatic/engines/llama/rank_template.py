"""How some rerankers want to be asked: a text with places for the query and the document.

Owns the cutting of such a template, so that its control tokens are tokens and those that a client types are
not, and so that pieces can be tokenised apart without changing the tokens: a blank goes with the word behind
it, and what comes between two control tokens stays together. Pure.
"""

import re
from dataclasses import dataclass

from llmatic.core.errors import ConfigError

_PLACES = re.compile(r"(.*)\{query\}(.*)\{document\}(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RankTemplate:
    """`before`, `between` and `after` hold control tokens; the others are put around a client's texts."""

    before: str
    query_prefix: str
    query_suffix: str
    between: str
    text_prefix: str
    after: str


def read_rank_template(template: str, control: re.Pattern[str] | None) -> RankTemplate:
    """The pieces of `template`; `control` finds the texts of control tokens.

    Raises ConfigError unless {query} and then {document} are in it once.
    """
    found = _PLACES.fullmatch(template)
    if found is None or template.count("{query}") != 1 or template.count("{document}") != 1:
        raise ConfigError("the file's template for ranking must have {query} and then {document}, each once")
    before, between, after = found.groups()
    before, query_prefix = _cut_blanks(before)
    tokens = list(control.finditer(between)) if control is not None else []
    if not tokens:
        query_suffix, text_prefix = _cut_blanks(between)
        return RankTemplate(before, query_prefix, query_suffix, "", text_prefix, after)
    first, last = tokens[0].start(), tokens[-1].end()
    return RankTemplate(before, query_prefix, between[:first], between[first:last], between[last:], after)


def _cut_blanks(text: str) -> tuple[str, str]:
    kept = text.rstrip(" ")
    return kept, text[len(kept) :]
