"""The catalogue's SQLite file: its schema, its connections and its transactions. Knows nothing of items.

The file is in WAL mode: readers never wait for a writer. Connections are kept for reuse, one for each caller at a time,
so any number of threads may read at once.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from retrieval.tally import Tally

_APPLICATION_ID = 0x536F7474  # "Sott", in the file's header: tells a catalogue from any other SQLite file
_FORMAT = 1
_WAIT_S = 60.0  # how long a writer waits for another one

_SCHEMA = (
    "CREATE TABLE items (id TEXT PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE facets (field TEXT, value TEXT, count INTEGER NOT NULL, PRIMARY KEY (field, value)) WITHOUT ROWID",
    "CREATE TABLE state (revision INTEGER NOT NULL, count INTEGER NOT NULL, total BLOB NOT NULL, digest TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
)


class CatalogueError(RuntimeError):
    """The catalogue's file cannot be used, or an item cannot be kept in it."""


class Database:
    """Connections to one catalogue file, which is made when it does not exist."""

    def __init__(self, path: Path) -> None:
        """Raises CatalogueError when ``path`` is something else, or of another format."""
        self.path = path.expanduser()
        self._idle: deque[sqlite3.Connection] = deque()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise CatalogueError(
                f"{path} cannot be opened as a catalogue: {error}. Move it away, or choose another folder with --home."
            ) from error

    def close(self) -> None:
        """Closes the connections that nobody is using."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for this caller alone; CatalogueError when the file fails it."""
        connection = self._idle.pop() if self._idle else self._connect()
        try:
            yield connection
        except sqlite3.Error as error:
            connection.close()
            raise CatalogueError(f"{self.path}: {error}. Check the disk's space and the file's permissions.") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection within a transaction that commits at the end, or rolls back when an error passes through."""
        with self.connection() as connection, begun(connection):
            yield connection

    def rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        """The rows that ``query`` selects."""
        with self.connection() as connection:
            return connection.execute(query, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        # Autocommit: transactions are begun by `begun` and nowhere else.
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _prepare(self) -> None:
        with self.connection() as connection:
            if not self._is_catalogue(connection):
                connection.execute("PRAGMA journal_mode = WAL")
                with begun(connection):
                    if not self._is_catalogue(connection):  # another process may have been first
                        _create(connection)

    def _is_catalogue(self, connection: sqlite3.Connection) -> bool:
        """False for an empty file; CatalogueError for one that holds something else."""
        application, written = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        if application == _APPLICATION_ID and written == _FORMAT:
            return True
        if application == _APPLICATION_ID:
            raise CatalogueError(
                f"{self.path} is of format {written} and this version reads format {_FORMAT}: "
                "use the version of Sotto that wrote it, or import the items again into another --home"
            )
        if written or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise CatalogueError(f"{self.path} is a database but no catalogue; choose another folder with --home")
        return False


@contextmanager
def begun(connection: sqlite3.Connection, mode: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[None]:
    """A transaction on ``connection``; an immediate one waits its turn behind another writer of the catalogue."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def read_tally(connection: sqlite3.Connection) -> Tally:
    """The tally of the items as they are."""
    count, total = connection.execute("SELECT count, total FROM state").fetchone()
    tally = Tally(count, int.from_bytes(total, "big"))
    for field, value, held in connection.execute("SELECT field, value, count FROM facets"):
        tally.facets[field, value] = held
    return tally


def write_tally(connection: sqlite3.Connection, tally: Tally) -> None:
    """Keeps ``tally`` as that of the items, and counts the revision up when it differs from the former one."""
    changed = connection.execute(
        "UPDATE state SET revision = revision + 1, count = ?, total = ?, digest = ? WHERE digest <> ?",
        (tally.count, tally.packed, tally.digest, tally.digest),
    )
    if changed.rowcount:
        connection.execute("DELETE FROM facets")
        rows = [(*key, count) for key, count in tally.facets.items() if count > 0]
        connection.executemany("INSERT INTO facets VALUES (?, ?, ?)", rows)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    empty = Tally()
    connection.execute("INSERT INTO state VALUES (0, 0, ?, ?)", (empty.packed, empty.digest))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
