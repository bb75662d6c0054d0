"""The catalogue as columns beside the index: which rows a wish's hard constraints leave.

A row is an index row (see `retrieval.index`). Facets are inverted lists, years and popularity are arrays, so that a
mask over a million rows takes a millisecond or two.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from retrieval.ann import BoolArray, FloatArray, IntArray
from retrieval.folding import fold
from retrieval.item import Item
from retrieval.wish import Wish

NO_YEAR = np.iinfo(np.int32).min
FIELDS = ("genres", "moods", "countries", "languages", "people", "kind")
_PEEK = 4096


class Columns:
    """Facets, years and popularity of the items of an index."""

    def __init__(self, rows: int = 0) -> None:
        self._years: npt.NDArray[np.int32] = np.full(rows, NO_YEAR, dtype=np.int32)
        self._popularity: FloatArray = np.zeros(rows, dtype=np.float32)
        self._lists: dict[str, defaultdict[str, array[int]]] = {
            field: defaultdict(lambda: array("i")) for field in FIELDS
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
        for field, values in _facets(item):
            lists = self._lists[field]
            for value in dict.fromkeys(values):
                lists[value].append(row)

    def drop(self, row: int) -> None:
        """Forgets the fame of a row whose item has gone; the index knows that the row is dead."""
        self._popularity[row] = 0
        self._by_fame = None

    def rows(self, field: str, value: str) -> IntArray:
        """The rows that hold ``value`` in ``field``, one of `FIELDS`; rows of changed items stay in the list."""
        return np.array(self._lists[field].get(value, ()), dtype=np.int64)

    def holds(self, field: str, value: str, rows: IntArray) -> BoolArray:
        """Which of ``rows`` hold ``value``."""
        return self._any(field, (value,))[rows]

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
        for field, values in (
            ("countries", wish.countries),
            ("languages", wish.languages),
            ("people", [fold(name) for name in wish.people]),
        ):
            if values:
                mask &= self._any(field, values)
        for field, values in (
            ("genres", wish.not_genres),
            ("moods", wish.not_moods),
            ("people", [fold(name) for name in wish.not_people]),
        ):
            for value in values:
                mask[self._list(field, value)] = False
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

    def _any(self, field: str, values: Iterable[str]) -> BoolArray:
        found = np.zeros(len(self._years), dtype=np.bool_)
        for value in values:
            found[self._list(field, value)] = True
        return found

    def _list(self, field: str, value: str) -> npt.NDArray[np.int32]:
        """The rows of a value as they are kept, not copied: to be used at once, since a list in view cannot grow."""
        rows = self._lists[field].get(value)
        return np.frombuffer(rows, dtype=np.int32) if rows else np.empty(0, dtype=np.int32)

    def _ranked(self) -> tuple[IntArray, FloatArray]:
        """Rows by falling popularity, and the popularities rising."""
        if self._by_fame is None or self._fame is None:
            self._by_fame = np.argsort(-self._popularity, kind="stable").astype(np.int64)
            self._fame = np.sort(self._popularity)
        return self._by_fame, self._fame


def _facets(item: Item) -> Iterable[tuple[str, Collection[str]]]:
    yield "genres", item.genres
    yield "moods", item.moods
    yield "countries", item.countries
    yield "languages", item.languages
    yield "kind", (item.kind,)
    yield "people", [fold(name) for name in item.names]
