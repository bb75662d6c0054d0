"""The private store of a person's device: one SQLite file that nothing of ever leaves but by `EventStore.export`.

Four tables: what the person met (events), what was shown to them (impressions), what they said and were told (turns),
and the format's version in the file's header. Invariants: an event is there once for its time and item, whatever is
imported again; a change is one transaction, so a kill at any point leaves the store before or after it; deleted bytes
are overwritten. The file is readable by its owner alone. Nothing of it is ever logged.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from federation.device.base import Event

FORMAT = 1
DAY = 24 * 3600.0
_TABLES = """
CREATE TABLE events (at REAL NOT NULL, item TEXT NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (at, item)) WITHOUT ROWID;
CREATE TABLE impressions (id TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE turns (
    id INTEGER PRIMARY KEY, conversation TEXT NOT NULL, at REAL NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX turns_at ON turns (at);
"""
_COUNT = {
    "events": "SELECT count(*) FROM events",
    "impressions": "SELECT count(*) FROM impressions",
    "turns": "SELECT count(*) FROM turns",
}
_CLEAR = ("DELETE FROM events", "DELETE FROM impressions", "DELETE FROM turns")
_OLDER = tuple(f"{clear} WHERE at < ?" for clear in _CLEAR)
_BUT_LATEST = (
    "DELETE FROM events WHERE (at, item) NOT IN (SELECT at, item FROM events ORDER BY at DESC, item DESC LIMIT ?)",
    "DELETE FROM impressions WHERE id NOT IN (SELECT id FROM impressions ORDER BY at DESC, id DESC LIMIT ?)",
    "DELETE FROM turns WHERE id NOT IN (SELECT id FROM turns ORDER BY id DESC LIMIT ?)",
)


class StoreError(Exception):
    """The store cannot do what is asked; the message says why and what to do."""


@dataclass(frozen=True)
class Impression:
    """What was shown at ``at``: the ``candidates`` that were ranked and those ``shown``, best first, for a ``wish``.

    ``verdicts`` are by item and may change; ``id`` is the reply's recommendation id.
    """

    id: str
    at: float
    candidates: tuple[str, ...]
    shown: tuple[str, ...]
    wish: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    conversation: str
    at: float
    role: Literal["user", "assistant"]
    text: str


class EventStore:
    """The store at ``path``. For one thread; any number of processes may open it."""

    def __init__(self, path: Path) -> None:
        """StoreError where the file is no store, of a later format, or cannot be written."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = not path.exists()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            if new:
                path.chmod(0o600)
            for pragma in ("journal_mode = WAL", "secure_delete = ON", "synchronous = FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if found == 0:
                with self._writing():
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise StoreError(
                f"{path} cannot be opened: {error}. Move it away, and import your export again."
            ) from error
        if found > FORMAT:
            self._connection.close()
            raise StoreError(f"{path} was written by a later Sotto (format {found}): install that one.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def add_events(self, events: Iterable[Event]) -> int:
        """Adds events, or puts their verdicts in the place of earlier ones; returns how many are new."""
        before = self.counts()["events"]
        with self._writing():
            self._connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET verdict = excluded.verdict",
                ((event.at, event.item, event.verdict) for event in events),
            )
        return self.counts()["events"] - before

    def add_impression(self, impression: Impression) -> None:
        """Keeps what was shown, in the place of an impression of the same id."""
        content = {name: value for name, value in asdict(impression).items() if name not in {"id", "at"}}
        with self._writing():
            self._connection.execute(
                "INSERT OR REPLACE INTO impressions VALUES (?, ?, ?)", (impression.id, impression.at, _json(content))
            )

    def judge(self, impression: str, item: str, verdict: str | None) -> None:
        """Puts a verdict on a shown item in force; None takes it back. StoreError for what was never shown."""
        with self._writing():
            row = self._connection.execute("SELECT at, content FROM impressions WHERE id = ?", (impression,)).fetchone()
            content = json.loads(row[1]) if row else {"shown": ()}
            if item not in content["shown"]:
                raise StoreError(f"{item!r} was not shown under {impression!r}.")
            content["verdicts"].pop(item, None)
            if verdict is not None:
                content["verdicts"][item] = verdict
            self._connection.execute("UPDATE impressions SET content = ? WHERE id = ?", (_json(content), impression))

    def add_turns(self, turns: Iterable[Turn]) -> None:
        """Keeps messages."""
        with self._writing():
            self._connection.executemany(
                "INSERT INTO turns (conversation, at, role, text) VALUES (?, ?, ?, ?)",
                ((turn.conversation, turn.at, turn.role, turn.text) for turn in turns),
            )

    def events(self) -> tuple[Event, ...]:
        """All events, oldest first; verdicts on what was shown are among them."""
        rows = self._connection.execute("SELECT at, item, verdict FROM events").fetchall()
        judged = ((one.at, item, said) for one in self.impressions() for item, said in one.verdicts.items())
        return tuple(sorted(Event(*row) for row in (*rows, *judged)))

    def impressions(self) -> tuple[Impression, ...]:
        """All impressions, oldest first."""
        rows = self._connection.execute("SELECT id, at, content FROM impressions ORDER BY at, id").fetchall()
        return tuple(_impression(*row) for row in rows)

    def turns(self) -> tuple[Turn, ...]:
        """All messages, in the order in which they were kept."""
        rows = self._connection.execute("SELECT conversation, at, role, text FROM turns ORDER BY id").fetchall()
        return tuple(Turn(*row) for row in rows)

    def counts(self) -> dict[str, int]:
        """How many rows of each kind there are."""
        return {kind: int(self._connection.execute(query).fetchone()[0]) for kind, query in _COUNT.items()}

    def export(self) -> Iterator[dict[str, Any]]:
        """Everything, as objects that `restore` takes back."""
        for at, item, verdict in self._connection.execute("SELECT at, item, verdict FROM events ORDER BY at, item"):
            yield {"kind": "event", "at": at, "item": item, "verdict": verdict}
        for impression in self.impressions():
            yield {"kind": "impression", **asdict(impression)}
        for turn in self.turns():
            yield {"kind": "turn", **asdict(turn)}

    def restore(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Takes in what `export` gave; StoreError, naming its number, for anything else, and then nothing is taken."""
        events, impressions, turns = [], [], []
        for number, one in enumerate(objects, 1):
            fields = {name: value for name, value in one.items() if name != "kind"}
            try:
                if one.get("kind") == "event":
                    events.append(Event(**fields))
                elif one.get("kind") == "impression":
                    impressions.append(_impression(fields.pop("id"), fields.pop("at"), _json(fields)))
                elif one.get("kind") == "turn":
                    turns.append(Turn(**fields))
                else:
                    raise ValueError("its kind is none")
            except (TypeError, KeyError, ValueError) as error:
                raise StoreError(f"Object {number} is no part of an export: {error}.") from error
        self.add_events(events)
        for impression in impressions:
            self.add_impression(impression)
        self.add_turns(turns)

    def prune(self, *, days: float | None = None, most: int | None = None, now: float | None = None) -> int:
        """Deletes what is older than ``days``, and of each kind all but the latest ``most``; returns how many rows."""
        before = sum(self.counts().values())
        with self._writing():
            if days is not None:
                oldest = (time.time() if now is None else now) - days * DAY
                for statement in _OLDER:
                    self._connection.execute(statement, (oldest,))
            if most is not None:
                for statement in _BUT_LATEST:
                    self._connection.execute(statement, (most,))
        self._scrub()
        return before - sum(self.counts().values())

    def delete(self) -> None:
        """Deletes everything; no byte of it stays in the file or beside it."""
        with self._writing():
            for statement in _CLEAR:
                self._connection.execute(statement)
        self._scrub()

    def _scrub(self) -> None:
        """Takes deleted pages out of the file, and empties the log beside it."""
        with self._told():
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path} cannot be written: {error}. Free some space, or close what holds it."
            ) from error


def _impression(identity: str, at: float, content: str) -> Impression:
    fields: dict[str, Any] = json.loads(content)
    lists: dict[str, Sequence[str]] = {name: tuple(fields.pop(name)) for name in ("candidates", "shown")}
    return Impression(identity, at, **lists, **fields)  # type: ignore[arg-type]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
