"""People with histories, read from a folder of MovieLens: what stands in for real devices in simulations."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from federation.device.base import Event, Verdict
from retrieval.item import Item

FEWEST_EVENTS = 5
LIKED, DISLIKED = 4.0, 2.0
"""Ratings out of 5 from, and up to, which a person liked or disliked what they rated."""

_TITLE = re.compile(r"^(?P<title>.*?)(?:\s*\((?P<year>\d{4})\))?\s*$")
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An|La|Le|Les|L'|Il|El|Das|Der|Die)$")
_GENRES = {"sci-fi": "science fiction", "film-noir": "film noir", "children's": "family", "children": "family"}
_NO_GENRE = frozenset({"(no genres listed)", "unknown"})


class PopulationError(ValueError):
    """A folder holds no population; the message says what was looked for."""


@dataclass(frozen=True)
class Population:
    """``items`` by id, and each person's events, oldest first, by name."""

    items: Mapping[str, Item]
    histories: Mapping[str, tuple[Event, ...]]


def verdict(rating: float) -> Verdict:
    """What a rating out of 5 says."""
    return "liked" if rating >= LIKED else "disliked" if rating <= DISLIKED else "seen"


@cache
def read_population(folder: Path) -> Population:
    """The people of ml-latest-small (ratings.csv, movies.csv) or ml-100k (u.data, u.item); else PopulationError."""
    if (folder / "ratings.csv").exists():
        items, ratings = _latest_items(folder / "movies.csv"), _latest_ratings(folder / "ratings.csv")
    elif (folder / "u.item").exists():
        items, ratings = _100k_items(folder), _100k_ratings(folder)
    else:
        raise PopulationError(
            f"{folder} holds no population: it needs ratings.csv and movies.csv (ml-latest-small), "
            "or u.data and u.item (ml-100k)."
        )
    events: dict[str, list[Event]] = defaultdict(list)
    for person, item, rating, at in ratings:
        events[person].append(Event(at, item, verdict(rating)))
    # Stable: events of one second stay in the file's order.
    return Population(items, {person: tuple(sorted(found, key=lambda one: one.at)) for person, found in events.items()})


def devices(population: Population, count: int, seed: int) -> list[str]:
    """``count`` people, or all there are, of at least `FEWEST_EVENTS` events, drawn by ``seed``."""
    known = sorted(person for person, events in population.histories.items() if len(events) >= FEWEST_EVENTS)
    drawn = np.random.default_rng(seed).permutation(len(known))[:count]
    return [known[at] for at in sorted(drawn)]


def _latest_items(path: Path) -> dict[str, Item]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {
            item.id: item for row in rows for item in [_item(row["movieId"], row["title"], row["genres"].split("|"))]
        }


def _latest_ratings(path: Path) -> Iterator[tuple[str, str, float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["userId"], f"ml-{row['movieId']}", float(row["rating"]), float(row["timestamp"])


def _100k_items(folder: Path) -> dict[str, Item]:
    genres = [line.split("|")[0] for line in _lines(folder / "u.genre")]
    found = {}
    for line in _lines(folder / "u.item"):
        number, title, *rest = line.split("|")
        flags = rest[-len(genres) :]
        item = _item(number, title, [genre for genre, flag in zip(genres, flags, strict=True) if flag == "1"])
        found[item.id] = item
    return found


def _100k_ratings(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    packed = folder / "u.data.gz"
    for line in _lines(packed if packed.exists() else folder / "u.data"):
        person, item, rating, at = line.split("\t")
        yield person, f"ml-{item}", float(rating), float(at)


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("latin-1")
    return [line for line in text.splitlines() if line.strip()]


def _item(number: str, title: str, genres: list[str]) -> Item:
    match = _TITLE.match(title.strip())
    name, year = (match["title"], match["year"]) if match and match["title"] else (title.strip(), None)
    if article := _ARTICLE.match(name):
        space = "" if article["article"].endswith("'") else " "
        name = f"{article['article']}{space}{article['rest']}"
    lowered = [_GENRES.get(genre.lower(), genre.lower()) for genre in genres if genre.lower() not in _NO_GENRE]
    return Item(
        id=f"ml-{number}", title=name[:200], year=int(year) if year else None, genres=tuple(dict.fromkeys(lowered))
    )
