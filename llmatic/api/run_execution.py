"""POST /runs, /execute and /interactions/{id}/execute.

Owns the way of a run: planned, executed and recorded at once, or kept until somebody listens to it. Event
loop's thread.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import orjson

from llmatic.api.abilities import require_writer
from llmatic.api.chat import parse_chat
from llmatic.api.chat_media import with_media
from llmatic.api.context import ApiContext
from llmatic.api.generate import Call
from llmatic.api.replies import Answer
from llmatic.api.run_plan import Plan, plan_run
from llmatic.api.run_render import run_object
from llmatic.api.taping import render_of
from llmatic.config import ModelSpec
from llmatic.core.errors import LlmaticError
from llmatic.core.types import Event, GenerationRequest
from llmatic.services.choices import Choice, Folding
from llmatic.services.composing import OF_RUN, Taken, composed, config_of
from llmatic.services.generation import Generation
from llmatic.services.redaction import Redaction
from llmatic.services.tapes import Ask, Tape
from llmatic.services.terms import Caller
from llmatic.store.runs import RunBody, RunRecord

Body = dict[str, Any]


async def create_run(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """Execute and record; with `stream` only record, for whoever listens to its stream then."""
    if "interaction_id" in body:
        body = {**body, "interaction": body["interaction_id"]}
    if body.get("parent") is not None:
        await context.stored.runs.get(caller.principal.owner, body["parent"])
    plan = await plan_run(context, body, caller)
    await require_writer(context, plan.spec)
    run_id = f"run_{secrets.token_hex(12)}"
    if body.get("stream"):
        taken = await _waiting(context, plan, run_id, caller)
    else:
        with caller.meter.admitted(plan.body):
            taken = await _executed(context, plan, run_id, caller)
    return Answer(await asyncio.to_thread(_written, taken, context.recorder.redaction))


def _written(taken: Taken, redaction: Redaction) -> bytes:
    made = composed(taken, redaction, 0)
    assert made is not None, "it is promised"
    return orjson.dumps(run_object(*made))


async def _executed(context: ApiContext, plan: Plan, run_id: str, caller: Caller) -> Taken:
    call, requests = await call_of(context, plan.body, plan.spec, run_id, caller)
    ask = Ask(
        run_id,
        "run",
        plan.recorded,
        plan.spec.id,
        caller.principal,
        is_promised=True,
        interaction=None if plan.interaction is None else plan.interaction.id,
        details=plan.details,
    )
    tape, folding = Tape(context.recorder, ask), Folding(1, 1, 1)
    generation = Generation(opener(context, plan.spec), requests)
    try:
        async with generation:
            while (events := await generation.batch()) is not None:
                folding.add(events)
                tape.n_chunks += len(events)
        problem = await problem_of(
            context, caller.principal.owner, plan.recorded[OF_RUN], folding.choices()[0]
        )
        outcome = render_of(context, call, plan.spec)(folding)
        await tape.keep(lambda: outcome, problem)
    except BaseException as error:
        tape.fail(error)
        raise
    finally:
        caller.meter.count_generation(plan.spec.id, generation)
    assert tape.taken is not None, "what was answered was recorded"
    return tape.taken


async def _waiting(context: ApiContext, plan: Plan, run_id: str, caller: Caller) -> Taken:
    """The run as it waits for its listener, kept. Raises Unavailable if it cannot be."""
    now, principal = context.recorder.now(), caller.principal
    record = RunRecord(
        id=run_id,
        owner=principal.owner,
        key_id=principal.id,
        kind="run",
        is_stored=False,
        model=plan.spec.id,
        interaction=None if plan.interaction is None else plan.interaction.id,
        status="created",
        created_at=now,
        updated_at=now,
        expires_at=context.recorder.expiry(now),
        summary={**plan.details, "config": config_of(plan.body)},
    )
    taken = Taken(record, plan.recorded, is_promised=True)
    made = await asyncio.to_thread(composed, taken, context.recorder.redaction, 0)
    assert made is not None, "it is promised"
    # What is to be executed must be there as it was asked for: it is redacted when it has been.
    await context.stored.runs.add(made[0], RunBody(orjson.dumps(plan.recorded).decode()))
    return taken


async def call_of(
    context: ApiContext, body: Body, spec: ModelSpec, run_id: str, caller: Caller
) -> tuple[Call, tuple[GenerationRequest, ...]]:
    """The chat request of a run, ready for the engine. Raises InvalidRequest."""
    call = parse_chat(body, spec, run_id, caller)
    return call, await with_media(call.requests, context.media, context.pool.info(spec.id))


async def problem_of(context: ApiContext, owner: str, own: Body, choice: Choice) -> Body | None:
    """Why the answer is not what the run's schema wants, if it has one that is to be checked."""
    schema = own.get("result_schema")
    if schema is None or not own.get("do_validate") or choice.calls:
        return None
    try:
        found = await context.stored.interactions.confined.misfit(owner, schema, choice.text)
    except LlmaticError as error:
        found = error.message
    if found is None:
        return None
    return {
        "code": "validation_error",
        "message": f"{found} It was cut off." if choice.finish_reason == "length" else found,
    }


def opener(context: ApiContext, spec: ModelSpec) -> "partial[AsyncGenerator[Event, None]]":
    """How a generation is begun."""
    return partial(context.pool.generate, spec.id)
