import random

import pytest

from llmatic.core.errors import InvalidRequest, QuotaExceeded, RateLimited, TokensLimited
from llmatic.core.limits import NAMES, UNLIMITED, Limits, checked
from llmatic.core.principal import EVERYBODY, Principal
from llmatic.services.limiter import Account, Bucket, Limiter, Queue, Saved

DEFAULTS = {"key": UNLIMITED, "token": UNLIMITED, "anonymous": UNLIMITED}


def key(name: str = "key_a", **limits: int) -> Principal:
    return Principal(name, "org", limits=Limits(**limits) if limits else None)


def opened(limiter: Limiter, principal: Principal) -> Account:
    account = limiter.account(principal)
    assert account is not None
    return account


def test_a_bucket_leaks_at_the_rate_of_its_limit() -> None:
    bucket = Bucket(60)
    for _ in range(60):
        assert bucket.wait_s(1, 100.0) == 0.0
        bucket.add(1, 100.0)
    assert bucket.wait_s(1, 100.0) == pytest.approx(1.0)
    assert bucket.wait_s(30, 100.0) == pytest.approx(30.0)
    assert bucket.reset_s(100.0) == pytest.approx(60.0)
    assert bucket.wait_s(1, 101.0) == 0.0
    assert bucket.level(115.0) == pytest.approx(45.0)
    assert bucket.level(1000.0) == 0.0
    assert bucket.wait_s(61, 1000.0) == float("inf")


@pytest.mark.parametrize("limit", [1, 3, 7, 1000, 10**9])
def test_whoever_waits_as_long_as_told_gets_in(limit: int) -> None:
    bucket, now, chance = Bucket(limit), 1e6, random.Random(limit)
    for _ in range(300):
        amount = chance.randint(1, limit)
        now += bucket.wait_s(amount, now)
        assert bucket.wait_s(amount, now) == 0.0
        bucket.add(amount, now)
        assert bucket.used <= limit * (1 + 2e-9) + 1e-3
        now += chance.random()


def test_a_clock_that_steps_back_forgets_nothing_and_then_goes_on() -> None:
    bucket = Bucket(60)
    bucket.add(60, 1000.0)
    assert bucket.level(400.0) == 60.0
    assert bucket.level(430.0) == pytest.approx(30.0)


def test_requests_are_counted_and_refused_in_openais_words() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(requests_per_minute=3))
    for _ in range(3):
        limiter.settle(limiter.admit(account, "m", 1, None, 0.0, 0), 1, 0.0, 0)
    with pytest.raises(RateLimited) as refused:
        limiter.admit(account, "m", 1, None, 0.0, 0)
    assert refused.value.message == (
        "Rate limit reached for m in organization org on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 20s."
    )
    assert (refused.value.type, refused.value.code) == ("requests", "rate_limit_exceeded")
    assert refused.value.retry_after_s == pytest.approx(20.0)
    limiter.admit(account, "m", 1, None, 20.0, 0)
    with pytest.raises(RateLimited):
        limiter.admit(account, "m", 1, None, 20.0, 0)


def test_tokens_are_estimated_first_and_settled_then() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(tokens_per_minute=6000))
    first = limiter.admit(account, "m", 5000, None, 0.0, 0)
    with pytest.raises(TokensLimited) as refused:
        limiter.admit(account, "m", 2000, None, 0.0, 0)
    assert refused.value.message == (
        "Rate limit reached for m in organization org on tokens per min (TPM): Limit 6000, Used 5000, "
        "Requested 2000. Please try again in 10s."
    )
    assert (refused.value.type, refused.value.code) == ("tokens", "rate_limit_exceeded")
    limiter.settle(first, 100, 0.0, 0)
    assert account.tokens.level(0.0) == pytest.approx(100.0)
    limiter.settle(limiter.admit(account, "m", 0, None, 0.0, 0), 9000, 0.0, 0)
    assert account.tokens.level(0.0) == pytest.approx(9100.0)  # a debt, to be waited for
    with pytest.raises(TokensLimited, match=r"Used 9100, Requested 1\. Please try again in 31\.01s"):
        limiter.admit(account, "m", 1, None, 0.0, 0)


