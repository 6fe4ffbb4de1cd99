"""Options that several commands share. Owns their names and help; never a command."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration; default: ./config.yaml if there."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
