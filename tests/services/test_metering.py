from dataclasses import dataclass
from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import QuotaExceeded, RateLimited
from llmatic.core.limits import UNLIMITED, Limits
from llmatic.core.metrics import Metrics
from llmatic.core.principal import Principal
from llmatic.core.types import Usage
from llmatic.registry import Registry
from llmatic.services.ledger import Clocks, Ledger
from llmatic.services.limiter import Limiter
from llmatic.services.metering import UNMETERED, Metering
from llmatic.services.usage import UsageCounter

SPEC = ModelSpec("m", "none", aliases=("alias",), max_queue=4)
KEY = Principal("key_a", "ann", limits=Limits(10, 1000, tokens_per_day=100))


@dataclass
class Nothing:
    """No database: nothing is saved here."""

    database: Any = None


def metering() -> Metering:
    limiter = Limiter({"key": UNLIMITED, "token": UNLIMITED, "anonymous": UNLIMITED})
    database: Any = Nothing()
    ledger = Ledger(database, limiter, UsageCounter(), clocks=Clocks(lambda: 5.0, lambda: 86_400.0 * 9))
    return Metering(Registry({SPEC.id: SPEC}, started=0), Metrics(), ledger)


def test_a_request_is_charged_what_was_counted_in_it() -> None:
    one = metering()
    meter = one.meter(KEY)
    with meter.admitted({"model": "alias", "messages": "x" * 400, "max_tokens": 500}):
        account = one.limiter.account(KEY)
        assert account is not None
        assert (account.tokens.level(5.0), account.running, account.by_queue) == (600.0, 1, {"m": 1})
        meter.count("rerank", "r", prompt=10)
        meter.reporter("completions", "m")(Usage(20, 3, 5))
        meter.count("completions", "m", prompt=0)
    assert (account.tokens.level(5.0), account.day_tokens, account.running) == (33.0, 33, 0)
    rows = {row.operation: row for row in one.usage.take(10)}
    completion = rows["completions"]
    assert (completion.n_requests, completion.input_tokens, completion.cached_tokens) == (1, 20, 5)
    assert (completion.output_tokens, completion.owner, completion.hour) == (3, "ann", 86_400 * 9 * 1_000_000)
    assert (rows["rerank"].input_tokens, len(rows)) == (10, 2)
    text = one.metrics.render().decode()
    assert 'llmatic_tokens_total{kind="prompt_cached",model="m"} 5.0' in text


def test_a_request_that_raises_is_charged_all_the_same() -> None:
    one = metering()
    meter = one.meter(KEY)

    def fail() -> None:
        with meter.admitted({"model": "m", "max_tokens": 50}):
            meter.count("completions", "m", prompt=7)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    account = one.limiter.account(KEY)
    assert account is not None
    assert (account.tokens.level(5.0), account.running, account.day_tokens) == (7.0, 0, 7)


def test_a_request_that_outlives_its_answer_is_charged_at_its_end() -> None:
    made = metering()
    meter = made.meter(KEY)
    with meter.admitted({"model": "m", "max_tokens": 90}):
        settle = meter.outlive()
    (account,) = made.limiter._accounts.values()
    assert (account.running, account.tokens.used >= 90) == (1, True)
    meter.count("completions", "m", prompt=3, completion=4)
    for _ in range(2):
        settle()
        assert (account.running, account.tokens.used, account.day_tokens) == (0, 7.0, 7)
    meter.count("completions", "m", prompt=1)
    assert (account.tokens.used, account.day_tokens) == (7.0, 8)


def test_work_in_the_background_counts_for_the_day_alone() -> None:
    one = metering()
    meter = one.background(KEY, is_batch=True)
    meter.check_quota()
    meter.count("completions", "m", prompt=60, completion=40)
    account = one.limiter.account(KEY)
    assert account is not None
    assert (account.requests.level(5.0), account.tokens.level(5.0), account.day_tokens) == (0.0, 0.0, 100)
    with pytest.raises(QuotaExceeded):
        meter.check_quota()
    (row,) = one.usage.take(10)
    assert row.is_batch


def test_models_that_a_key_may_not_use_are_called_as_they_were_asked_for() -> None:
    one = metering()
    limits = Limits(requests_per_minute=1)
    for name, allowed, shown in (("alias", {"alias"}, "m"), ("alias", {"n"}, "alias"), ("x", {"x"}, "x")):
        principal = Principal(f"key_{shown}", "ann", models=frozenset(allowed), limits=limits)
        with one.meter(principal).admitted({"model": name}):
            pass
        with (
            pytest.raises(RateLimited, match=f"^Rate limit reached for {shown} in"),
            one.meter(principal).admitted({"model": name}),
        ):
            pass


def test_without_a_metering_nothing_is_counted() -> None:
    with UNMETERED.admitted({"model": "m"}):
        UNMETERED.count("completions", "m", prompt=5)
    UNMETERED.check_quota()
