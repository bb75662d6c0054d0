"""The films that training text speaks of: the bundled ones and, where a facts file is given, thousands more.

The starter model must copy from the records it is shown instead of remembering them, so most of its films
are ones that the catalogue does not hold. What a facts file lacks (moods, keywords, a director, a
description) is drawn from other films of the same genre: such records are invented, which is right for a
text that teaches reading.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from retrieval.item import Item

GENRE_OF_FACT = {
    "noir": "film noir", "animated": "animation", "historical": "history", "sports": "sport", "suspense": "thriller",
    "supernatural": "horror", "slasher": "horror", "found footage": "horror", "dance": "musical", "satire": "comedy",
}  # fmt: skip


class World:
    """Draws films, titles and people for examples. ``films`` are complete records."""

    def __init__(self, films: Sequence[Item]) -> None:
        self.films = list(films)
        self.people = sorted({name for film in films for name in film.names if " " in name})
        self.by_genre: dict[str, list[Item]] = defaultdict(list)
        for film in films:
            for genre in film.genres:
                self.by_genre[genre].append(film)
        self._counts = {
            name: Counter(v for film in films for v in getattr(film, name)) for name in ("countries", "languages")
        }

    def counts(self, facet: str) -> Counter[str]:
        """How many films have each value of ``countries`` or ``languages``."""
        return self._counts[facet]

    def draw(self, rng: random.Random, count: int) -> list[Item]:
        """``count`` films with different titles."""
        chosen: dict[str, Item] = {}
        while len(chosen) < count:
            film = rng.choice(self.films)
            chosen.setdefault(film.title.lower(), film)
        return list(chosen.values())


def read_facts(path: Path) -> Iterator[tuple[str, int, list[str], list[str]]]:
    """Title, year, genres of Sotto's vocabulary and cast from a JSON Lines file (gzip by its name)."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            fact = json.loads(line)
            genres = [GENRE_OF_FACT.get(name.lower(), name.lower()) for name in fact.get("genres", ())]
            cast = [name for name in fact.get("cast", ()) if re.fullmatch(r"[^\W\d_][\w.'’ -]{3,40}", name)]
            if 1 < len(fact["title"]) <= 60:
                yield fact["title"], int(fact["year"]), genres, cast


def invent_records(
    facts: Iterable[tuple[str, int, list[str], list[str]]], complete: Sequence[Item], seed: int
) -> Iterator[Item]:
    """Records for ``facts`` with the missing fields drawn from ``complete`` films of the same genre."""
    rng = random.Random(seed)
    by_genre: dict[str, list[Item]] = defaultdict(list)
    for film in complete:
        for genre in film.genres:
            by_genre[genre].append(film)
    known = set(by_genre)
    directors = sorted({name for film in complete for name in film.people.get("director", ())})
    pool: list[str] = list(directors)
    for number, (title, year, genres, cast) in enumerate(facts):
        mine = [genre for genre in genres if genre in known][:3] or [rng.choice(sorted(known))]
        if len(mine) == 1 and rng.random() < 0.4:
            mine.append(rng.choice(rng.choice(by_genre[mine[0]]).genres))
        donors = [rng.choice(by_genre[rng.choice(mine)]) for _ in range(3)]
        pool.extend(cast[:1])
        director = rng.choice(pool)
        yield Item(
            id=f"fact-{number}",
            title=title,
            year=year,
            genres=tuple(dict.fromkeys(mine)),
            moods=tuple(dict.fromkeys(mood for film in donors[:2] for mood in film.moods))[: rng.randint(2, 4)],
            countries=donors[0].countries,
            languages=donors[0].languages,
            people={"director": (director,), "cast": tuple(name for name in cast[:4] if name != director)},
            keywords=tuple(
                dict.fromkeys(word for film in donors for word in rng.sample(film.keywords, min(2, len(film.keywords))))
            ),
            description=donors[1].description,
        )
