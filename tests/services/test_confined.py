import asyncio
import os
import resource
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest, RateLimited, Unavailable
from llmatic.services.confined import Confined

pytestmark = pytest.mark.anyio

GREETING = [{"role": "user", "content": "Вітаю, {{ name }}!"}]


@pytest.fixture
async def confined() -> AsyncGenerator[Confined, None]:
    made = Confined()
    yield made
    await made.close()


def doubling(n: int) -> dict[str, Any]:
    """A schema that takes 2**n steps."""
    steps: dict[str, Any] = {f"s{k}": {"allOf": [{"$ref": f"#/$defs/s{k + 1}"}] * 2} for k in range(n)}
    return {"$defs": {**steps, f"s{n}": {"type": "string"}}, "$ref": "#/$defs/s0"}


async def test_templates_are_checked_and_filled_in(confined: Confined) -> None:
    await confined.check("ann", GREETING, {"result_schema": {"type": "object"}})
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert await confined.render("ann", GREETING, {"name": "Їжак\0"}, schema) == [
        {"role": "user", "content": "Вітаю, Їжак\0!"}
    ]
    large = "ї" * 2_000_000
    assert (await confined.render("ann", GREETING, {"name": large}))[0]["content"] == f"Вітаю, {large}!"


@pytest.mark.parametrize(
    ("prompts", "data", "schema", "schemas", "param"),
    [
        (GREETING, {}, None, {}, "data.name"),
        (GREETING, {"name": 1}, {"properties": {"name": {"type": "string"}}}, {}, "data.name"),
        (GREETING, {"name": "x"}, {"type": "objekt"}, {}, "interaction_schema"),
        (GREETING, {"name": "x"}, None, {"result_schema": {"$ref": "http://127.0.0.1:9/"}}, "result_schema"),
        ([{"role": "user", "content": "{% if %}"}], {}, None, {}, "prompts[0].content"),
    ],
)
async def test_mistakes_are_named(
    confined: Confined, prompts: Any, data: Any, schema: Any, schemas: Any, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await confined.render("ann", prompts, data, schema, schemas)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "content",
    [
        "{{ ('a' * 1000000).translate({97: 'x' * 1000000}) }}",
        "{{ ('\\t' * 100000).expandtabs(1000000) }}",
        "{{ '{0[0]:{0[1]}}'.format([1, 10**12]) }}",
        "{{ range(100000)|map('center', 1000000)|list|length }}",
        "{{ " + "1+" * 50_000 + "1 }}",
    ],
)
async def test_what_takes_too_much_is_refused_and_others_go_on(confined: Confined, content: str) -> None:
    with pytest.raises(InvalidRequest, match=r"too much|recursion"):
        await confined.render("ann", [{"role": "user", "content": content}], {})
    assert await confined.render("ann", GREETING, {"name": "x"})


async def test_a_schema_that_doubles_itself_ends_with_its_process(confined: Confined) -> None:
    assert await confined.misfit("ann", doubling(3), '"x"') is None
    with pytest.raises(InvalidRequest, match="too much"):
        await confined.misfit("ann", doubling(40), '"x"')
    assert await confined.misfit("ann", {"type": "string"}, "1") is not None


async def test_a_process_that_has_ended_meanwhile_is_replaced(confined: Confined) -> None:
    await confined.check("ann", GREETING, {})
    for child in confined._idle:
        child._process.kill()
        child._process.wait()
    await confined.check("ann", GREETING, {})
    assert len(confined._idle) == 1


async def test_one_that_never_answers_is_given_up() -> None:
    confined = Confined((sys.executable, "-c", "import time; time.sleep(3600)"), max_job_s=0.0)
    with pytest.raises(InvalidRequest, match="too much"):
        await confined.check("ann", GREETING, {})
    await confined.close()


async def test_one_that_cannot_be_started_is_no_mistake_of_the_caller() -> None:
    confined = Confined(("/nowhere/python",))
    with pytest.raises(Unavailable, match="cannot be started"):
        await confined.check("ann", GREETING, {})
    await confined.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than `select` can count."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this system allows fewer open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    opened = [os.dup(2)]
    while opened[-1] < 1024:
        opened.append(os.dup(2))
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_a_server_of_many_connections_still_follows_templates(confined: Confined) -> None:
    assert await confined.render("ann", GREETING, {"name": "Ann"})


async def test_nothing_to_do_needs_no_process() -> None:
    confined = Confined(("/nowhere/python",))
    await confined.check("ann", (), {})
    await confined.close()


async def test_who_waits_for_too_much_is_told_to_wait(
    confined: Confined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.services.confined.MAX_WAITING", 1)
    first = asyncio.ensure_future(confined.check("ann", GREETING, {}))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await confined.check("ann", GREETING, {})
    await confined.check("bob", GREETING, {})
    await first


async def test_one_owner_keeps_one_process_busy(confined: Confined) -> None:
    hostile = [asyncio.ensure_future(confined.misfit("ann", doubling(40), '"x"')) for _ in range(8)]
    await asyncio.sleep(0)
    await confined.check("bob", GREETING, {})
    assert len(confined._busy) <= 1
    await confined.close()
    found = await asyncio.gather(*hostile, return_exceptions=True)
    # The first may have been refused for its time meanwhile.
    assert {type(error) for error in found} <= {Unavailable, InvalidRequest}
    assert isinstance(found[-1], Unavailable)
    with pytest.raises(Unavailable, match="shutting down"):
        await confined.check("ann", GREETING, {})
