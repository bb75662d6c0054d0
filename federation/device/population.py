"""People with histories, read from a folder of MovieLens: what stands in for real devices in simulations.

An item's facts are its title, year and genres. Its popularity stays 0: counted over ratings, it would tell of the
events that are held out. Knows nothing of models and of stores.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from federation.device.base import Event, Verdict
from retrieval.folding import ARTICLES, fold
from retrieval.item import Item

__all__ = [
    "FEWEST_EVENTS",
    "Population",
    "PopulationError",
    "Title",
    "devices",
    "read_population",
    "read_title",
    "verdict",
]

FEWEST_EVENTS = 5
"""A person with fewer takes no part: two are held out."""

LIKED, DISLIKED = 4.0, 2.0
"""Ratings out of 5 from, and up to, which a person liked or disliked what they rated."""

_TITLE = re.compile(r"^(?P<title>.*?)(?:\s*\((?P<year>\d{4})(?:\s*[-–]\s*\d{0,4})?\))?(?:\s*\(T?V\))?$")
_OTHER = re.compile(r"^(?P<title>.*\S)\s*\((?:a\.k\.a\.\s*)?(?P<other>[^()]*[^\W\d_][^()]*)\)$")
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>[^\W\d_]{1,3}['’]?)$")
_GENRES = {"sci-fi": "science fiction", "film-noir": "film noir", "children's": "family", "children": "family"}
_NO_GENRE = frozenset({"(no genres listed)", "imax", "unknown"})
_LONGEST = 200


class Title(NamedTuple):
    """A film's title, the other title in brackets behind it, and its year."""

    name: str
    other: str | None
    year: int | None


Rating = tuple[str, str, float, float]
"""A person, an item's id, a rating out of 5, and when, in seconds since the epoch."""


class PopulationError(ValueError):
    """A folder holds no population; the message says what was looked for, or which line is wrong."""


@dataclass(frozen=True)
class Population:
    """``items`` by id (``ml-`` and MovieLens' number), and each person's events by name, oldest first."""

    items: Mapping[str, Item]
    histories: Mapping[str, tuple[Event, ...]]


@cache
def read_population(folder: Path, most: int | None = None) -> Population:
    """The people of ml-latest-small (ratings.csv, movies.csv) or ml-100k (u.data, u.item, u.genre, packed or not).

    ``most`` people, the first by number, or all of them. PopulationError where the folder holds neither.
    """
    if (folder / "ratings.csv").exists():
        read_items, read_ratings = _latest_items, _latest_ratings
    elif (folder / "u.item").exists():
        read_items, read_ratings = _100k_items, _100k_ratings
    else:
        raise PopulationError(
            f"{folder} holds no population: it needs ratings.csv and movies.csv (ml-latest-small), "
            "or u.data, u.item and u.genre (ml-100k)."
        )
    try:
        items = {item.id: item for item in read_items(folder)}
        events = _events(read_ratings(folder), items)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise PopulationError(f"{folder} cannot be read: {error}.") from error
    # By number where names are numbers, as MovieLens' are.
    people = islice(sorted(events, key=lambda name: (len(name), name)), most)
    return Population(items, {name: tuple(sorted(events[name])) for name in people})


def devices(population: Population, count: int, seed: int) -> list[str]:
    """``count`` people, or all there are, of at least `FEWEST_EVENTS` events, drawn by ``seed``; in order of names.

    With one seed, a larger ``count`` draws those of a smaller one and more.
    """
    known = sorted(name for name, events in population.histories.items() if len(events) >= FEWEST_EVENTS)
    drawn = np.random.default_rng(seed).permutation(len(known))[:count]
    return [known[place] for place in sorted(drawn)]


def verdict(rating: float) -> Verdict:
    """What a rating out of 5 says."""
    return "liked" if rating >= LIKED else "disliked" if rating <= DISLIKED else "seen"


def read_title(written: str) -> Title:
    """A title as MovieLens writes it: year and other titles in brackets, the article behind a comma."""
    match = _TITLE.match(written.strip())
    name, year = (match["title"], match["year"]) if match and match["title"] else (written.strip(), None)
    others = []
    while bracketed := _OTHER.match(name):
        name = bracketed["title"]
        others.append(_articled(bracketed["other"]))
    return Title(_articled(name), others[0] if others else None, int(year) if year else None)


def _articled(title: str) -> str:
    """``Matrix, The`` as people say it."""
    match = _ARTICLE.match(title.strip())
    if match is None or fold(match["article"]) not in ARTICLES:
        return title.strip()
    space = "" if match["article"].endswith(("'", "’")) else " "
    return f"{match['article']}{space}{match['rest']}"


def _events(ratings: Iterator[tuple[int, Rating]], items: Mapping[str, Item]) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = defaultdict(list)
    for line, (person, item, rating, at) in ratings:
        if item not in items:
            raise PopulationError(f"line {line} of the ratings is on {item}, which is not among the films.")
        events[person].append(Event(at, item, verdict(rating)))
    return events


def _latest_items(folder: Path) -> Iterator[Item]:
    for line, row in _rows(folder / "movies.csv", ("movieId", "title", "genres")):
        yield _film(folder / "movies.csv", line, row[0], row[1], row[2].split("|"))


def _latest_ratings(folder: Path) -> Iterator[tuple[int, Rating]]:
    path = folder / "ratings.csv"
    for line, row in _rows(path, ("userId", "movieId", "rating", "timestamp")):
        yield line, _rating(path, line, row)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """The ``columns`` of each row of a CSV file, with the line it ends on."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            cells = [row.get(name) for name in columns]
            if None in cells:
                raise PopulationError(f"{path}, line {reader.line_num}: it needs {', '.join(columns)}.")
            yield reader.line_num, [cell or "" for cell in cells]


def _100k_items(folder: Path) -> Iterator[Item]:
    genres = [line.split("|")[0] for _, line in _lines(folder / "u.genre")]
    path = folder / "u.item"
    for number, line in _lines(path):
        # Number, title, two dates and an address, then a flag for each genre.
        cells = line.split("|")
        if len(cells) != len(genres) + 5:
            raise PopulationError(f"{path}, line {number}: it has {len(cells)} cells, not 5 and {len(genres)} genres.")
        flagged = [genre for genre, flag in zip(genres, cells[5:], strict=True) if flag == "1"]
        yield _film(path, number, cells[0], cells[1], flagged)


def _100k_ratings(folder: Path) -> Iterator[tuple[int, Rating]]:
    packed = folder / "u.data.gz"
    path = packed if packed.exists() else folder / "u.data"
    for number, line in _lines(path):
        yield number, _rating(path, number, line.split("\t"))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file of ml-100k that are not blank, counted from 1."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("latin-1")
    yield from ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _film(path: Path, line: int, number: str, written: str, genres: list[str]) -> Item:
    title = read_title(written)
    lowered = (genre.strip().lower() for genre in genres)
    try:
        return Item(
            id=f"ml-{number}",
            title=title.name[:_LONGEST],
            original_title=title.other[:_LONGEST] if title.other else None,
            year=title.year,
            genres=tuple(dict.fromkeys(_GENRES.get(genre, genre) for genre in lowered if genre not in _NO_GENRE)),
        )
    except ValueError as error:
        raise PopulationError(f"{path}, line {line}: it is no film.") from error


def _rating(path: Path, line: int, cells: list[str]) -> Rating:
    try:
        person, item, rating, at = cells
        return person, f"ml-{item}", float(rating), float(at)
    except ValueError as error:
        raise PopulationError(f"{path}, line {line}: it is not a person, a film, a rating and a time.") from error
