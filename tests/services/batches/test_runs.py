import orjson
import pytest

from llmatic.core.errors import (
    Conflict,
    EngineFailed,
    InvalidRequest,
    LlmaticError,
    NotFound,
    QueueFull,
)
from llmatic.core.principal import EVERYBODY
from llmatic.services import jsonl
from llmatic.services.batches import answering
from llmatic.services.batches.ports import Body
from llmatic.store.batches import change_batch
from tests.services.batches.conftest import ANN, FakeOperations, Held, World, create, echo, line

pytestmark = pytest.mark.anyio


async def test_every_line_is_answered_once(world: World) -> None:
    operations = FakeOperations()
    batches = world.server(operations)
    ids = [f"лінія {k}" for k in range(300)]
    batch = await create(batches, await world.upload(b"".join(map(line, ids))), metadata={"a": "b"})
    assert (batch.status, batch.n_total, batch.expires_at - batch.created_at) == (
        "validating",
        0,
        86_400_000_000,
    )
    done = await world.ended(batches, batch.id)
    assert (done.status, done.model, done.n_total, done.n_completed, done.n_failed) == (
        "completed",
        "m",
        300,
        300,
        0,
    )
    assert (done.n_input_tokens, done.n_cached_tokens, done.n_output_tokens, done.n_reasoning_tokens) == (
        *(900, 300, 600, 300),
    )
    assert None not in (done.in_progress_at, done.finalizing_at, done.completed_at)
    assert (done.error_file_id, done.errors, done.cancelled_at) == (None, None, None)
    found = await world.read(done.output_file_id)
    assert sorted(each["custom_id"] for each in found) == sorted(ids)
    assert len({each["id"] for each in found}) == 300
    assert found[0].keys() == {"id", "custom_id", "response", "error"}
    assert all(each["response"]["body"]["said"] == each["custom_id"] for each in found)
    assert found[0]["response"].keys() == {"status_code", "request_id", "body"}
    assert operations.most_running == 4
    assert operations.principals == {ANN}
    assert world.parts() == []


async def test_failures_go_to_the_error_file(world: World) -> None:
    async def answer(body: Body) -> bytes:
        if body["say"] == "b":
            raise InvalidRequest("no", param="say", code="c")
        if body["say"] == "c":
            raise LlmaticError("ours")
        return await echo(body)

    batches = world.server(FakeOperations(answer))
    batch = await create(batches, await world.upload(line("a") + b"\n  \n" + line("b") + line("c")))
    done = await world.ended(batches, batch.id)
    assert (done.status, done.n_total, done.n_completed, done.n_failed) == ("completed", 3, 1, 2)
    assert [each["custom_id"] for each in await world.read(done.output_file_id)] == ["a"]
    errors = {each["custom_id"]: each for each in await world.read(done.error_file_id)}
    assert errors["b"]["response"] == {
        "status_code": 400,
        "request_id": "req_1",
        "body": {"error": {"message": "no", "type": "invalid_request_error", "param": "say", "code": "c"}},
    }
    assert errors["b"]["error"] is None
    assert errors["c"]["response"]["status_code"] == 500


async def test_without_a_single_answer_there_is_no_output_file(world: World) -> None:
    async def answer(body: Body) -> bytes:
        raise InvalidRequest("no")

    batches = world.server(FakeOperations(answer))
    done = await world.ended(batches, (await create(batches, await world.upload(line("a")))).id)
    assert (done.status, done.output_file_id) == ("completed", None)
    assert len(await world.read(done.error_file_id)) == 1


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (b"", [("empty_file", None, None)]),
        (b"\n \n", [("empty_file", None, None)]),
        (b"{\n" + line("a"), [("invalid_json_line", None, 1)]),
        (b"[]\n\n" + b"nul", [("invalid_json_line", None, 1), ("invalid_json_line", None, 3)]),
        (line("a") + line("b") + line("a"), [("duplicate_custom_id", "custom_id", 3)]),
        (line("a", method="GET"), [("invalid_value", "method", 1)]),
        (line("a", url="/v1/y"), [("invalid_url", "url", 1)]),
        (line("a", body=...), [("missing_required_parameter", "body", 1)]),
        (line(""), [("missing_required_parameter", "custom_id", 1)]),
        (line("a", custom_id=7), [("invalid_type", "custom_id", 1)]),
        (line("a", body=[]), [("invalid_type", "body", 1)]),
        (line("a", body={"model": "z"}), [("model_not_found", "body.model", 1)]),
        (line("a") + line("b", body={"model": "n"}), [("mismatched_model", "body.model", 2)]),
        (line("a") + line("b") + line("c") + line("d") + line("e"), [("too_many_tasks", None, None)]),
        (line("a" * 3000), [("file_too_large", None, None)]),
    ],
)
async def test_what_is_wrong_with_an_input_is_told_by_line(
    world: World, data: bytes, errors: list[tuple[str, str | None, int | None]]
) -> None:
    operations = FakeOperations()
    batches = world.server(operations, max_lines=4, max_file_bytes=2000)
    done = await world.ended(batches, (await create(batches, await world.upload(data))).id)
    assert (done.status, done.n_total, operations.asked) == ("failed", 0, [])
    assert done.failed_at is not None
    assert done.errors is not None
    assert [(e["code"], e["param"], e["line"]) for e in orjson.loads(done.errors)] == errors


