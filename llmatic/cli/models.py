"""`llmatic models`: list, show, check.

Owns the three commands' options and what they print. Looks at files only through `inspection`; never
loads a model and never downloads one.
"""

import json
from typing import Annotated, Any

import typer

from llmatic.cli.options import ConfigOption, JsonOption

RARE = frozenset({"base", "adapters", "draft"})  # columns that are left out if nothing stands in them

models_app = typer.Typer(
    help="The configured models: what there is, what is set, what is wrong.", no_args_is_help=True
)


@models_app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the models: id, engine, source, size, whether the files are here, what they can, what is set."""
    from llmatic.cli.inspection import open_registry, overview
    from llmatic.cli.tables import table
    from llmatic.services.capabilities import KnownCapabilities

    registry = open_registry(config)
    known = KnownCapabilities(registry)
    rows = [overview(spec, known) for spec in registry.specs()]
    if as_json:
        _print_json(rows)
    elif not rows:
        typer.echo("No models are configured; add one under models: in config.yaml.")
    else:
        keys = [key for key in rows[0] if key not in RARE or any(row[key] for row in rows)]
        cells = [[_cell(row[key]) for key in keys] for row in rows]
        typer.echo(table([key.upper() for key in keys], cells))


@models_app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An id or an alias.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every value that a model is served with, defaults included."""
    from llmatic.cli.inspection import abilities, effective, open_registry
    from llmatic.cli.tables import pairs

    registry = open_registry(config)
    values = effective(registry.resolve(model), registry)
    if as_json:
        _print_json(values)
    else:
        values["capabilities"] = abilities(values["capabilities"])
        typer.echo(pairs({key: _cell(value) for key, value in values.items()}))


@models_app.command("check")
def check_models(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that each model's file is there, whole and usable; exit status 1 if one is not."""
    from llmatic.cli.inspection import check, open_registry
    from llmatic.cli.tables import pairs

    registry = open_registry(config)
    specs = [registry.resolve(name) for name in models] if models else list(registry.specs())
    reports = [check(spec, registry) for spec in specs]
    if as_json:
        _print_json(reports)
    for report in () if as_json else reports:
        typer.echo(f"{report['id']}: {'ok' if report['ok'] else 'not usable'}")
        facts = {key: _cell(value) for key, value in report["facts"].items()}
        if facts:
            typer.echo(pairs(facts, indent=2))
        for problem in report["problems"]:
            typer.echo(f"  problem: {problem}")
        for note in report["notes"]:
            typer.echo(f"  note: {note}")
    if not all(report["ok"] for report in reports):
        raise typer.Exit(1)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_item, value)) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else "-"
    return str(value)


def _item(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"path", "scale"}:
        return f"{value['path']} × {value['scale']:g}"
    return str(value)
