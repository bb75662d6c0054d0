"""The SQLite file of a device's store: who may read it, its schema and its transactions. Knows nothing of records.

The file is for its owner alone (0600, in a folder of 0700), in WAL mode, and what is deleted is overwritten with zeros
(``secure_delete``). Nothing is ever written to a temporary file (``temp_store``). Every commit is on the disk when it
returns (``synchronous = FULL``): a process that is killed in mid-write, or a battery that runs out, loses nothing else.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_APPLICATION_ID = 0x536F4476  # "SoDv", in the file's header: tells a device's store from any other SQLite file
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BLOCK = 1 << 20  # bytes
_WAIT_S = 30.0  # how long a writer waits for another one

MIGRATIONS: tuple[Sequence[str], ...] = (
    (
        "CREATE TABLE conversations (id TEXT PRIMARY KEY, started_at REAL NOT NULL) STRICT",
        """CREATE TABLE turns (
            id INTEGER PRIMARY KEY,
            conversation TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE,
            role TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL) STRICT""",
        "CREATE INDEX turns_by_conversation ON turns (conversation, id)",
        "CREATE INDEX turns_by_time ON turns (at, id)",
        """CREATE TABLE impressions (
            id TEXT PRIMARY KEY, at REAL NOT NULL, wish TEXT NOT NULL, candidates TEXT NOT NULL, shown TEXT NOT NULL)
            STRICT""",
        "CREATE INDEX impressions_by_time ON impressions (at, id)",
        """CREATE TABLE events (at REAL NOT NULL, item TEXT NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (at, item))
            STRICT, WITHOUT ROWID""",
        """CREATE TABLE verdicts (
            id INTEGER PRIMARY KEY, at REAL NOT NULL, verdict TEXT NOT NULL, item TEXT UNIQUE,
            impression TEXT REFERENCES impressions, CHECK (item IS NOT NULL OR impression IS NOT NULL)) STRICT""",
        "CREATE UNIQUE INDEX verdicts_on_impressions ON verdicts (impression) WHERE item IS NULL",
        "CREATE INDEX verdicts_by_impression ON verdicts (impression)",
        # Of an event and a verdict on one item at one moment, the verdict is what the person said in Sotto.
        """CREATE VIEW met AS
            SELECT at, item, verdict FROM verdicts WHERE item IS NOT NULL
            UNION ALL
            SELECT at, item, verdict FROM events AS e
            WHERE NOT EXISTS (SELECT 1 FROM verdicts AS v WHERE v.item = e.item AND v.at = e.at)""",
    ),
    ("ALTER TABLE impressions ADD COLUMN reply TEXT",),
)
"""What brings a file from version n to n + 1; the file's ``user_version`` counts those done."""


class StoreError(RuntimeError):
    """The store cannot be used, or cannot keep what it was given: what, why and what to do."""


class StoreDamaged(StoreError):
    """The store's file is not what was written: nothing can be read from it any more."""


class Database:
    """One connection to the file at ``path``, made where it is missing. Threads may share it, one at a time."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError where the file is something else, damaged, of a newer version or not to be opened."""
        self.path = path.expanduser().absolute()
        self._lock = threading.RLock()
        with self._faults():
            _make_private(self.path)
            # Autocommit: transactions are begun by `transaction` and nowhere else.
            self._connection = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._faults(), _alone(self.path.parent):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Closes the connection; the last one moves what is left in the log into the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection within a transaction that commits at the end, or rolls back when an error passes through."""
        with self._lock, self._faults():
            self._connection.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back already where the disk is full.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def scrub(self, *, whole: bool = False) -> None:
        """Takes the bytes of what was deleted off the disk: out of the log and, when ``whole``, out of all the file.

        StoreError where another program is reading, for which the log has to stay.
        """
        with self._lock, self._faults():
            # The zeros first, so that the end of the file that VACUUM cuts off holds nothing either.
            self._empty_log()
            if whole:
                self._connection.execute("VACUUM")
                self._empty_log()

    def _empty_log(self) -> None:
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(
                f"What was deleted from {self.path} is out of reach but still on the disk, "
                "because another program is reading the store: close it and delete once more."
            )

    def _prepare(self) -> None:
        self._check(self._pragma("user_version"))
        for pragma in ("secure_delete = ON", "temp_store = MEMORY", "foreign_keys = ON", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        if self._pragma("user_version") < len(MIGRATIONS):
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._migrate()

    def _migrate(self) -> None:
        with self.transaction() as connection:
            version = self._pragma("user_version")
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _check(self, version: int) -> None:
        if self._pragma("application_id") != _APPLICATION_ID:
            if version or self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(
                    f"{self.path} is a database but no device's store, and it was not touched. "
                    "Move it away, or choose another folder with --home."
                )
        elif version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} is of version {version}, made by a newer Sotto; this one reads up to {len(MIGRATIONS)}. "
                "Nothing was changed: use that newer Sotto."
            )

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            kind = StoreDamaged if _code(error) in _DAMAGE else StoreError
            raise kind(_explained(self.path, error)) from error


def _make_private(path: Path) -> None:
    """The file and, where it is missing, its folder: for the owner alone. SQLite gives its log the file's mode."""
    if not path.parent.is_dir():
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; SQLite cannot wait for its turn to set a new file's journal mode."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def destroy(path: Path) -> None:
    """Overwrites the file at ``path`` and those of its log with zeros, and deletes them, whatever they hold.

    For a store that is damaged, of which nothing can be deleted singly.
    """
    for name in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        if name.is_file():
            erase(name)


def erase(path: Path) -> None:
    """Overwrites the file at ``path`` with zeros and deletes it."""
    with path.open("r+b") as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(min(left, _BLOCK)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _code(error: sqlite3.Error | OSError) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # without the details that SQLite adds in the higher bits


def _explained(path: Path, error: sqlite3.Error | OSError) -> str:
    code = _code(error)
    if code in _DAMAGE:
        return (
            f"{path} is damaged and cannot be read ({error}). Put a copy of it, or an export, in its place; "
            "or delete it with `sotto device delete` to begin with an empty store."
        )
    if code == sqlite3.SQLITE_FULL:
        return f"{path} cannot grow: the disk is full. What was there is kept; make room, or run `sotto device prune`."
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{path} is being written by another program for longer than {_WAIT_S:.0f} s. Try again when it ends."
    return f"{path} cannot be used as the device's store: {error}. Check the folder's permissions and the disk."