async def test_of_many_faults_the_first_hundred_are_told(world: World) -> None:
    batches = world.server()
    done = await world.ended(batches, (await create(batches, await world.upload(b"x\n" * 1000))).id)
    assert done.errors is not None
    assert [e["line"] for e in orjson.loads(done.errors)] == list(range(1, 101))


async def test_the_input_must_be_a_file_of_ones_own_for_batches(world: World) -> None:
    batches = world.idle_server()
    for file_id in ("file-none", await world.upload(line("a"), owner="bob")):
        with pytest.raises(NotFound, match=file_id):
            await create(batches, file_id)
    with pytest.raises(InvalidRequest, match="purpose 'vision'"):
        await create(batches, await world.upload(line("a"), purpose="vision"))


async def test_each_owner_sees_its_own(world: World) -> None:
    batches = world.idle_server()
    mine = [await create(batches, await world.upload(line("a"))) for _ in range(3)]
    theirs = await create(batches, await world.upload(line("a"), owner="anonymous"), EVERYBODY)
    assert {b.id for b in await batches.page("ann", limit=9)} == {b.id for b in mine}
    for call in (batches.get, batches.cancel):
        with pytest.raises(NotFound, match=theirs.id):
            await call("ann", theirs.id)
    with pytest.raises(NotFound):
        await batches.page("ann", limit=9, after=theirs.id)
    first = await batches.page("ann", limit=2)
    rest = await batches.page("ann", limit=2, after=first[-1].id)
    assert {b.id for b in first + rest} == {b.id for b in mine}
    assert len(rest) == 1


async def test_a_cancelled_batch_keeps_what_was_answered(world: World) -> None:
    held = Held()

    async def answer(body: Body) -> bytes:
        return await (echo if body["say"] < "c" else held.answer)(body)

    batches = world.server(FakeOperations(answer, n_at_once=2))
    data = line("a") + line("b") + line("c") + line("d") + line("e")
    batch = await create(batches, await world.upload(data))
    await held.reached.wait()
    told = await batches.cancel("ann", batch.id)
    assert (told.status, told.cancelling_at is None) == ("cancelling", False)
    assert (await batches.cancel("ann", batch.id)).cancelling_at == told.cancelling_at
    done = await world.ended(batches, batch.id)
    assert (done.status, done.n_total, done.n_completed, done.n_failed) == ("cancelled", 5, 2, 0)
    assert {each["custom_id"] for each in await world.read(done.output_file_id)} == {"a", "b"}
    errors = await world.read(done.error_file_id)
    assert {each["custom_id"] for each in errors} == {"c", "d", "e"}
    assert {(each["response"], each["error"]["code"]) for each in errors} == {(None, "batch_cancelled")}
    assert (await batches.cancel("ann", batch.id)).status == "cancelled"


async def test_what_has_ended_cannot_be_cancelled(world: World) -> None:
    batches = world.server()
    batch = await world.ended(batches, (await create(batches, await world.upload(line("a")))).id)
    with pytest.raises(Conflict, match="Cannot cancel a batch with status 'completed'"):
        await batches.cancel("ann", batch.id)


async def test_what_is_finalizing_cannot_be_cancelled(world: World) -> None:
    batches = world.idle_server()
    batch = await create(batches, await world.upload(line("a")))
    await world.database.write(change_batch(batch.id, 0, "validating", {"status": "finalizing"}))
    with pytest.raises(Conflict, match="status 'finalizing'"):
        await batches.cancel("ann", batch.id)


async def test_a_line_longer_than_any_may_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    batches = world.server()
    done = await world.ended(batches, (await create(batches, await world.upload(line("a" * 200).strip()))).id)
    assert done.status == "failed"
    assert "line_too_long" in (done.errors or "")


async def test_what_nobody_has_begun_can_be_cancelled(world: World) -> None:
    idle = world.idle_server()
    batch = await create(idle, await world.upload(line("a")))
    assert (await idle.cancel("ann", batch.id)).status == "cancelling"
    operations = FakeOperations()
    done = await world.ended(world.server(operations), batch.id)
    assert (done.status, done.output_file_id, done.error_file_id, operations.asked) == (
        "cancelled",
        None,
        None,
        [],
    )


