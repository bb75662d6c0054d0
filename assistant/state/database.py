"""The database behind the server: SQLite in `SOTTO_HOME`, or PostgreSQL by URL; the same code runs on both.

Opening brings the tables up to date. Processes that open at once do it one after the other, so any number of them
may start together. Calls block: from a coroutine, make them in a thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from assistant.errors import StateUnavailable
from assistant.settings import Settings
from assistant.state.migrations import upgrade

FILE_NAME = "state.sqlite"
WAIT_SECONDS = 60
"""How long a SQLite writer waits for another one, at most."""

_READING = "sotto_reading"


class Database:
    """A database whose tables are up to date. May be shared by threads; close it at the end."""

    def __init__(self, url: URL) -> None:
        """Raises StateUnavailable when it cannot be reached, or was made by a newer version."""
        self.name = url.render_as_string(hide_password=True)
        self._file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        try:
            self._engine = _engine(url)
            self._reading = self._engine.execution_options(**{_READING: True})
            self._prepare()
        except CommandError as error:
            raise StateUnavailable(
                f"{self.name} was made by a newer Sotto ({error}). Use that version, or another SOTTO_DATABASE_URL."
            ) from error
        except (SQLAlchemyError, OSError, ImportError) as error:
            raise StateUnavailable(_unusable(self.name, error)) from error

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The database that ``settings`` name."""
        return cls(database_url(settings))

    def close(self) -> None:
        """Closes every connection that is not in use."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end, or rolls back when an error passes through."""
        with self._faults(), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """As `write`, without the mapping of rows to objects: for what every request does."""
        with self._faults(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction to read in; what it changes is lost."""
        with self._faults(), Session(self._reading) as session:
            yield session

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            raise StateUnavailable(_unusable(self.name, error)) from error

    def _prepare(self) -> None:
        try:
            with _alone(self._file) if self._file else nullcontext(), self._engine.begin() as connection:
                exclude(connection, "migrations")
                upgrade(connection)
        except BaseException:
            self.close()
            raise


def database_url(settings: Settings) -> URL:
    """Where the state is; StateUnavailable for an address that is none, or of another kind of database."""
    if not settings.database_url:
        return URL.create("sqlite", database=str(settings.home.expanduser().absolute() / FILE_NAME))
    try:
        url = make_url(settings.database_url)
    except ArgumentError as error:
        # The value may hold a password.
        raise StateUnavailable("SOTTO_DATABASE_URL is no address, like postgresql://user@host/database.") from error
    if url.get_backend_name() not in {"postgresql", "sqlite"}:
        raise StateUnavailable(f"SOTTO_DATABASE_URL names {url.drivername}: use postgresql:// or sqlite:///.")
    return url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url


def exclude(connection: Connection, name: str) -> None:
    """Holds whoever asks for the same ``name`` until this transaction ends.

    On SQLite nothing is left to do: of transactions that write there is one at a time.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(lock, {"name": f"sotto {name}"})


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, connect_args={"connect_timeout": 10}, pool_pre_ping=True, **options)
    if url.database:
        _private_file(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": WAIT_SECONDS}, **options)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that turns from reading to writing half-way cannot wait for another writer: begin as one.
    reading = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _private_file(path: Path) -> None:
    """Makes the file for its owner alone; SQLite gives the files it puts beside it the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time; SQLite cannot wait for its turn to set a new file's journal mode."""
    path = file.with_name(f"{file.name}.lock")
    _private_file(path)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unusable(name: str, error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    reason = str(cause).strip().partition("\n")[0]
    if isinstance(error, (NoSuchModuleError, ImportError)):
        return f"{name} needs a driver that is not installed: {reason}"
    return f"The state database {name} cannot be used: {reason}. Check that it runs, and SOTTO_DATABASE_URL."
