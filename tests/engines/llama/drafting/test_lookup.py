"""Drafts continue what stood before, the prediction first, and are never made of nothing."""

import random

import pytest

from llmatic.engines.llama.drafting import NOTHING, Kind
from llmatic.engines.llama.drafting.lookup import Lookup, Material

LOREM = list(range(100, 140))


def lookup(
    prompt: list[int], written: list[int] | None = None, prediction: list[int] | None = None
) -> Lookup:
    made = Lookup(Material(prompt, prediction or []))
    for token in written or []:
        made.draft(4)
        made.extend(token)
    return made


def test_what_followed_in_the_prompt_is_drafted() -> None:
    draft = lookup([1, 2, 3, 4, 5, 6, 7], [8, 1, 2, 3]).draft(3)
    assert (draft.tokens, draft.kind, draft.from_prediction) == ([4, 5, 6], Kind.GUESS, False)
    assert lookup(LOREM, LOREM[:9]).draft(2).kind is Kind.COPY


@pytest.mark.parametrize(
    ("prompt", "written"), [([], []), ([1], []), ([1, 2, 3], []), ([1, 2, 3, 4], [2, 3]), (LOREM, [1, 2, 3])]
)
def test_without_a_match_of_three_tokens_nothing_is_drafted(prompt: list[int], written: list[int]) -> None:
    assert lookup(prompt, written).draft(4) is NOTHING


def test_no_draft_is_longer_than_wanted_and_none_is_none() -> None:
    assert len(lookup(LOREM, LOREM[:5]).draft(7)) == 7
    assert lookup(LOREM, LOREM[:5]).draft(0) is NOTHING


def test_the_longest_match_wins_and_the_newest_of_equals() -> None:
    long, short = [9, 8, 1, 2, 3, 50], [7, 1, 2, 3, 60]
    assert lookup([*long, *short], [9, 8, 1, 2, 3]).draft(1).tokens == [50]
    assert lookup([*long, *short], [6, 1, 2, 3]).draft(1).tokens == [60]
    assert lookup(short, [*long, 0, 6, 1, 2, 3]).draft(1).tokens == [50]


def test_a_match_may_span_prompt_and_answer() -> None:
    assert lookup([5, 1, 2], [3, 4, 0, 1, 2, 3]).draft(2).tokens == [4, 0]


def test_what_repeats_goes_on_repeating() -> None:
    assert lookup([], [1, 2, 3, 1, 2, 3]).draft(8).tokens == [1, 2, 3, 1, 2, 3, 1, 2]
    assert lookup([], [4, 4, 4, 4]).draft(3).tokens == [4, 4, 4]


def test_a_copy_goes_on_where_it_was_although_a_newer_place_looks_alike() -> None:
    copying = lookup([1, 2, 3, 4, 5, 6, 0, 3, 4, 5, 70], [1, 2, 3])
    assert copying.draft(4).tokens == [4, 5, 6, 0]
    for token in (4, 5):
        copying.extend(token)
    assert copying.draft(1).tokens == [6]


def test_after_a_change_the_copy_is_found_again_by_two_tokens() -> None:
    copying = lookup(LOREM)
    for token in [*LOREM[:12], 7, 7]:
        copying.draft(4)
        copying.extend(token)
    assert copying.draft(3) is NOTHING
    for token in LOREM[14:16]:
        copying.extend(token)
    assert copying.draft(3).tokens == LOREM[16:19]


def test_the_prediction_is_drafted_from_the_start() -> None:
    follower = lookup(LOREM, prediction=[1, 2, 3, 4])
    assert (follower.draft(3).tokens, follower.draft(3).from_prediction) == ([1, 2, 3], True)
    for token in (1, 2, 3):
        follower.extend(token)
    assert follower.draft(3).tokens == [4]


@pytest.mark.parametrize("changed", [[7], [7, 8, 9, 6], []], ids=["replaced", "longer", "removed"])
def test_after_a_change_the_prediction_is_followed_again(changed: list[int]) -> None:
    follower = lookup([], [*LOREM[:10], *changed], LOREM)
    if len(changed) == 1:
        assert follower.draft(3).tokens == LOREM[11:14], "as if one was replaced by one"
    elif changed:
        assert follower.draft(3) is NOTHING
    for token in LOREM[12:14]:
        follower.draft(3)
        follower.extend(token)
    draft = follower.draft(3)
    assert (draft.tokens, draft.kind) == (LOREM[14:17], Kind.PREDICTION)


def test_words_before_the_prediction_do_no_harm() -> None:
    assert lookup([], [7, 8, 9, *LOREM[:2]], LOREM).draft(2).tokens == LOREM[2:4]


def test_a_far_part_of_the_prediction_is_found_nearest_first() -> None:
    prediction = [*LOREM, 1, 2, 3, 50, *range(500, 700), 1, 2, 3, 60, *range(700, 900), 1, 2, 3, 70]
    assert lookup([], [9, 1, 2, 3], prediction).draft(1).tokens == [50]
    assert lookup([], [*range(500, 600), 9, 9, 1, 2, 3], prediction).draft(1).tokens == [60]


def test_past_the_end_of_the_prediction_the_prompt_is_copied() -> None:
    draft = lookup([1, 2, 3, 4], [9, 1, 2, 3], prediction=[9, 1, 2, 3]).draft(1)
    assert (draft.tokens, draft.kind) == ([4], Kind.GUESS)


def test_choices_share_their_material_and_nothing_else() -> None:
    material = Material(LOREM, [1, 2, 3])
    one, other = Lookup(material), Lookup(material)
    for token in [5, 6, 7, 8, 5, 6, 7]:
        one.extend(token)
    assert one.draft(1).tokens == [8]
    assert other.draft(2).tokens == [1, 2]
    for token in [5, 6, 7]:
        other.extend(token)
    assert other.draft(1) is NOTHING
    assert material.prompt.tokens == LOREM


def test_huge_token_ids_are_only_numbers() -> None:
    text = [2**31 - 1, 2**22, 2**21, 5]
    assert lookup(text, text[:3]).draft(1).tokens == [5]


@pytest.mark.parametrize("seed", range(6))
def test_every_draft_continues_an_earlier_place_and_none_is_missed(seed: int) -> None:
    dice = random.Random(seed)
    n_kinds = dice.choice([2, 3, 5])
    text = [dice.randrange(n_kinds) for _ in range(dice.randrange(60))]
    searching, n_found, n_since = Lookup(Material(text)), 0, 9
    for _ in range(150):
        draft = searching.draft(4)
        places = [i for i in range(2, len(text)) if text[i - 2 : i] == text[-2:]]
        triples = [i for i in places if i > 2 and text[i - 3] == text[-3]]
        if draft and n_since > 2:  # just after a difference it may go on as if one token was replaced
            assert any((text[i:] + (text[i:] * 4))[:4] == draft.tokens for i in places)
            n_found += 1
        elif not draft:
            assert not triples
        text.append(dice.choice([draft.tokens[0], 0, 1]) if draft else dice.randrange(n_kinds))
        n_since = 0 if draft and draft.tokens[0] != text[-1] else n_since + 1
        searching.extend(text[-1])
    assert n_found > 20
