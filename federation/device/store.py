"""The private store on a person's device: what was said, what was shown, and what the person thought of it.

One SQLite file holds it all (see `federation.device.database` for who may read it and what a crash leaves). Its tables:

    conversations 1 ── n turns             what was said; a conversation goes with its last turn
    impressions   1 ── n verdicts          what was ranked and shown, and the person's verdicts in Sotto
    events                                 what the person met elsewhere: an imported history

A person has one verdict on an item: a newer one replaces it, withdrawing it takes it back whole. Verdicts on items are
events too: `EventStore.events` is both together, one for each item and moment.

The invariant: what the store holds is the newest of what it was given and did not delete, within its `Bounds`; what it
does not hold is not on the disk either. No method logs, and no error tells what a person said. Nothing here
opens a connection: what leaves a device is the business of rounds, and is never a record of this store.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from federation.device import tables
from federation.device.base import Event, Verdict
from federation.device.database import Database, StoreDamaged, StoreError, destroy
from federation.device.records import (
    Conversation,
    Impression,
    Judgement,
    Record,
    RecordError,
    Role,
    Turn,
    check_event,
    check_id,
    from_row,
    header,
    is_header,
    to_row,
)
from federation.device.tables import Bounds

__all__ = ["PERSONAL_PATH", "STORE_PATH", "Bounds", "EventStore", "Status", "StoreDamaged", "StoreError", "destroy"]

STORE_PATH = Path("device") / "events.sqlite"
"""Where the store is within the folder of all state."""

PERSONAL_PATH = Path("device") / "personal"
"""Where what was learned of it for the person alone is (`federation.device.dual`)."""


@dataclass(frozen=True)
class Status:
    """What the store holds: how many of each, its bytes on the disk, the times of its oldest and newest event."""

    path: str
    bytes: int
    counts: dict[str, int]
    oldest: float | None
    newest: float | None


class EventStore:
    """The store in the file ``path``. Adding never exceeds ``bounds``: the oldest make room. Close it at the end.

    Every method raises StoreError where the file fails it, or where it was given what cannot be kept.
    """

    def __init__(self, path: Path, bounds: Bounds | None = None) -> None:
        self._database = Database(path)
        self._bounds = bounds or Bounds()

    @classmethod
    def at_home(cls, home: Path, bounds: Bounds | None = None) -> Self:
        """The store within the folder of all state, in a folder of its own that nobody else may enter."""
        path = home.expanduser() / STORE_PATH
        store = cls(path, bounds)
        path.parent.chmod(0o700)
        return store

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._database.path

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_event(self, event: Event) -> bool:
        """Keeps ``event``, as `add_events` does; whether it was new."""
        return self.add_events([event]) > 0

    def add_events(self, events: Iterable[Event]) -> int:
        """Keeps ``events``, all of them or none; returns how many were new.

        Of two events of one item at one moment the first stays, so adding the same again changes nothing.
        """
        with self._adding() as connection:
            return tables.insert_events(connection, map(check_event, events))

    def add_impression(self, impression: Impression) -> str:
        """Keeps ``impression`` and returns its id; one of the same id stays as it is."""
        with self._adding() as connection:
            tables.insert(connection, impression)
        return impression.id

    def add_verdict(
        self, verdict: Verdict, *, item: str | None = None, impression: str | None = None, at: float | None = None
    ) -> None:
        """Puts the verdict on ``item``, or on the whole ``impression``, in force, in place of the one before.

        ``at`` is now when it is None. StoreError where the impression is not here or never ranked the item.
        """
        with self._adding() as connection:
            given = Judgement(time.time() if at is None else at, verdict, item, impression)
            tables.delete_judgement(connection, item, impression)
            tables.insert(connection, given)

    def withdraw_verdict(self, *, item: str | None = None, impression: str | None = None) -> bool:
        """Takes back the verdict on ``item`` or, without one, on the whole ``impression``; whether there was one."""
        with self._database.transaction() as connection:
            return tables.delete_judgement(connection, item, impression)

    def add_turn(self, conversation: str, role: Role, text: str, at: float | None = None) -> None:
        """Keeps what was said, now when ``at`` is None; the first turn of a ``conversation`` begins it."""
        with self._adding() as connection:
            turn = Turn(role, text, time.time() if at is None else at)
            tables.insert_turn(connection, check_id(conversation), turn)

    def events(self) -> list[Event]:
        """Everything the person met, verdicts on items included, oldest first; one for each item and moment."""
        with self._database.transaction(reading=True) as connection:
            return tables.events(connection, verdicts=True)

    def impressions(self) -> list[Impression]:
        """The impressions, oldest first."""
        with self._database.transaction(reading=True) as connection:
            return tables.impressions(connection)

    def verdicts(self) -> list[Judgement]:
        """The verdicts in force, oldest first."""
        with self._database.transaction(reading=True) as connection:
            return tables.judgements(connection)

    def conversations(self) -> list[Conversation]:
        """The conversations with their turns, in the order they began."""
        with self._database.transaction(reading=True) as connection:
            return tables.conversations(connection)

    def counts(self) -> dict[str, int]:
        """How many events (added ones), verdicts, impressions, conversations and turns there are."""
        with self._database.transaction(reading=True) as connection:
            return tables.counts(connection)

    def status(self) -> Status:
        """What the store holds, and how much room it takes."""
        with self._database.transaction(reading=True) as connection:
            counts = tables.counts(connection)
            oldest, newest = connection.execute("SELECT min(at), max(at) FROM met").fetchone()
        size = sum(path.stat().st_size for path in self.path.parent.glob(f"{self.path.name}*"))
        return Status(str(self.path), size, counts, oldest, newest)

    def export(self) -> Iterator[dict[str, Any]]:
        """Everything, as JSON objects that `load` reads back: a header, then the records as of one moment."""
        with self._database.transaction(reading=True) as connection:
            records: list[Record] = [
                *tables.events(connection, verdicts=False),
                *tables.impressions(connection),
                *tables.judgements(connection),
                *tables.conversations(connection),
            ]
        yield header()
        yield from map(to_row, records)

    def load(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Takes in what `export` gave, all of it or nothing; returns how many records were new.

        What is here already stays as it is: an event, a verdict, an impression, and a conversation as a whole.
        """
        added = 0
        with self._adding() as connection:
            for place, row in enumerate(rows, 1):
                try:
                    added += not is_header(row) and tables.insert(connection, from_row(row))
                except RecordError as error:
                    raise RecordError(f"record {place}: {error}") from None
        return added

    def prune(self, bounds: Bounds, now: float | None = None) -> dict[str, int]:
        """Deletes the oldest above ``bounds``, off the disk too; returns how many of each kind went.

        ``days`` are counted back from ``now``, in seconds since the epoch.
        """
        with self._database.transaction() as connection:
            before = tables.counts(connection)
            tables.prune(connection, bounds, time.time() if now is None else now)
            after = tables.counts(connection)
        self._database.scrub()
        return {name: before[name] - after[name] for name in before}

    def delete(self) -> dict[str, int]:
        """Deletes everything, its bytes in every file of the store included; returns how many of each kind went."""
        with self._database.transaction() as connection:
            gone = tables.counts(connection)
            tables.delete_all(connection)
        self._database.scrub(whole=True)
        return gone

    @contextmanager
    def _adding(self) -> Iterator[sqlite3.Connection]:
        """A transaction that ends within the bounds; what cannot be kept becomes a StoreError."""
        try:
            with self._database.transaction() as connection:
                yield connection
                tables.prune(connection, self._bounds, time.time())
        except RecordError as error:
            raise StoreError(f"Nothing was kept: {error}.") from None
