"""The arithmetic of the comparisons, on made-up turns and replies."""

import json
import math
import random
from argparse import Namespace

import pytest

from scripts.bench import choices, conversation, copycat, copying, duel, profile, soak, stalls
from scripts.bench.sse import Reply
from scripts.bench.vocabulary import Words

WORDS = Words(tuple(f" word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)), tuple(range(7, 607)))


def turn(number: int, side: str, seconds: float, failed: int = 0) -> duel.Turn:
    return duel.Turn("half", number, side, {"s": seconds, "failed": failed}, 0.0)


def stream(times: list[float], *, end: str | None = "length", index: int = 0, sent: float = 0.0) -> Reply:
    events = [(at, json.dumps({"choices": [{"index": index, "text": "x"}]}).encode()) for at in times]
    if end is not None:
        last = {"choices": [{"index": index, "text": "", "finish_reason": end}]}
        events.append((times[-1], json.dumps(last).encode()))
    done = 0 if end is None else 1
    return Reply(sent_s=sent, end_s=times[-1], status=200, done=done, events=events)


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    turns = [turn(1, "b", 1.0), turn(1, "a", 2.0), turn(2, "a", 9.0), turn(2, "b", 1.0)]
    turns += [turn(3, "b", 2.0), turn(3, "a", 2.0), turn(3, "c", 5.0)]
    assert duel.ratio(turns, "s", "a", "b") == 2.0
    assert duel.ratio(turns, "s", "c", "b") == 2.5
    assert duel.median(turns, "s", "a") == 2.0


def test_a_failed_request_leaves_no_figure() -> None:
    turns = [turn(1, "a", 1.0), turn(1, "b", 1.0, failed=1)]
    assert math.isnan(duel.ratio(turns, "s", "a", "b"))
    assert math.isnan(duel.median(turns, "s", "b"))
    assert math.isnan(duel.ratio(turns, "s", "a", "nobody"))


def test_gaps_are_those_that_touch_the_stretch() -> None:
    reply = stream([1.0, 2.0, 4.0, 5.0, 9.0])
    assert stalls.gaps_between(reply, 3.0, 4.5) == [2.0, 1.0]


def test_silence_at_the_end_of_the_stretch_is_a_gap() -> None:
    reply = stream([1.0, 2.0], end=None)
    reply.cut = True
    assert stalls.gaps_between(reply, 1.5, 6.0) == [1.0, 4.0]


@pytest.mark.parametrize(
    ("reply", "count"),
    [
        (Reply(status=200, body=b'{"choices":[{"finish_reason":"length"},{"finish_reason":"stop"}]}'), 2),
        (Reply(status=200, body=b'{"choices":[{"finish_reason":null}]}'), 0),
        (Reply(status=200, body=b"no JSON"), 0),
        (Reply(status=400, body=b'{"choices":[{"finish_reason":"stop"}]}', error="status 400"), 0),
    ],
)
def test_choices_are_counted_when_they_have_ended(reply: Reply, count: int) -> None:
    assert choices.n_choices(reply) == count


def test_every_user_speaks_as_often() -> None:
    order = conversation.schedule(random.Random(1), 8, 10)
    assert [order.count(user) for user in range(8)] == [10] * 8
    assert order == conversation.schedule(random.Random(1), 8, 10)


def test_half_of_the_final_histories_fit() -> None:
    asked = Namespace(user_turns=10, words=60, max_tokens=24, users=8, slots=4)
    assert conversation.default_context(asked) == 4 * 1024
    assert conversation.default_context(asked) >= 8 * 840 / 2


def test_every_token_has_one_successor_and_is_one() -> None:
    following = copycat.successors(WORDS.ids, 700)
    assert sorted(following) == list(range(700))
    assert following[0] == 0
    [cycle] = copycat.cycles(WORDS.ids)
    assert following[cycle[-1]] == cycle[0]
    assert set(cycle) <= set(WORDS.ids)


def test_the_answer_to_a_passage_is_what_the_model_writes() -> None:
    prompt, answer = copying.passage(WORDS, 0, 100, 0.1, 40)
    id_of = dict(zip(WORDS.texts, WORDS.ids, strict=True))
    following = copycat.successors(WORDS.ids, 700)
    token, written = id_of[prompt[-7:]], ""
    for _ in range(40):
        token = following[token]
        written += WORDS.texts[WORDS.ids.index(token)]
    assert answer == written
    assert len(prompt) == 101 * 7
    assert answer not in prompt
    assert copying.passage(WORDS, 0, 100, 0.0, 40)[1] in copying.passage(WORDS, 0, 100, 0.0, 40)[0]


def test_what_became_of_a_request() -> None:
    wish = soak.Wish("own", b"", 1, is_stream=True)
    two = soak.Wish("choices", b"", 2, is_stream=True)
    hasty = soak.Wish("impatient", b"", 1, is_stream=True, patience_s=0.1)
    late = Reply(status=0, error="no end within 0.1 s")
    assert soak.end_of(wish, stream([1.0]), []) == "answered"
    assert soak.end_of(two, stream([1.0]), []) == "lost"
    assert soak.end_of(hasty, late, []) == "cancelled"
    assert soak.end_of(wish, late, []) == "lost"
    assert soak.end_of(wish, Reply(status=200, cut=True), []) == "cancelled"


def test_only_a_kill_excuses_an_error() -> None:
    wish = soak.Wish("own", b"", 1, is_stream=True)
    broken = stream([10.0], end=None, sent=8.0)
    broken.events.append((10.0, b'{"error":{"message":"died"}}'))
    assert soak.end_of(wish, broken, [9.5]) == "told"
    assert soak.end_of(wish, broken, [7.0]) == "lost"
    assert soak.end_of(wish, broken, []) == "lost"
    refused = Reply(sent_s=8.0, end_s=8.1, status=503, body=b'{"error":{}}', error="status 503")
    assert soak.end_of(wish, refused, [7.0]) == "told"
    assert soak.end_of(wish, refused, [9.0]) == "lost"


def test_growth_is_that_of_the_second_half_and_of_the_last_worker() -> None:
    samples = [(float(t), 1 if t < 60 else 2, 50.0 + (t < 50) * t, 100.0 + t) for t in range(101)]
    server_mb, worker_mb = soak.growth_mb(samples)
    assert server_mb == pytest.approx(0.0)
    assert worker_mb == pytest.approx(40.0)
    assert math.isnan(soak.growth_mb([])[0])


def test_a_part_is_charged_its_own_time_only() -> None:
    now = 0.0

    class Work:
        def inner(self) -> None:
            nonlocal now
            now += 2.0

        def outer(self) -> None:
            nonlocal now
            now += 1.0
            self.inner()
            self.inner()

    meter = profile.Meter(lambda: now)
    meter.wrap(Work, "inner", "in")
    meter.wrap(Work, "outer", "out")
    Work().outer()
    assert meter.seconds == {"in": 4.0, "out": 1.0}
    stretch = profile.Stretch(10.0, 1000, meter.seconds)
    assert {part: us for *_, part, us, _ in profile.table(("half", "greedy", 1), stretch)} == {
        "in": 4000.0,
        "out": 1000.0,
        "the rest": 5000.0,
    }
