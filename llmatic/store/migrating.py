"""Brings a database to the newest schema, whoever comes first, once.

Owns the order of the migrations, by way of alembic, which is imported only if there is something to do.
Blocks.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from llmatic.core.errors import ConfigError

NEWEST: Final = "0007"
SCRIPTS: Final = Path(__file__).parent / "migrations"

_LOCK = 0x6C6C6D61746963  # PostgreSQL's advisory locks are numbers; this one spells the project's name


def is_newest(connection: Connection) -> bool:
    """Whether there is nothing to do."""
    return _revision(connection) == NEWEST


def migrate(connection: Connection) -> None:
    """Upgrade within the connection's transaction. Raises ConfigError for a newer schema than ours."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if is_newest(connection):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(f"The database was made by a newer llmatic: {error}") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
