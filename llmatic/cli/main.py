"""`llmatic`: the root command, `serve` and `version`.

Owns the table of commands and the turning of errors into sentences. Never does a command's work.
"""

import sys
from typing import Annotated

import typer

from llmatic import __version__
from llmatic.cli.keys import keys_app
from llmatic.cli.models import models_app
from llmatic.cli.options import ConfigOption
from llmatic.core.errors import LlmaticError

app = typer.Typer(
    name="llmatic",
    help="A self-hosted OpenAI: serve local models to every client that speaks OpenAI's API.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; overrides server.port.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let everybody in who can connect, also from other machines.")
    ] = False,
) -> None:
    """Start the server and serve until SIGINT or SIGTERM."""
    from llmatic.cli.serve import serve as run

    run(config, host, port, insecure=insecure)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"llmatic {__version__}")


def main() -> None:
    """The console script: exit status 0, 2 with a sentence on stderr, or 130 after Ctrl-C."""
    try:
        app()
    except LlmaticError as error:
        typer.echo(f"llmatic: {error.message}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
