"""The rows of a device's store: how records are put into its tables, read back and pruned.

Each function runs within the caller's transaction on the schema of `federation.device.database`. Knows no files.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from federation.device.base import Event
from federation.device.records import (
    Conversation,
    Impression,
    Judgement,
    Record,
    RecordError,
    Turn,
    reply_of,
    reply_text,
    wish_text,
)

TABLES = ("events", "verdicts", "impressions", "conversations", "turns")
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Bounds:
    """How much is kept, the newest of each; what is older than ``days`` goes too, unless that is None."""

    events: int = 50_000
    turns: int = 20_000
    impressions: int = 10_000
    days: float | None = None

    def __post_init__(self) -> None:
        if min(self.events, self.turns, self.impressions) < 0 or (self.days is not None and self.days < 0):
            raise ValueError("a bound is 0 or more")


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {name: int(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in TABLES}  # noqa: S608


def insert(connection: sqlite3.Connection, record: Record) -> bool:
    """Puts ``record`` in, unless it is there; whether it was new. RecordError where it refers to what is not there."""
    match record:
        case Event():
            return insert_events(connection, [record]) > 0
        case Conversation():
            return _insert_conversation(connection, record)
        case Impression():
            return _insert_impression(connection, record)
        case Judgement():
            return _insert_judgement(connection, record)


def insert_events(connection: sqlite3.Connection, events: Iterable[Event]) -> int:
    """Puts ``events`` in; returns how many were new. Of two of one item at one moment the first stays."""
    before = connection.total_changes
    rows = ((one.at, one.item, one.verdict) for one in events)
    connection.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", rows)
    return connection.total_changes - before


def insert_turn(connection: sqlite3.Connection, conversation: str, turn: Turn) -> None:
    """Puts ``turn`` at the end of the ``conversation``, which begins with it where it is new."""
    connection.execute("INSERT OR IGNORE INTO conversations VALUES (?, ?)", (conversation, turn.at))
    row = (conversation, turn.role, turn.text, turn.at)
    connection.execute("INSERT INTO turns (conversation, role, text, at) VALUES (?, ?, ?, ?)", row)


def delete_judgement(connection: sqlite3.Connection, item: str | None, impression: str | None) -> bool:
    """Deletes the verdict on ``item`` or, without one, on the whole ``impression``; whether there was one."""
    if item is not None:
        return connection.execute("DELETE FROM verdicts WHERE item = ?", (item,)).rowcount > 0
    query = "DELETE FROM verdicts WHERE item IS NULL AND impression = ?"
    return connection.execute(query, (impression,)).rowcount > 0


def delete_all(connection: sqlite3.Connection) -> None:
    """Deletes every row."""
    for name in ("turns", "conversations", "verdicts", "impressions", "events"):
        connection.execute(f"DELETE FROM {name}")  # noqa: S608


def events(connection: sqlite3.Connection, *, verdicts: bool) -> list[Event]:
    """The events by time; the ``verdicts`` on items among them or not."""
    table = "met" if verdicts else "events"
    return [Event(*row) for row in connection.execute(f"SELECT at, item, verdict FROM {table} ORDER BY at, item")]  # noqa: S608


def impressions(connection: sqlite3.Connection) -> list[Impression]:
    """The impressions by time."""
    rows = connection.execute("SELECT at, wish, candidates, shown, id, reply FROM impressions ORDER BY at, id")
    return [
        Impression(
            at,
            json.loads(wish),
            tuple(json.loads(candidates)),
            tuple(json.loads(shown)),
            name,
            None if reply is None else reply_of(json.loads(reply)),
        )
        for at, wish, candidates, shown, name, reply in rows
    ]


def judgements(connection: sqlite3.Connection) -> list[Judgement]:
    """The verdicts by time."""
    rows = connection.execute("SELECT at, verdict, item, impression FROM verdicts ORDER BY at, id")
    return [Judgement(*row) for row in rows]


def conversations(connection: sqlite3.Connection) -> list[Conversation]:
    """The conversations with their turns, in the order they began."""
    rows = connection.execute(
        """SELECT c.id, c.started_at, t.role, t.text, t.at
        FROM conversations AS c JOIN turns AS t ON t.conversation = c.id ORDER BY c.started_at, c.id, t.id"""
    )
    return [
        Conversation(name, started_at, tuple(Turn(*row[2:]) for row in turns))
        for (name, started_at), turns in groupby(rows, key=lambda row: row[:2])
    ]


def prune(connection: sqlite3.Connection, bounds: Bounds, now: float) -> None:
    """Deletes the oldest above ``bounds``; their ``days`` end at ``now``, in seconds since the epoch."""
    before = connection.total_changes
    for view, key, most, tables in (
        ("met", "at, item", bounds.events, ("events", "verdicts")),
        ("turns", "at, id", bounds.turns, ("turns",)),
        ("impressions", "at, id", bounds.impressions, ("impressions",)),
    ):
        # The newest that is one too many, and everything before it.
        query = f"SELECT {key} FROM {view} ORDER BY {key.replace(',', ' DESC,')} DESC LIMIT 1 OFFSET ?"  # noqa: S608
        last = connection.execute(query, (most,)).fetchone()
        if last is not None:
            for table in tables:
                _delete(connection, table, f"({key}) <= (?, ?)", last)
    if bounds.days is not None:
        for table in ("events", "verdicts", "turns", "impressions"):
            _delete(connection, table, "at < ?", (now - bounds.days * _DAY_S,))
    if connection.total_changes > before:
        connection.execute("DELETE FROM conversations WHERE id NOT IN (SELECT conversation FROM turns)")


def _delete(connection: sqlite3.Connection, table: str, where: str, values: tuple[object, ...]) -> None:
    if table == "impressions":
        # A verdict on a whole impression goes with it; one on an item outlives where the item was met.
        gone = f"impression IN (SELECT id FROM impressions WHERE {where})"  # noqa: S608
        connection.execute(f"DELETE FROM verdicts WHERE item IS NULL AND {gone}", values)  # noqa: S608
        connection.execute(f"UPDATE verdicts SET impression = NULL WHERE {gone}", values)  # noqa: S608
    connection.execute(f"DELETE FROM {table} WHERE {where}", values)  # noqa: S608


def _insert_conversation(connection: sqlite3.Connection, conversation: Conversation) -> bool:
    row = (conversation.id, conversation.started_at)
    if connection.execute("INSERT OR IGNORE INTO conversations VALUES (?, ?)", row).rowcount == 0:
        return False
    for turn in conversation.turns:
        insert_turn(connection, conversation.id, turn)
    return True


def _insert_impression(connection: sqlite3.Connection, impression: Impression) -> bool:
    lists = (json.dumps(ids, ensure_ascii=False) for ids in (impression.candidates, impression.shown))
    row = (impression.id, impression.at, wish_text(impression.wish), *lists, reply_text(impression.reply))
    return connection.execute("INSERT OR IGNORE INTO impressions VALUES (?, ?, ?, ?, ?, ?)", row).rowcount > 0


def _insert_judgement(connection: sqlite3.Connection, given: Judgement) -> bool:
    if given.impression is not None:
        query = "SELECT candidates FROM impressions WHERE id = ?"
        row = connection.execute(query, (given.impression,)).fetchone()
        if row is None:
            raise RecordError("the impression of this verdict is not here: it was pruned, or never kept")
        if given.item is not None and given.item not in json.loads(row[0]):
            raise RecordError("the impression of this verdict did not rank that item")
    row = (given.at, given.verdict, given.item, given.impression)
    query = "INSERT OR IGNORE INTO verdicts (at, verdict, item, impression) VALUES (?, ?, ?, ?)"
    return connection.execute(query, row).rowcount > 0
