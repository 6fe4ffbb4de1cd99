"""PostgreSQL: several writing threads, each function in a transaction of its own.

Owns the pool and the times after which a connection is given up. A connection that the server has closed is
found out before it is used, so that a restart of PostgreSQL costs only what ran at that moment; and what had
not got as far as its commit is tried once more.
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from llmatic.core.errors import ConfigError
from llmatic.store.database import N_READERS, N_TRIES, Database, T, Work
from llmatic.store.errors import is_repeatable, opening_failed
from llmatic.store.migrating import migrate

N_WRITERS: Final = 8
# A host that vanishes says nothing: each of these ends the waiting in another state of a connection.
CONNECTION: Final = {
    "connect_timeout": 4,  # seconds
    "keepalives": 1,
    "keepalives_idle": 4,  # seconds
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 6000,  # milliseconds
}
# Milliseconds. What the server itself ends; the last one would otherwise hold rows of a process that hangs.
SESSION: Final = {
    "statement_timeout": 7_000,
    "lock_timeout": 5_000,
    "idle_in_transaction_session_timeout": 60_000,
    # Of a disk without heads: lists follow an index instead of sorting all that they are cut from.
    "random_page_cost": 1.1,
}


class ManyWriters:
    """Runs each function in a thread and a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(N_WRITERS, thread_name_prefix="llmatic-db-writer")

    def submit(self, work: Work[T]) -> Future[T]:
        """As `Writes.submit`."""
        return self._threads.submit(self._run, work)

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()

    def _run(self, work: Work[T]) -> T:
        for n_left in reversed(range(N_TRIES)):
            with self._engine.connect() as connection:
                try:
                    result = work(connection)
                except SQLAlchemyError as error:
                    if n_left and is_repeatable(error):
                        connection.invalidate()  # who may only read now may have a successor elsewhere
                        continue
                    raise
                connection.commit()  # what fails here is not repeated: nobody knows whether it was done
                return result
        raise AssertionError("the last try returns or raises")


def open_postgres(url: URL) -> Database:
    """The database at the URL. Raises ConfigError: no driver, no server, or it lets nobody in."""
    own = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    given = url.query.get("options", "")
    asked = given if isinstance(given, str) else " ".join(given)
    arguments = {name: value for name, value in CONNECTION.items() if name not in url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
            pool_size=N_READERS + N_WRITERS,
            pool_use_lifo=True,  # each prepares the statements that it has seen several times
            max_overflow=0,
            hide_parameters=True,  # errors are logged, and what people wrote is not
            pool_pre_ping=True,
            connect_args={
                "application_name": "llmatic",
                **arguments,
                "options": f"{own} {asked}".strip(),  # of two with one name the later counts
            },
        )
    except (ImportError, NoSuchModuleError):
        raise ConfigError("PostgreSQL needs its driver: pip install 'llmatic[postgres]'") from None
    try:
        with engine.begin() as connection:
            # Another server may be at it, and a large table may take its time.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            migrate(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        raise opening_failed(error, url.render_as_string(hide_password=True)) from error
    except ConfigError:
        engine.dispose()
        raise
    return Database(engine, ManyWriters(engine))
