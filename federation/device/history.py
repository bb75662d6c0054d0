"""Imports a person's own history: MovieLens' ratings, or JSON Lines of titles, linked to the catalogue."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from federation.device.base import Event, Verdict
from federation.device.population import read_population, verdict
from retrieval.folding import fold
from retrieval.item import Item


class HistoryError(ValueError):
    """A file holds no history; the message says what is looked for."""


@dataclass(frozen=True)
class Problem:
    """A row that was not imported: its number in the file, and why."""

    row: int
    reason: str


class Titles:
    """The catalogue's items by id, by ``Title (year)`` and, where only one is called so, by title."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._ids: set[str] = set()
        self._labels: dict[str, str] = {}
        self._titles: dict[str, list[str]] = defaultdict(list)
        for item in items:
            self._ids.add(item.id)
            self._labels[fold(item.label)] = item.id
            self._titles[fold(item.title)].append(item.id)

    def find(self, title: str, year: int | None = None) -> str | None:
        """The item that is meant; None where there is none, or more than one."""
        if title in self._ids:
            return title
        label = fold(f"{title} ({year})" if year is not None else title)
        if label in self._labels:
            return self._labels[label]
        called = self._titles.get(fold(title), [])
        return called[0] if year is None and len(called) == 1 else None


def read_history(path: Path, titles: Titles, user: str | None = None) -> tuple[list[Event], list[Problem]]:
    """The events of a file, and the rows that are none. HistoryError where it is no history at all.

    ``path`` is MovieLens' ratings.csv, with movies.csv beside it, of which ``user`` is the person (needed where there
    are several), or JSON Lines with ``title`` or ``item``, ``at`` in seconds, and ``verdict`` or ``rating`` of 5.
    """
    rows = _movielens(path, user) if path.suffix == ".csv" else _json_lines(path)
    events, problems = [], []
    for number, row in rows:
        found = row if isinstance(row, str) else _event(row, titles)
        if isinstance(found, str):
            problems.append(Problem(number, found))
        else:
            events.append(found)
    return events, problems


def _movielens(path: Path, user: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.name != "ratings.csv" or not path.with_name("movies.csv").exists():
        raise HistoryError(f"{path} is no ratings.csv with movies.csv beside it.")
    items = read_population(path.parent).items
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    people = sorted({row["userId"] for row in rows})
    if user is None and len(people) > 1:
        raise HistoryError(f"{path} holds {len(people)} people: say which one is you, --user {people[0]}.")
    for number, row in enumerate(rows, 2):
        if user is None or row["userId"] == user:
            item = items[f"ml-{row['movieId']}"]
            yield number, {"title": item.title, "year": item.year, "rating": row["rating"], "at": row["timestamp"]}


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            yield number, "it is no JSON"
            continue
        yield number, row if isinstance(row, dict) else "it is no JSON object"


def _event(row: Mapping[str, Any], titles: Titles) -> Event | str:
    """The event of a row, or what is wrong with it."""
    title, year = row.get("item") or row.get("title"), row.get("year")
    if not isinstance(title, str) or not title.strip():
        return "it has neither item nor title"
    try:
        at = float(row["at"])
        said = row.get("verdict") or (verdict(float(row["rating"])) if row.get("rating") is not None else "seen")
    except (KeyError, TypeError, ValueError):
        return "at is no number of seconds, or rating no number"
    if said not in get_args(Verdict):
        return f"the verdict is none of {', '.join(get_args(Verdict))}"
    item = titles.find(title, int(year) if isinstance(year, int | str) and str(year).isdecimal() else None)
    return Event(at, item, cast("Verdict", said)) if item else "the catalogue has no such title, or several"