async def test_cancelling_by_way_of_another_server(world: World) -> None:
    held = Held()
    batch = await create(world.server(FakeOperations(held.answer)), await world.upload(line("a")))
    await held.reached.wait()
    other = world.idle_server()
    await other.cancel("ann", batch.id)
    assert (await world.ended(other, batch.id)).status == "cancelled"


async def test_what_is_not_answered_in_time_has_expired(world: World) -> None:
    held = Held()

    async def answer(body: Body) -> bytes:
        return await (echo if body["say"] == "a" else held.answer)(body)

    batches = world.server(FakeOperations(answer, n_at_once=1))
    batch = await create(
        batches, await world.upload(line("a") + line("b") + line("c")), output_lifetime_s=3600
    )
    await held.reached.wait()
    world.now += 86_400
    done = await world.ended(batches, batch.id)
    assert (done.status, done.n_total, done.n_completed, done.n_failed) == ("expired", 3, 1, 0)
    assert [each["custom_id"] for each in await world.read(done.output_file_id)] == ["a"]
    errors = await world.read(done.error_file_id)
    assert [each["custom_id"] for each in errors] == ["b", "c"]
    assert errors[0]["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }


async def test_what_nobody_began_in_time_has_expired(world: World) -> None:
    batch = await create(world.idle_server(), await world.upload(line("a")))
    world.now += 86_400
    done = await world.ended(world.server(), batch.id)
    assert (done.status, done.n_total, done.output_file_id) == ("expired", 0, None)


async def test_an_input_that_is_deleted_ends_the_batch(world: World) -> None:
    batches = world.idle_server()
    file_id = await world.upload(line("a"))
    batch = await create(batches, file_id)
    world.blobs.delete(file_id)
    done = await world.ended(world.server(), batch.id)
    assert (done.status, done.output_file_id) == ("failed", None)
    assert "input_file_deleted" in (done.errors or "")


async def test_an_input_that_is_deleted_half_way_leaves_the_answers(world: World) -> None:
    held = Held()

    async def answer(body: Body) -> bytes:
        return await (echo if body["say"] == "a" else held.answer)(body)

    first = world.server(FakeOperations(answer))
    file_id = await world.upload(line("a") + line("b"))
    batch = await create(first, file_id)
    await held.reached.wait()
    await first.close()
    world.blobs.delete(file_id)
    done = await world.ended(world.server(), batch.id)
    assert (done.status, done.n_completed) == ("failed", 1)
    assert [each["custom_id"] for each in await world.read(done.output_file_id)] == ["a"]


async def test_owners_take_turns(world: World) -> None:
    operations = FakeOperations(n_at_once=1)
    batches = world.idle_server()
    many = b"".join(line(f"ann {k}") for k in range(100))
    first = await create(batches, await world.upload(many))
    second = await create(batches, await world.upload(many.replace(b"ann", b"ANN")))
    few = b"".join(line(f"bob {k}") for k in range(10))
    other = await create(batches, await world.upload(few, owner="anonymous"), EVERYBODY)
    batches.start(operations)
    await world.ended(batches, other.id, owner="anonymous")
    await world.ended(batches, first.id)
    await world.ended(batches, second.id)
    places = [k for k, said in enumerate(operations.asked) if said.startswith("bob")]
    assert places[-1] - places[0] <= 2 * len(places)
    assert len(operations.asked) == 210


async def test_a_crowd_of_batches_waits_for_its_turn(world: World) -> None:
    held = Held()
    operations = FakeOperations(held.answer, n_at_once=100)
    batches = world.server(operations, max_running=2)
    made = [await create(batches, await world.upload(line(f"a{k}"))) for k in range(5)]
    await held.reached.wait()
    last = await batches.cancel("ann", made[-1].id)
    assert (await world.ended(batches, last.id)).status == "cancelled"
    assert len(operations.asked) <= 2
    held.go.set()
    for batch in made[:-1]:
        assert (await world.ended(batches, batch.id)).status == "completed"


async def test_failures_of_the_engine_are_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "FIRST_PAUSE_S", 0.0)
    failures = {"a": 2, "b": 99, "c": 0}

    async def answer(body: Body) -> bytes:
        if failures[body["say"]]:
            failures[body["say"]] -= 1
            raise EngineFailed("died") if body["say"] == "b" else QueueFull("full", retry_after_s=0.0)
        return await echo(body)

    operations = FakeOperations(answer)
    batches = world.server(operations)
    batch = await create(batches, await world.upload(line("a") + line("b") + line("c")))
    done = await world.ended(batches, batch.id)
    assert (done.n_completed, done.n_failed) == (2, 1)
    assert operations.asked.count("b") == answering.MAX_TRIES
    assert (await world.read(done.error_file_id))[0]["response"]["status_code"] == 503
