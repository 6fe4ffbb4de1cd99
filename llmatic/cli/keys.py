"""`llmatic keys`: create, list, show, change, rotate, revoke, forget; and what they used.

Owns the commands' options and what they print. Works on the configured database, also while servers use it.
"""

import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from llmatic.cli.options import ConfigOption, JsonOption
from llmatic.cli.usage import show_usage
from llmatic.core.principal import DEFAULT_SCOPES, SCOPES

if TYPE_CHECKING:
    from llmatic.config import Settings
    from llmatic.services.keys import Keys
    from llmatic.store.keys import KeyRecord

T = TypeVar("T")

PAGE = 1000

keys_app = typer.Typer(help="API keys: who may call, and what they may do.", no_args_is_help=True)
keys_app.command("usage")(show_usage)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `list` shows it.")]


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option("--name", "-n", help="What the key is for.")],
    owner: Annotated[
        str | None,
        typer.Option(
            help="Whose files, batches and runs are seen; default: the key's own, which no other sees."
        ),
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help=f"Any of {', '.join(SCOPES)}; default: {', '.join(DEFAULT_SCOPES)}."),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model that may be used; default: all of them.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 12h or 30d; default: never.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=N", help="Such as requests_per_minute=60; 0: no limit."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once. --scope, --model and --limit may be given several times."""
    settings = _settings(config)
    lifetime_s = None if expires_in is None else _duration(expires_in, "--expires-in")
    wanted = dict(map(_limit, limits or ()))
    record, key = _run(
        settings,
        lambda keys: keys.create(
            name,
            owner=owner,
            scopes=scopes or DEFAULT_SCOPES,
            models=models or None,
            lifetime_s=lifetime_s,
            limits=wanted,
        ),
    )
    _note_unknown(settings, models)
    if as_json:
        _print_json({**_shown(record), "value": key})
        return
    # The key alone on stdout, so that a script can take it.
    typer.echo(f"The key {record.id} ({record.name}), which cannot be shown again:", err=True)
    typer.echo(key)


