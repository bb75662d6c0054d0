"""Reads a person's own history from a file, as events on the catalogue's items.

Two kinds are read. MovieLens: ``ratings.csv`` with ``movies.csv`` beside it. Anything else, as JSON Lines or CSV, a row
each: ``title`` (its year in brackets, or in ``year``) or ``item`` (the catalogue's id); ``rating`` (out of 5) or
``verdict``, seen without either; ``at``, seconds since the epoch or a date as ISO 8601. A row without a time counts
as older than every one that has one, in the order of the file.

A row that is not in order is listed with its line and the reason; one whose title the catalogue lacks is listed apart.
Knows nothing of stores. Nothing it reads is logged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from federation.device.base import Event, Verdict
from federation.device.population import read_title, verdict
from federation.device.records import VERDICTS, RecordError, is_header
from retrieval.folding import ENGLISH_ARTICLES, fold, numerals, tokens
from retrieval.item import Item
from retrieval.linker import Linker, Mention
from retrieval.rows import BadRow, BytesRead, ImportFileError, Row, guess_format, read_rows

__all__ = ["History", "HistoryError", "TitleLinker", "exported_rows", "read_history"]

ROWS_KEPT = 1000
"""So many rows of each kind are listed; the others are counted."""

_RATINGS = {"userId", "movieId", "rating", "timestamp"}
_SUBTITLE = (":", "-", "–")
_BEST = 5.0
_LATEST = 1e11  # seconds: the year 5138; a larger number is in milliseconds


class HistoryError(ImportFileError):
    """A file holds no history that can be read, or several people's; the message says what to do."""


@dataclass
class Rows:
    """Rows that were left out: how many, and the first `ROWS_KEPT` of them."""

    count: int = 0
    listed: list[BadRow] = field(default_factory=list)

    def add(self, row: BadRow) -> None:
        """Counts ``row`` in."""
        self.count += 1
        if len(self.listed) < ROWS_KEPT:
            self.listed.append(row)


@dataclass
class History:
    """The events of a file, in its order; the rows that are ``bad``, and those ``unknown`` to the catalogue."""

    events: list[Event] = field(default_factory=list, repr=False)
    bad: Rows = field(default_factory=Rows, repr=False)
    unknown: Rows = field(default_factory=Rows, repr=False)


class TitleLinker:
    """Finds the catalogue's item that a title, and its year where it is known, means."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: dict[str, _Named] = {}
        self._linker = Linker(self._noted(items))

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def link(self, title: str, year: int | None = None) -> str | None:
        """The id of the item called ``title``, which may carry its year in brackets; None where there is none.

        The year may be off by one where the title is the item's own, as years of release are. Under another name
        of it, with a typo or with a subtitle that the catalogue leaves out, the year must be the same.
        """
        written = read_title(title)
        year = written.year if year is None else year
        for name in filter(None, (written.name, written.other)):
            text = f'"{name}"'
            for mention in self._linker.link(text):
                if mention.kind == "title" and (found := self._meant(mention, text, year)):
                    return found
        return None

    def _meant(self, mention: Mention, text: str, year: int | None) -> str | None:
        """The item that ``mention`` names, if all of ``text`` is its name."""
        before, after = text[: mention.start], text[mention.end :].strip()
        if not set(fold(before + after).split()) <= ENGLISH_ARTICLES:
            if fold(before) or not after.startswith(_SUBTITLE):
                return None
            known = [item for item in mention.ids if _plain(mention.surface) in self._items[item].names]
            return self._of_year(known, year, 0)
        own = [item for item in mention.ids if _plain(text) in self._items[item].names]
        if year is None:
            return next(iter(own), None)
        return self._of_year(own, year, 1) or self._of_year(mention.ids, year, 0)

    def _of_year(self, items: Iterable[str], year: int | None, leeway: int) -> str | None:
        """The first of ``items`` that is nearest to ``year``, at most ``leeway`` off."""
        years = {item: self._items[item].year for item in items}
        off = {item: abs(found - year) for item, found in years.items() if found is not None and year is not None}
        nearest = min(off, key=off.__getitem__, default=None)
        return nearest if nearest is not None and off[nearest] <= leeway else None

    def _noted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            names = {_plain(name) for name in (item.title, item.original_title) if name}
            self._items[item.id] = _Named(frozenset(names), item.year)
            yield item


@dataclass(frozen=True)
class _Named:
    names: frozenset[str]
    year: int | None


def _plain(title: str) -> str:
    """``title`` folded, numerals as digits, without the English articles."""
    words = [token.form for token in numerals(tokens(title))]
    return " ".join(word for word in words if word not in ENGLISH_ARTICLES) or " ".join(words)


def exported_rows(path: Path) -> Iterator[Row] | None:
    """The rows of what a store exported, or None where ``path`` holds anything else; RecordError as `is_header`."""
    if guess_format(path) != "jsonl":
        return None
    rows = read_rows(path, "jsonl")
    first = next(rows, None)
    if first is None or isinstance(first, BadRow) or not is_header(first[1]):
        return None
    return (_sound(row) for row in chain([first], rows))


def read_history(
    path: Path, linker: TitleLinker, *, user: str | None = None, progress: BytesRead | None = None
) -> History:
    """The history in ``path``: a file, or MovieLens' folder, of which one ``user``'s ratings are read.

    HistoryError where it holds several people's and no ``user`` is given, or nothing that could be read.
    """
    path = path / "ratings.csv" if path.is_dir() else path
    rows = read_rows(path, guess_format(path), progress)
    first = next((row for row in rows if not isinstance(row, BadRow)), None)
    if first is None:
        raise HistoryError(f"{path} holds no row that can be read. It is to be JSON Lines, CSV or MovieLens' ratings.")
    # Read from the start again: what came before the first good row is to be listed.
    rows = read_rows(path, guess_format(path), progress)
    if first[1].keys() >= _RATINGS:
        return _history(_of_user(rows, path, user), _Ratings(path.with_name("movies.csv"), linker))
    if user is not None:
        raise HistoryError(f"{path} does not tell people apart: --user is for MovieLens' ratings.csv.")
    return _history(rows, lambda line, row: _event(line, row, linker))


class _Unknown(Exception):
    """A row means an item that the catalogue lacks; the message says which."""


def _history(rows: Iterable[tuple[int, Row] | BadRow], read: Callable[[int, Row], Event]) -> History:
    history = History()
    for row in rows:
        if isinstance(row, BadRow):
            history.bad.add(row)
            continue
        line, cells = row
        try:
            history.events.append(read(line, cells))
        except _Unknown as error:
            history.unknown.add(BadRow(line, str(error)))
        except RecordError as error:
            history.bad.add(BadRow(line, str(error)))
    return history


def _of_user(
    rows: Iterable[tuple[int, Row] | BadRow], path: Path, user: str | None
) -> Iterator[tuple[int, Row] | BadRow]:
    """The rows of ``user``, or of the only one there is; bad rows may be anyone's."""
    wanted, found = user, False
    for row in rows:
        if not isinstance(row, BadRow):
            name = str(row[1]["userId"])
            wanted = name if wanted is None else wanted
            if name != wanted and user is None:
                raise HistoryError(
                    f"{path} holds the ratings of several people: say whose with --user, as --user {name}."
                )
            if name != wanted:
                continue
            found = True
        yield row
    if user is not None and not found:
        raise HistoryError(f"{path} holds no rating of the user {user}.")


