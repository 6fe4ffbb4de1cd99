"""`llmatic keys usage`: what the keys used, by day, key, model and operation.

Owns the command's options and what it prints. Reads the configured database, also while servers write it:
what they have counted in the last seconds is not there yet.
"""

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmatic.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from llmatic.config import Settings
    from llmatic.store.usage import UsageSum

DAY_S: Final = 86_400
MAX_DAYS: Final = 3660
_HEAD: Final = ("DAY", "KEY", "MODEL", "OPERATION", "REQUESTS", "INPUT", "CACHED", "OUTPUT")


def show_usage(
    key_id: Annotated[str | None, typer.Argument(metavar="[KEY]", help="A key's id; default: all.")] = None,
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="So many days up to today, in UTC.")] = 7,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was used, by day, key, model and operation. Tokens of prompts include the cached ones."""
    from llmatic.cli.tables import table
    from llmatic.config import load_settings

    rows = [_row(item) for item in _sums(load_settings(config, os.environ), key_id, days)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        typer.echo(f"Nothing was used in {'this day' if days == 1 else f'these {days} days'}.")
    else:
        typer.echo(table(_HEAD, [[str(value) for value in row.values()] for row in rows]))


def _sums(settings: "Settings", key_id: str | None, days: int) -> list["UsageSum"]:
    from llmatic.services.stored import open_keys
    from llmatic.services.usage_report import MICROSECONDS
    from llmatic.store.usage import UsageFilter, sum_usage

    today = int(datetime.now(UTC).timestamp()) // DAY_S
    wanted = UsageFilter(
        (today - days + 1) * DAY_S * MICROSECONDS,
        (today + 2) * DAY_S * MICROSECONDS,
        key_ids=None if key_id is None else (key_id,),
    )
    work = sum_usage(wanted, width_us=DAY_S * MICROSECONDS, group_by=("key_id", "model", "operation"))

    async def run() -> list["UsageSum"]:
        database, _ = open_keys(settings.store, settings.auth)
        try:
            return await database.read(work)
        finally:
            await database.close()

    import asyncio

    return asyncio.run(run())


def _row(item: "UsageSum") -> dict[str, Any]:
    return {
        "day": datetime.fromtimestamp(item.bucket / 1e6, UTC).strftime("%Y-%m-%d"),
        "key_id": item.key_id,
        "model": item.model,
        "operation": item.operation,
        "requests": item.n_requests,
        "input_tokens": item.input_tokens,
        "cached_tokens": item.cached_tokens,
        "output_tokens": item.output_tokens,
    }
