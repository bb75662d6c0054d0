"""Compares the bundled films with two public lists and prints what agrees, what does not, and every disagreement.

Wikipedia's list (titles, years, cast, the article's first sentences) and MovieLens' (titles, years) are read from
``../shared/data/catalogue``. Both have errors of their own, and years of American release for foreign films, so a
disagreement is a question, not a verdict; docs/catalogue.md keeps the answers.

    python -m benchmarks.catalogue_check
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rapidfuzz import fuzz

from retrieval.bundled import bundled_items
from retrieval.folding import ENGLISH_ARTICLES, fold
from retrieval.importing import read_items
from retrieval.item import Item

DATA = Path(__file__).parents[2] / "shared" / "data" / "catalogue"
SPELLING = 85.0
"""Two names at least so alike, in percent, are taken for two spellings of one."""

_DIRECTED = re.compile(r"direct(?:ed|orial)|film by", re.IGNORECASE)


@dataclass
class Article:
    """An entry of Wikipedia's list."""

    year: int
    cast: tuple[str, ...]
    extract: str


@dataclass
class Lists:
    """Years and articles by folded title."""

    years: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    articles: dict[str, list[Article]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Finding:
    """What comparing one fact of one film came to; ``kind`` reads "title and year: agrees"."""

    film: str
    kind: str
    detail: str = ""


def key(title: str) -> str:
    """A title's folded form without an English article."""
    words = fold(title).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ENGLISH_ARTICLES else words)


def read_lists() -> Lists:
    """Both lists; takes about five seconds."""
    lists = Lists()
    with gzip.open(DATA / "wikipedia_movies.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            article = Article(row["year"], tuple(row["cast"]), row.get("extract") or "")
            for title in {row["title"], (row.get("href") or "").replace("_", " ").split(" (")[0]} - {""}:
                lists.years[key(title)].add(article.year)
                lists.articles[key(title)].append(article)
    for item in read_items(DATA / "movielens_latest_movies.csv.gz"):
        if item.year is not None:
            for title in filter(None, (item.title, item.original_title)):
                lists.years[key(title)].add(item.year)
    return lists


def findings(film: Item, lists: Lists) -> Iterator[Finding]:
    """Every comparison that the lists allow for ``film``."""
    titles = {key(film.title), key(film.original_title or film.title), key(film.title.split(": ")[0])}
    yield _of_year(film, set().union(*(lists.years.get(title, set()) for title in titles)))
    articles = [article for title in titles for article in lists.articles.get(title, ())]
    nearest = min(articles, key=lambda article: abs(article.year - (film.year or 0)), default=None)
    if nearest is not None and abs(nearest.year - (film.year or 0)) <= 1:
        yield from _of_cast(film, nearest)
        yield from _of_directors(film, nearest)


def _of_year(film: Item, years: set[int]) -> Finding:
    if not years:
        return Finding(film.label, "title and year: title not listed")
    if film.year in years:
        return Finding(film.label, "title and year: agrees")
    listed = min(years, key=lambda year: abs(year - (film.year or 0)))
    near = abs(listed - (film.year or 0)) == 1
    kind = "title and year: one year apart" if near else "title and year: other years only"
    return Finding(film.label, kind, f"listed {listed}")


def _of_cast(film: Item, article: Article) -> Iterator[Finding]:
    text = fold(article.extract)
    listed = {fold(name) for name in article.cast}
    cast = film.people.get("cast", ())
    confirmed = [name for name in cast if fold(name) in listed or fold(name) in text]
    for name in cast:
        if name in confirmed:
            yield Finding(film.label, "cast member: agrees")
        elif near := [other for other in article.cast if other not in cast and _alike(other, name)]:
            yield Finding(film.label, "cast member: spelt otherwise", f"{name}; listed {near[0]}")
        elif confirmed or not article.cast:
            yield Finding(film.label, "cast member: not among those listed")
    if article.cast and cast and not confirmed:
        yield Finding(film.label, "cast: nobody in common", f"{', '.join(cast)}; listed {', '.join(article.cast)}")


def _of_directors(film: Item, article: Article) -> Iterator[Finding]:
    if not _DIRECTED.search(article.extract):
        return
    text = fold(article.extract)
    for name in film.people["director"]:
        agrees = fold(name) in text or fold(name).split()[-1] in text.split()
        if agrees:
            yield Finding(film.label, "director: agrees")
        else:
            yield Finding(film.label, "director: not in the article", f"{name}; {article.extract[:160]}")


def _alike(one: str, other: str) -> bool:
    return fuzz.ratio(fold(one), fold(other)) >= SPELLING


def main() -> int:
    """Prints the counts and the disagreements; 1 when the lists are not there."""
    if not DATA.is_dir():
        print(f"{DATA} is not there: this check needs the public lists", file=sys.stderr)
        return 1
    lists = read_lists()
    films = list(bundled_items())
    found = [finding for film in films for finding in findings(film, lists)]
    print(f"{len(films):,} films")
    for kind, count in sorted(Counter(finding.kind for finding in found).items()):
        print(f"{count:7,}  {kind}")
    for finding in sorted(found, key=lambda finding: (finding.kind, finding.film)):
        if not finding.kind.endswith((": agrees", "not among those listed")):
            print(f"{finding.kind} | {finding.film} | {finding.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