class _Ratings:
    """Reads rows of MovieLens' ratings.csv; titles are in the file ``movies``."""

    def __init__(self, movies: Path, linker: TitleLinker) -> None:
        if not movies.is_file():
            raise HistoryError(f"{movies} is missing: MovieLens' titles are in it. Put it beside ratings.csv.")
        rows = (row[1] for row in read_rows(movies, "csv") if not isinstance(row, BadRow))
        self._titles = {str(row.get("movieId")): str(row.get("title") or "") for row in rows}
        self._linker = linker
        self._links: dict[str, str | None] = {}

    def __call__(self, line: int, row: Row) -> Event:
        number = str(row["movieId"])
        title = self._titles.get(number)
        if not title:
            raise RecordError(f"movieId {number} is not in movies.csv")
        if number not in self._links:
            self._links[number] = self._linker.link(title)
        return Event(_time(row["timestamp"], line), _known(self._links[number], title), verdict(_rating(row["rating"])))


def _event(line: int, row: Mapping[str, Any], linker: TitleLinker) -> Event:
    item, title = row.get("item"), row.get("title")
    if isinstance(item, str) and item:
        found = _known(item if item in linker else None, item)
    elif isinstance(title, str) and title.strip():
        year = row.get("year")
        found = _known(linker.link(title, None if _absent(year) else int(_number("year", year))), title)
    else:
        raise RecordError("it has neither a title nor an item")
    return Event(_time(row.get("at"), line), found, _verdict(row))


def _known(item: str | None, name: str) -> str:
    if item is None:
        raise _Unknown(f"{name} is not in the catalogue")
    return item


def _verdict(row: Mapping[str, Any]) -> Verdict:
    given = row.get("verdict")
    for known in VERDICTS:
        if given == known:
            return known
    if not _absent(given):
        raise RecordError(f"verdict is {', '.join(VERDICTS)}")
    rating = row.get("rating")
    return "seen" if _absent(rating) else verdict(_rating(rating))


def _rating(value: object) -> float:
    rating = _number("rating", value)
    if not 0 <= rating <= _BEST:
        raise RecordError(f"rating is out of {_BEST:g}")
    return rating


def _time(value: object, line: int) -> float:
    if _absent(value):
        return float(line)
    if isinstance(value, str) and "-" in value[1:]:
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            raise RecordError("at is no date as ISO 8601 writes it") from None
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    seconds = _number("at", value)
    if abs(seconds) > _LATEST:
        raise RecordError("at is in seconds since the epoch: is this in milliseconds?")
    return seconds


def _absent(value: object) -> bool:
    return value is None or value == ""


def _number(name: str, value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise RecordError(f"{name} is no number") from None
    return number


def _sound(row: tuple[int, Row] | BadRow) -> Row:
    if isinstance(row, BadRow):
        raise RecordError(str(row))
    return row[1]
