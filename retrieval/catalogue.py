"""The catalogue: every item as JSON, one row each, in one SQLite file.

A change is one transaction. What is written is first staged in a temporary table of the connection, where a slow or
failing source of items locks nobody out and leaves nothing behind; then it is moved into place at once.
So an import that is interrupted, by an error or by SIGKILL, leaves the former catalogue as it was, and readers,
who always see the last commit, notice a new catalogue by its `Catalogue.revision`. (A finished file renamed
into place would be paired with the write-ahead log of the one before.)
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from retrieval.database import CatalogueError, Database, begun, read_tally, write_tally
from retrieval.item import Item
from retrieval.tally import FACET_FIELDS, Tally

_PAGE = 1000


@dataclass(frozen=True)
class Facets:
    """The values that occur in a catalogue, sorted: the vocabulary of a wish."""

    genres: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


class Catalogue:
    """Items by id. Made by `open`; may be shared between threads, and its file between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._facets: tuple[int, Facets] | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the catalogue at ``path``, or makes an empty one there.

        CatalogueError when the file is something else, or of another format.
        """
        return cls(Database(path))

    def close(self) -> None:
        """Closes the file; the catalogue opens it again when it is asked again."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._database.path

    def __len__(self) -> int:
        return int(self._database.rows("SELECT count FROM state")[0][0])

    def __bool__(self) -> bool:
        return True  # an empty catalogue is a catalogue

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self.get(item_id) is not None

    def __iter__(self) -> Iterator[Item]:
        """Every item in the order of ids; page by page, so that a change meanwhile may show from there on."""
        last = ""
        while rows := self._database.rows("SELECT id, body FROM items WHERE id > ? ORDER BY id LIMIT ?", last, _PAGE):
            for _, body in rows:
                yield Item.model_validate_json(body)
            last = rows[-1][0]

    def get(self, item_id: str) -> Item | None:
        """The item called ``item_id``, or None."""
        return next(iter(self.many([item_id])), None)

    def many(self, ids: Iterable[str]) -> list[Item]:
        """The items called ``ids``, in that order; ids that are not in the catalogue are left out."""
        wanted = list(ids)
        rows = self._database.rows(
            "SELECT id, body FROM items WHERE id IN (SELECT value FROM json_each(?))", json.dumps(wanted)
        )
        found = {item_id: Item.model_validate_json(body) for item_id, body in rows}
        return [found[item_id] for item_id in wanted if item_id in found]

    @property
    def revision(self) -> int:
        """0 for a catalogue that was never written to; grows with every change, by whichever process."""
        return int(self._database.rows("SELECT revision FROM state")[0][0])

    @property
    def digest(self) -> str:
        """sha256 in hexadecimal over the items; does not depend on the order they came in (see `retrieval.tally`)."""
        return self._database.rows("SELECT digest FROM state")[0][0]

    @property
    def facets(self) -> Facets:
        """The facet values that occur."""
        revision = self.revision
        if self._facets is None or self._facets[0] != revision:
            counts = self.facet_counts()
            self._facets = revision, Facets(**{name: tuple(sorted(counts[name])) for name in FACET_FIELDS})
        return self._facets[1]

    def facet_counts(self) -> dict[str, dict[str, int]]:
        """How many items hold each value of each of `Facets`' fields, most frequent first."""
        counts: dict[str, dict[str, int]] = {name: {} for name in FACET_FIELDS}
        for name, value, count in self._database.rows(
            "SELECT field, value, count FROM facets ORDER BY count DESC, value"
        ):
            counts[name][value] = int(count)
        return counts

    def decade_counts(self) -> dict[int, int]:
        """How many items are of each decade, oldest first; reads every item."""
        decades = Counter(item.year // 10 * 10 for item in self if item.year is not None)
        return dict(sorted(decades.items()))

    def put(self, items: Iterable[Item]) -> int:
        """Adds ``items``, and replaces those of the same ids: all of them or, when ``items`` raises, none.

        Returns how many ids there were; of several items with one id the last is kept. CatalogueError when an
        item would not be read back as it is.
        """
        with self._staged(items) as (connection, staged), begun(connection):
            tally = read_tally(connection)
            _drop(connection, tally, "SELECT i.body FROM items i JOIN staged USING (id)")
            tally.merge(staged)
            connection.execute("INSERT OR REPLACE INTO items SELECT id, body FROM staged")
            write_tally(connection, tally)
        return staged.count

    def replace(self, items: Iterable[Item]) -> int:
        """Makes ``items`` the whole catalogue; when ``items`` raises or the process dies, the former one stays.

        Returns and raises as `put` does.
        """
        with self._staged(items) as (connection, staged), begun(connection):
            connection.execute("DELETE FROM items")
            connection.execute("INSERT INTO items SELECT id, body FROM staged ORDER BY id")
            write_tally(connection, staged)
        return staged.count

    def remove(self, ids: Iterable[str]) -> int:
        """Removes the items called ``ids``; returns how many of them there were."""
        wanted = json.dumps(list(ids))
        with self._database.transaction() as connection:
            tally = read_tally(connection)
            before = tally.count
            _drop(connection, tally, "SELECT body FROM items WHERE id IN (SELECT value FROM json_each(?))", wanted)
            connection.execute("DELETE FROM items WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
            write_tally(connection, tally)
        return before - tally.count

    @contextmanager
    def _staged(self, items: Iterable[Item]) -> Iterator[tuple[sqlite3.Connection, Tally]]:
        """Writes ``items`` to the temporary table ``staged``; gives the connection it belongs to, and their tally."""
        with self._database.connection() as connection:
            connection.execute("CREATE TEMP TABLE staged (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
            tally = Tally()
            source = iter(items)
            while page := {item.id: (item, body_of(item)) for item in islice(source, _PAGE)}:
                _stage(connection, tally, page)
            yield connection, tally
            connection.execute("DROP TABLE staged")


def body_of(item: Item) -> str:
    """The JSON ``item`` is kept as; CatalogueError when it would not be read back as the same item."""
    body = item.model_dump_json(exclude_defaults=True)
    try:
        same = Item.model_validate_json(body) == item
    except ValidationError:
        same = False
    if not same:
        raise CatalogueError(f"{item.id} holds a value that JSON cannot: mend or leave out infinite and NaN numbers")
    return body


def _stage(connection: sqlite3.Connection, tally: Tally, page: dict[str, tuple[Item, str]]) -> None:
    _drop(
        connection,
        tally,
        "SELECT body FROM staged WHERE id IN (SELECT value FROM json_each(?))",
        json.dumps(list(page)),
    )
    for item, body in page.values():
        tally.add(item, body)
    rows = [(item_id, body) for item_id, (_, body) in page.items()]
    with begun(connection, "DEFERRED"):  # writes to the temporary table alone, so locks nobody out
        connection.executemany("INSERT OR REPLACE INTO staged VALUES (?, ?)", rows)


def _drop(connection: sqlite3.Connection, tally: Tally, query: str, *values: str) -> None:
    for (body,) in connection.execute(query, values):
        tally.drop(Item.model_validate_json(body), body)


__all__ = ["Catalogue", "CatalogueError", "Facets", "body_of"]