def test_a_request_that_never_fits_is_told_so() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(tokens_per_minute=100))
    with pytest.raises(
        TokensLimited, match=r"^Request too large for m .*: Limit 100, Requested 101\."
    ) as refused:
        limiter.admit(account, "m", 101, None, 0.0, 0)
    assert refused.value.retry_after_s is None
    assert account.running == 0


def test_what_has_leaked_of_an_estimate_is_not_given_back_again() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(tokens_per_minute=600))  # 10 a second
    long = limiter.admit(account, "m", 500, None, 0.0, 0)
    other = limiter.admit(account, "m", 500, None, 40.0, 0)
    assert account.tokens.level(40.0) == pytest.approx(600.0)  # 100 of the first, and the second
    limiter.settle(long, 0, 50.0, 0)
    # As if the first had never been: the second leaks from 40 on.
    assert account.tokens.level(50.0) == pytest.approx(500.0)
    limiter.settle(other, 500, 50.0, 0)
    assert account.tokens.level(50.0) == pytest.approx(500.0)


def test_the_days_tokens() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(tokens_per_day=1000))
    one = limiter.admit(account, "m", 5, None, 0.0, 20_000)
    two = limiter.admit(account, "m", 5, None, 0.0, 20_000)
    limiter.settle(one, 999, 0.0, 20_000)
    limiter.admit(account, "m", 5, None, 0.0, 20_000)
    limiter.settle(two, 1, 0.0, 20_000)
    with pytest.raises(QuotaExceeded, match="You exceeded your current quota") as refused:
        limiter.admit(account, "m", 5, None, 0.0, 20_000)
    assert (refused.value.type, refused.value.code) == ("insufficient_quota", "insufficient_quota")
    with pytest.raises(QuotaExceeded):  # the clock stepped back across midnight
        limiter.check_quota(account, 19_999)
    limiter.check_quota(account, 20_001)
    assert account.day_tokens == 0


def test_concurrent_requests() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(concurrent_requests=2))
    running = [limiter.admit(account, model, 1, Queue(model, 9), 0.0, 0) for model in "ab"]
    with pytest.raises(RateLimited, match="on concurrent requests: Limit 2, Used 2, Requested 1"):
        limiter.admit(account, "c", 1, None, 0.0, 0)
    limiter.settle(running[0], 0, 0.0, 0)
    limiter.admit(account, "c", 1, Queue("b", 9), 0.0, 0)
    assert account.by_queue == {"b": 2}


def test_the_share_of_a_models_queue() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(queue_share=25))
    for _ in range(2):
        limiter.admit(account, "m", 1, Queue("w", 8), 0.0, 0)
    with pytest.raises(RateLimited, match="its share of the model's queue: Limit 2, Used 2"):
        limiter.admit(account, "m", 1, Queue("w", 8), 0.0, 0)
    limiter.admit(account, "other", 1, Queue("x", 1), 0.0, 0)  # never less than one
    limiter.admit(account, "unknown", 1, None, 0.0, 0)


def test_a_refusal_charges_nothing() -> None:
    limiter = Limiter(DEFAULTS)
    account = opened(limiter, key(requests_per_minute=5, tokens_per_minute=10, tokens_per_day=1))
    with pytest.raises(TokensLimited):
        limiter.admit(account, "m", 11, None, 0.0, 0)
    limiter.charge_day(account, 1, 0)
    with pytest.raises(QuotaExceeded):
        limiter.admit(account, "m", 1, None, 0.0, 0)
    assert (account.requests.level(0.0), account.tokens.level(0.0), account.running) == (0.0, 0.0, 0)


def test_own_limits_stand_over_the_defaults_and_zero_lifts_them() -> None:
    limiter = Limiter({**DEFAULTS, "key": Limits(requests_per_minute=5, tokens_per_minute=7)})
    assert opened(limiter, key()).limits == Limits(requests_per_minute=5, tokens_per_minute=7)
    mixed = opened(limiter, key("key_b", requests_per_minute=9))
    assert (mixed.limits.requests_per_minute, mixed.limits.tokens_per_minute) == (9, 7)
    assert limiter.account(key("key_c", requests_per_minute=0, tokens_per_minute=0)) is None
    assert limiter.account(EVERYBODY) is None
    assert limiter.account(Principal("jwt-ann", "ann")) is None
    changed = opened(limiter, key("key_b", requests_per_minute=1))
    assert changed is mixed
    assert changed.requests.limit == 1