@keys_app.command("list")
def list_keys(
    all_keys: Annotated[bool, typer.Option("--all", help="Also the revoked and the expired ones.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys, newest first."""
    from llmatic.cli.tables import table

    records = _run(_settings(config), lambda keys: _every(keys, with_revoked=all_keys))
    now = _now()
    records = [record for record in records if all_keys or record.is_usable(now)]
    if as_json:
        _print_json([_shown(record) for record in records])
    elif not records:
        typer.echo("There are no keys; `llmatic keys create --name me` makes one.")
    else:
        head = ["ID", "NAME", "OWNER", "KEY", "SCOPES", "MODELS", "CREATED", "EXPIRES", "LAST USED", "STATE"]
        typer.echo(table(head, [_row(record, now) for record in records]))


@keys_app.command("show")
def show_key(key_id: KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is known of a key, which is not the key."""
    _print_key(_run(_settings(config), lambda keys: keys.get(key_id)), as_json=as_json)


@keys_app.command("change")
def change_key(
    key_id: KeyArgument,
    name: Annotated[str | None, typer.Option("--name", "-n", help="What the key is for.")] = None,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help=f"Any of {', '.join(SCOPES)}, in place of the old.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model that may be used, in place of the old.")
    ] = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Every model may be used.")] = False,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 12h or 30d, from now.")
    ] = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="It opens until it is revoked.")
    ] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=N", help="NAME= lets the configuration's limit hold again."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a key may do; what is not said stays. Servers that run notice within seconds."""
    if models and all_models:
        raise typer.BadParameter("say either --model or --all-models", param_hint="--all-models")
    if expires_in is not None and never_expires:
        raise typer.BadParameter("say either --expires-in or --never-expires", param_hint="--never-expires")
    wanted: dict[str, Any] = {"name": name, "scopes": scopes or None, "models": models or None}
    wanted = {field: value for field, value in wanted.items() if value is not None}
    if all_models:
        wanted["models"] = None
    if never_expires or expires_in is not None:
        wanted["lifetime_s"] = None if expires_in is None else _duration(expires_in, "--expires-in")
    if limits:
        wanted["limits"] = dict(_limit(text, may_be_none=True) for text in limits)
    if not wanted:
        raise typer.BadParameter("say what to change, such as --limit requests_per_minute=60")
    settings = _settings(config)
    record = _run(settings, lambda keys: keys.change(key_id, wanted))
    _note_unknown(settings, models)
    _print_key(record, as_json=as_json)


@keys_app.command("rotate")
def rotate_key(
    key_id: KeyArgument,
    keep: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long the old key still opens, such as 1h; default: not."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a key: print a new one, this once, with the same owner, scopes, models and limits."""
    keep_s = 0.0 if keep is None else _duration(keep, "--keep")
    record, key = _run(_settings(config), lambda keys: keys.rotate(key_id, keep_s))
    if as_json:
        _print_json({**_shown(record), "value": key})
        return
    typer.echo(f"The key {record.id} ({record.name}), which cannot be shown again:", err=True)
    typer.echo(key)


@keys_app.command("revoke")
def revoke_key(key_id: KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Make a key worthless for good. Servers that run notice within seconds."""
    record = _run(_settings(config), lambda keys: keys.revoke(key_id))
    if as_json:
        _print_json(_shown(record))
    else:
        typer.echo(f"Revoked {record.id} ({record.name}).")


@keys_app.command("forget")
def forget_key(key_id: KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Delete what is known of a key that was revoked or has expired. What it used and made stays.

    A server without any key, also such ones, serves its own machine without asking from its next start on.
    """
    record = _run(_settings(config), lambda keys: keys.forget(key_id))
    if as_json:
        _print_json(_shown(record))
    else:
        typer.echo(f"Forgot {record.id} ({record.name}).")


@keys_app.command("take-secret")
def take_secret(config: ConfigOption = None) -> None:
    """Use the present secret (auth.secret, or its file) from now on; keys made with another open nothing."""
    from llmatic.services.stored import open_keys

    settings = _settings(config)
    database, _ = open_keys(settings.store, settings.auth, takes_secret=True)
    database.close_now()
    typer.echo("Keys are made with the present secret from now on; those made with another open nothing.")


def _settings(config: Path | None) -> "Settings":
    from llmatic.config import load_settings

    return load_settings(config, os.environ)


def _run(settings: "Settings", work: Callable[["Keys"], Awaitable[T]]) -> T:
    """What `work` gives, with the database open."""
    from llmatic.services.stored import open_keys

    async def run() -> T:
        database, keys = open_keys(settings.store, settings.auth)
        try:
            return await work(keys)
        finally:
            await database.close()

    import asyncio

    return asyncio.run(run())


async def _every(keys: "Keys", *, with_revoked: bool) -> list["KeyRecord"]:
    found: list[KeyRecord] = []
    while page := await keys.page(PAGE, found[-1].id if found else None, with_revoked=with_revoked):
        found += page
        if len(page) < PAGE:
            break
    return found


def _duration(text: str, option: str) -> float:
    from llmatic.config.readers import duration
    from llmatic.config.tree import At, Scalar

    seconds: float = duration(zero=False)(Scalar(At("llmatic keys"), text, "str"), option)
    return seconds


def _note_unknown(settings: "Settings", models: list[str] | None) -> None:
    names = {known for spec in settings.models.values() for known in (spec.id, *spec.aliases)}
    for unknown in sorted(set(models or ()) - names):
        typer.echo(f"note: no model of this configuration is called '{unknown}'", err=True)


def _limit(text: str, *, may_be_none: bool = False) -> tuple[str, int | None]:
    name, sign, value = text.partition("=")
    if may_be_none and sign and not value:
        return name.strip(), None
    if not value.isdecimal():
        raise typer.BadParameter(
            f"'{text}': write NAME=N, such as requests_per_minute=60", param_hint="--limit"
        )
    return name.strip(), int(value)


def _row(record: "KeyRecord", now: int) -> list[str]:
    state = "revoked" if record.revoked_at is not None else "usable" if record.is_usable(now) else "expired"
    models = "all" if record.models is None else ", ".join(record.models) or "none"
    times = [_time(record.created_at), _time(record.expires_at), _time(record.used_at)]
    owner = "itself" if record.owner == record.id else record.owner
    return [record.id, record.name, owner, record.hint, ", ".join(record.scopes), models, *times, state]


def _print_key(record: "KeyRecord", *, as_json: bool) -> None:
    from llmatic.cli.tables import pairs

    if as_json:
        _print_json(_shown(record))
        return
    limits = ", ".join(f"{name}={value}" for name, value in sorted(record.limits.items()))
    names = ["id", "name", "owner", "key", "scopes", "models", "created", "expires", "last used", "state"]
    row = dict(zip(names, _row(record, _now()), strict=True))
    typer.echo(pairs({**row, "limits": limits or "-"}))


def _shown(record: "KeyRecord") -> dict[str, Any]:
    from llmatic.services.keys import MICROSECONDS

    times = {
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "last_used_at": record.used_at,
    }
    return {
        "id": record.id,
        "name": record.name,
        "owner": record.owner,
        "redacted_value": record.hint,
        "scopes": list(record.scopes),
        "models": None if record.models is None else list(record.models),
        "limits": dict(record.limits),
        **{name: None if time is None else time // MICROSECONDS for name, time in times.items()},
    }


def _time(microseconds: int | None) -> str:
    if microseconds is None:
        return "-"
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1e6)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
