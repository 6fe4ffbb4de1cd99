from typing import Any

import pytest

from llmatic.engines.llama import slots as slots_module
from llmatic.engines.llama.sequences import Sequence
from llmatic.engines.llama.slots import Fork, Free, Save, Slots, Trim
from tests.engines.llama.fake_cache import ask


def computed(slots: Slots, arrival: int, tokens: list[int], **more: Any) -> Sequence:
    """A running sequence that has computed all its tokens."""
    (sequence,) = ask(arrival, tokens, **more).sequences
    slots.take(sequence)
    sequence.n_computed = len(tokens)
    slots.index(sequence)
    return sequence


def keep(slots: Slots, arrival: int, tokens: list[int], **more: Any) -> int:
    """Keep a text; returns its slot."""
    sequence = computed(slots, arrival, tokens, **more)
    slot = sequence.slot
    assert slot is not None
    slots.release(sequence, len(tokens))
    return slot


def test_a_short_text_is_not_kept() -> None:
    slots = Slots(2, is_pooled=True, n_kept_max=100)
    keep(slots, 0, [1] * 15)
    assert slots.n_kept_cells == 0
    keep(slots, 1, [1] * 16)
    assert slots.n_kept_cells == 16


def test_nothing_is_kept_where_cells_are_not_pooled_but_it_is_saved() -> None:
    slots = Slots(2, is_pooled=False, n_kept_max=100, can_save=True)
    slot = keep(slots, 0, [1] * 20)
    assert slots.n_kept_cells == 0
    assert slots.effects == [Save(slot, b"", [1] * 20, None, False), Free(slot)]


def test_a_text_is_saved_when_it_goes_and_a_keyed_one_at_once() -> None:
    slots = Slots(3, is_pooled=True, n_kept_max=100, can_save=True)
    keep(slots, 0, [1] * 20)
    assert slots.effects == []
    keep(slots, 1, [2] * 20, is_keyed=True, retention="24h", namespace=b"x")
    assert slots.effects == [Save(1, b"x", [2] * 20, "24h", True)]
    slots.effects.clear()
    slots.make_room(0)
    assert [type(effect) for effect in slots.effects] == [Save, Free, Save, Free]


def test_what_was_used_least_recently_goes_first_and_a_shared_beginning_last() -> None:
    slots = Slots(4, is_pooled=True, n_kept_max=1000)
    common = [1] * 50
    old = keep(slots, 0, [*common, *[2] * 20])
    other = keep(slots, 1, [9] * 30)
    (young,) = ask(2, [*common, *[3] * 20]).sequences
    match = slots.match(young)
    assert match is not None
    assert match.n_tokens == 50
    slots.take_from(match.slot, young, 50)
    young.n_computed = 70
    slots.release(young, 70)
    assert slots.n_kept_cells == 120
    slots.effects.clear()
    slots.make_room(100)
    assert slots.effects == [Free(old)]
    slots.make_room(70)
    assert slots.effects == [Free(old), Free(other)]
    assert slots.match(young) is not None
    slots.check_integrity([])


def test_a_long_text_loses_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "N_EVICTED", 8)
    slots = Slots(2, is_pooled=True, n_kept_max=1000)
    slot = keep(slots, 0, list(range(100)))
    slots.make_room(95)
    slots.make_room(60)
    assert slots.effects == [Trim(slot, 92), Trim(slot, 60)]
    assert slots.n_kept_cells == 60


def test_kept_texts_stay_within_their_share() -> None:
    slots = Slots(8, is_pooled=True, n_kept_max=50)
    for arrival in range(6):
        keep(slots, arrival, [arrival] * 20)
        slots.check_integrity([])
    assert slots.n_kept_cells == 40


def test_a_text_that_is_held_by_others_is_given_up() -> None:
    slots = Slots(4, is_pooled=True, n_kept_max=100)
    keep(slots, 0, [1] * 40)
    (again,) = ask(1, [1] * 40).sequences
    match = slots.match(again)
    assert match is not None
    slots.take_from(match.slot, again, match.n_tokens)
    assert [type(effect) for effect in slots.effects] == [Fork]
    slots.release(again, 39)
    assert slots.n_kept_cells == 40
    assert isinstance(slots.effects[-1], Free)


def test_a_sequence_goes_on_in_the_slot_of_the_text_that_it_continues() -> None:
    slots = Slots(4, is_pooled=True, n_kept_max=100)
    slot = keep(slots, 0, [1] * 40)
    (longer,) = ask(1, [1] * 41).sequences
    slots.take_from(slot, longer, 40)
    assert longer.slot == slot
    assert longer.n_computed == 40
    assert slots.effects == []
    slots.check_integrity([longer])


def test_without_another_slot_the_text_itself_is_cut() -> None:
    slots = Slots(2, is_pooled=True, n_kept_max=100, can_save=True)
    running = computed(slots, 0, [5])
    slot = keep(slots, 1, [1] * 40)
    (other,) = ask(2, [*[1] * 30, 2]).sequences
    slots.effects.clear()
    slots.take_from(slot, other, 30)
    assert [type(effect) for effect in slots.effects] == [Save, Trim]
    slots.check_integrity([running, other])


def test_a_kept_text_makes_way_for_a_running_one_if_slots_are_short() -> None:
    slots = Slots(2, is_pooled=True, n_kept_max=100)
    old, young = keep(slots, 0, [1] * 20), keep(slots, 1, [2] * 20)
    sequence = computed(slots, 2, [3] * 5)
    assert sequence.slot == old != young
    assert slots.effects == [Free(old)]


def test_a_state_that_cannot_be_cut_is_given_up_whole() -> None:
    slots = Slots(2, is_pooled=True, can_save=True, can_cut=False)
    sequence = computed(slots, 0, [1] * 40)
    slots.release(sequence, 30)
    assert slots.effects == [Free(0)]


def test_guesses_that_were_never_judged_are_cut_off_what_is_kept() -> None:
    slots = Slots(2, is_pooled=True, n_kept_max=100)
    sequence = computed(slots, 0, [1] * 20)
    sequence.n_unproven = 3
    slots.release(sequence, 20)
    assert slots.effects == [Trim(0, 20)]


def test_gaps_close() -> None:
    slots = Slots(4, is_pooled=False)
    running = [computed(slots, i, [i]) for i in range(4)]
    for gone in (0, 2):
        slots.release(running[gone], 0)
    left = [running[1], running[3]]
    slots.effects.clear()
    slots.close_gaps(left)
    assert sorted(s.slot or 0 for s in left) == [0, 1]
    assert slots.effects == [Fork(3, 0, 1), Free(3)]
    slots.check_integrity(left)
