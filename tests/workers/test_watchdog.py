from llmatic.workers.watchdog import Watchdog


def answered(
    dog: Watchdog, now: float, n_steps: int, busy_s: float | None = None, n_requests: int = 1
) -> str | None:
    dog.on_ping(now)
    dog.on_pong(now, n_steps, busy_s, n_requests)
    return dog.check(now)


def test_a_worker_that_steps_is_left_alone() -> None:
    dog = Watchdog(10.0, 0.0)
    assert [answered(dog, now, now, 0.1) for now in range(1, 60)] == [None] * 59


def test_an_idle_worker_is_left_alone() -> None:
    dog = Watchdog(10.0, 0.0)
    assert [answered(dog, now, 7, None, n_requests=0) for now in range(1, 60)] == [None] * 59


def test_no_answer() -> None:
    dog = Watchdog(10.0, 0.0)
    dog.on_ping(1.0)
    verdicts = [dog.check(now) for now in range(2, 13)]
    assert verdicts == [None] * 10 + ["it did not answer for 10 s"]


def test_a_long_step() -> None:
    dog = Watchdog(10.0, 0.0)
    assert answered(dog, 1.0, 1, 9.9) is None
    assert answered(dog, 2.0, 1, 10.1) == "one step took more than 10 s"


def test_requests_and_no_step_at_all() -> None:
    dog = Watchdog(10.0, 0.0)
    verdicts = [answered(dog, now, 7) for now in range(1, 14)]
    assert verdicts == [None] * 12 + ["it had requests and did nothing for 10 s"]


def test_events_count_as_life() -> None:
    dog = Watchdog(10.0, 0.0)
    for now in range(1, 60):
        dog.on_events()
        assert answered(dog, now, 7) is None


def test_a_pause_of_the_server_is_not_held_against_the_worker() -> None:
    dog = Watchdog(10.0, 0.0)
    dog.on_ping(1.0)
    assert dog.check(100.0) is None
    dog.on_ping(101.0)
    assert dog.check(102.0) is None
