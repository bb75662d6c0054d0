"""The catalogue as columns beside the index: which rows a wish's hard constraints leave.

A row is an index row (see `retrieval.index`). Facets are inverted lists, years and popularity are arrays, so that a
mask over a million rows takes a millisecond or two. What was `Stored` of an earlier state is never changed: the rows
that came since stand beside it. Where that lies on disk is `retrieval.column_files`' business.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from retrieval.ann import BoolArray, FloatArray, IntArray
from retrieval.folding import fold
from retrieval.item import Item
from retrieval.wish import Wish

RowArray = npt.NDArray[np.int32]

NO_YEAR = np.iinfo(np.int32).min
FIELDS = ("genres", "moods", "countries", "languages", "people", "kind")
_PEEK = 4096


@dataclass(frozen=True)
class Stored:
    """Columns that no longer change.

    ``years``, int32 (n,), and ``popularity``, float32 (n,), are by row. ``values`` are the values of each of `FIELDS`;
    the value at place p of them all, one field after the other, is held by ``rows[starts[p]:starts[p + 1]]``, where
    ``rows`` is int32 (m,) and ``starts`` int64 (values + 1,).
    """

    years: RowArray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    popularity: FloatArray = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    values: Mapping[str, list[str]] = field(default_factory=lambda: {facet: [] for facet in FIELDS})
    starts: IntArray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    rows: RowArray = field(default_factory=lambda: np.empty(0, dtype=np.int32))

    def held(self, facet: str, value: str) -> RowArray:
        """The rows that hold ``value`` in ``facet``, one of `FIELDS`."""
        place = self._places[facet].get(value)
        return self.rows[:0] if place is None else self.rows[self.starts[place] : self.starts[place + 1]]

    @cached_property
    def _places(self) -> dict[str, dict[str, int]]:
        places, begin = {}, 0
        for facet in FIELDS:
            names = self.values[facet]
            places[facet] = dict(zip(names, range(begin, begin + len(names)), strict=True))
            begin += len(names)
        return places


class Columns:
    """Facets, years and popularity of the items of an index; ``rows`` is how many there are, those stored included."""

    def __init__(self, rows: int = 0, stored: Stored | None = None) -> None:
        self._stored = Stored() if stored is None else stored
        more = rows - len(self._stored.years)
        self._years: RowArray = np.concatenate([self._stored.years, np.full(more, NO_YEAR, dtype=np.int32)])
        self._popularity: FloatArray = np.concatenate([self._stored.popularity, np.zeros(more, dtype=np.float32)])
        self._lists: dict[str, defaultdict[str, array[int]]] = {
            facet: defaultdict(lambda: array("i")) for facet in FIELDS
        }
        self._by_fame: IntArray | None = None
        self._fame: FloatArray | None = None

    def put(self, row: int, item: Item) -> None:
        """Writes ``item`` into ``row``, which is new: a changed item has a new row."""
        if row >= len(self._years):
            more = row + 1 - len(self._years)
            self._years = np.concatenate([self._years, np.full(more, NO_YEAR, dtype=np.int32)])
            self._popularity = np.concatenate([self._popularity, np.zeros(more, dtype=np.float32)])
        self._years[row] = NO_YEAR if item.year is None else item.year
        self._popularity[row] = item.popularity
        self._by_fame = None
        for facet, values in _facets(item):
            lists = self._lists[facet]
            for value in dict.fromkeys(values):
                lists[value].append(row)

    def drop(self, rows: IntArray) -> None:
        """Forgets the fame of rows whose items have gone; the index knows that they are dead."""
        self._popularity[rows] = 0
        self._by_fame = None

    def stored(self) -> Stored:
        """These columns as they are now, to be kept."""
        values = {facet: list(dict.fromkeys([*self._stored.values[facet], *self._lists[facet]])) for facet in FIELDS}
        lengths, rows = array("q", [0]), array("i")
        for facet, names in values.items():
            for name in names:
                held = self._list(facet, name)
                lengths.append(len(held))
                rows.frombytes(held.tobytes())
        starts = np.cumsum(np.frombuffer(lengths, dtype=np.int64))
        return Stored(self._years, self._popularity, values, starts, np.frombuffer(rows, dtype=np.int32))

    def held(self, facet: str, value: str) -> bool:
        """Whether any row holds ``value`` in ``facet``, one of `FIELDS`."""
        return len(self._list(facet, value)) > 0

    def holds(self, facet: str, value: str, rows: IntArray) -> BoolArray:
        """Which of ``rows`` hold ``value``."""
        return self._any(facet, (value,))[rows]

    def mask(self, wish: Wish, alive: BoolArray) -> BoolArray:
        """The living rows that meet every hard constraint of ``wish``; what it excludes by id is not looked at."""
        mask = alive.copy()
        if wish.year_from is not None or wish.year_to is not None:
            first = NO_YEAR + 1 if wish.year_from is None else wish.year_from
            last = np.iinfo(np.int32).max if wish.year_to is None else wish.year_to
            mask &= (self._years >= first) & (self._years <= last)
        for genre in wish.genres:
            mask &= self._any("genres", (genre,))
        if wish.kind is not None:
            mask &= self._any("kind", (wish.kind,))
        for facet, values in (
            ("countries", wish.countries),
            ("languages", wish.languages),
            ("people", [fold(name) for name in wish.people]),
        ):
            if values:
                mask &= self._any(facet, values)
        for facet, values in (
            ("genres", wish.not_genres),
            ("moods", wish.not_moods),
            ("people", [fold(name) for name in wish.not_people]),
        ):
            for value in values:
                mask[self._list(facet, value)] = False
        return mask

    def fame(self, rows: IntArray) -> FloatArray:
        """The share of rows that are less popular than each of ``rows``: 0 for the unknown, near 1 for the famous."""
        by_fame, fame = self._ranked()
        if not len(by_fame):
            return np.zeros(len(rows), dtype=np.float32)
        below = np.searchsorted(fame, self._popularity[rows], side="left")
        return (below / len(fame)).astype(np.float32)

    def famous(self, mask: BoolArray, count: int) -> IntArray:
        """The ``count`` most popular rows that ``mask`` holds, most popular first, ties in row order."""
        by_fame, _ = self._ranked()
        peek = _PEEK
        while True:
            top = by_fame[:peek]
            found = top[mask[top]]
            if len(found) >= count or peek >= len(by_fame):
                return found[:count]
            peek *= 8

    def _any(self, facet: str, values: Iterable[str]) -> BoolArray:
        found = np.zeros(len(self._years), dtype=np.bool_)
        for value in values:
            found[self._list(facet, value)] = True
        return found

    def _list(self, facet: str, value: str) -> RowArray:
        """The rows of a value, those of changed items among them.

        As they are kept, not copied: to be used at once, since a list in view cannot grow.
        """
        stored, more = self._stored.held(facet, value), self._lists[facet].get(value)
        if not more:
            return stored
        added: RowArray = np.frombuffer(more, dtype=np.int32)
        return np.concatenate([stored, added]) if len(stored) else added

    def _ranked(self) -> tuple[IntArray, FloatArray]:
        """Rows by falling popularity, and the popularities rising."""
        if self._by_fame is None or self._fame is None:
            self._by_fame = np.argsort(-self._popularity, kind="stable").astype(np.int64)
            self._fame = np.sort(self._popularity)
        return self._by_fame, self._fame


def _facets(item: Item) -> Iterator[tuple[str, Collection[str]]]:
    yield "genres", item.genres
    yield "moods", item.moods
    yield "countries", item.countries
    yield "languages", item.languages
    yield "kind", (item.kind,)
    yield "people", [fold(name) for name in item.names]