def test_limits_that_change_hold_from_the_next_request_on() -> None:
    limiter = Limiter({"key": UNLIMITED, "token": UNLIMITED, "anonymous": UNLIMITED})
    old, new = (Principal("key_a", "a", limits=Limits(n, 1000)) for n in (2, 6))
    account = limiter.account(old)
    assert account is not None
    for _ in range(2):
        running = limiter.admit(account, "m", 10, None, 0.0, 1)
    assert limiter.account(new) is account
    limiter.settle(running, 10, 0.0, 1)
    assert (account.requests.limit, account.requests.level(0.0)) == (6, 2.0)
    for _ in range(4):
        limiter.admit(account, "m", 10, None, 0.0, 1)
    assert limiter.account_of_old(old) is account  # a batch that it sent before
    with pytest.raises(RateLimited, match="Limit 6"):
        limiter.admit(account, "m", 10, None, 0.0, 1)
    assert limiter.account(Principal("key_a", "a")) is None
    assert limiter.account_of_old(old) is None


def test_kinds_have_defaults_of_their_own() -> None:
    limiter = Limiter({"key": Limits(1), "token": Limits(2), "anonymous": Limits(3)})
    found = [
        opened(limiter, who).requests.limit
        for who in (key(), Principal("jwt-a", "a"), EVERYBODY, key("key-1"))
    ]
    assert found == [1, 2, 3, 1]


def test_what_was_saved_counts_on() -> None:
    limiter = Limiter(DEFAULTS)
    limiter.restore({"key_a": Saved(50.0, 500.0, 90.0, 7, 70)})
    account = opened(limiter, key(requests_per_minute=60, tokens_per_minute=600, tokens_per_day=100))
    assert account.requests.level(100.0) == pytest.approx(40.0)
    assert account.tokens.level(100.0) == pytest.approx(400.0)
    assert account.today(7) == 70


def test_accounts_that_are_as_new_are_forgotten() -> None:
    limiter = Limiter(DEFAULTS)
    principals = [key(f"key_{n}", requests_per_minute=60) for n in range(10_000)]
    for principal in principals:
        limiter.settle(limiter.admit(opened(limiter, principal), "m", 1, None, 0.0, 0), 0, 0.0, 0)
    running = limiter.admit(opened(limiter, principals[0]), "m", 1, None, 0.0, 0)
    limiter.sweep(20_000, 1000.0, 0)
    assert len(limiter) == 10_000  # not saved yet
    limiter.changed.clear()
    gone = limiter.sweep(100, 1000.0, 0) + limiter.sweep(20_000, 1000.0, 0)
    assert len(gone) == 9_999
    assert limiter.get("key_0") is running.account
    limiter.settle(running, 5, 1000.0, 0)
    limiter.changed.clear()
    assert limiter.sweep(10, 2000.0, 0) == []  # it has used something of the day
    assert limiter.sweep(10, 2000.0, 1) == ["key_0"]


def test_saved_accounts_that_nobody_asked_for_are_forgotten() -> None:
    limiter = Limiter(DEFAULTS)
    limiter.restore({"a": Saved(1.0, 1.0, 0.0, 5, 5), "b": Saved(1.0, 1.0, 0.0, 6, 5)})
    assert limiter.sweep(10, 10_000.0, 6) == ["a"]
    assert limiter.sweep(10, 10_000.0, 7) == ["b"]


def test_limits_are_checked_when_they_are_set() -> None:
    given = {"requests_per_minute": 60, "queue_share": 100, "tokens_per_day": 0}
    assert checked(given) == given
    for wrong in (-1, 1.5, "7", True, None, 10**10):
        with pytest.raises(InvalidRequest, match="must be a whole number from 0 to") as refused:
            checked({"requests_per_minute": wrong})
        assert refused.value.param == "requests_per_minute"
    with pytest.raises(InvalidRequest, match=r"Unknown limit: .rpm.\. Known limits are: requests_per_minute"):
        checked({"rpm": 1})


def test_broken_values_in_the_database_are_no_limits() -> None:
    stored = {"requests_per_minute": "many", "tokens_per_minute": 5, "later": 1, "queue_share": 101}
    assert Limits.of(stored) == Limits(tokens_per_minute=5)
    assert Limits.of(dict.fromkeys(NAMES, 1)) == Limits(1, 1, 1, 1, 1)
