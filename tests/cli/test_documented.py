"""Every command and every option stands in docs/cli.md."""

from pathlib import Path

import pytest
import typer

from llmatic.cli.main import app

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands() -> list[tuple[str, list[str]]]:
    """(full name, options) of every command."""
    found: list[tuple[str, list[str]]] = []
    stack = [("llmatic", typer.main.get_command(app))]
    while stack:
        name, command = stack.pop()
        children = getattr(command, "commands", {})
        stack += [(f"{name} {child}", value) for child, value in children.items()]
        if not children:
            found.append((name, [option for parameter in command.params for option in parameter.opts]))
    return found


@pytest.mark.parametrize(("name", "options"), commands())
def test_documented(name: str, options: list[str]) -> None:
    assert f"## `{name}" in DOCS
    section = DOCS.split(f"## `{name}", 1)[1].split("\n## ", 1)[0]
    assert [option for option in options if option.startswith("--") and option not in section] == []
