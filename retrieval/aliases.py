"""The names under which people mention an item: with or without its articles, its subtitle, the end of a long title."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from retrieval.evidence import weight_of
from retrieval.folding import ARTICLES, ENGLISH_ARTICLES, fold, numerals, tokens
from retrieval.item import Item
from retrieval.words import FUNCTION_WORDS

PART_OF_TITLE = 0.7
"""The weight of a name that is only a part of the title; the full one weighs 1."""

_UNMISTAKABLE_ARTICLES = frozenset({"le", "la", "les", "l", "il", "el", "das", "der"})
_SUBTITLE = re.compile(r"\s*[:–—]\s|\s-\s|\s\(|,?\s+or:\s|,\s+or\b")
_TRAILING_ARTICLE = re.compile(r"^(?P<title>.+), (?P<article>[A-Za-z]{1,3}['’]?)$")
_LONE_ROMAN = {"v": "5", "x": "10", "i": "1"}
_ACRONYM = re.compile(r"[^\W\d_](?:[.*·][^\W\d_])+[.*·]?(?=\s)")
_PARTICLES = ("de", "del", "della", "di", "da", "du", "la", "le", "mac", "mc", "van", "von")
_SHORTEST_PART = 4
_JOINED_FROM = 5
_JOINED_WORDS = 3
_ORDINARY_TIMES = 3
_UNLIKELY = 15.0
_LOWER_CASE = re.compile(r"(?<![\w'’-])[a-z]{3,}(?![\w'’-])")

Words = tuple[str, ...]


def names_of(item: Item, common: Collection[str]) -> Iterator[tuple[Words, float]]:
    """Every name of ``item`` as folded words, with the weight it has; ``common`` are ordinary words."""
    foreign = bool(item.languages) and "english" not in item.languages
    for title, articles in (
        (item.title, ARTICLES if foreign else _articles(item)),
        (item.original_title or "", ARTICLES),
    ):
        if not title:
            continue
        if trailing := _TRAILING_ARTICLE.match(title):
            title = f"{trailing['article']} {trailing['title']}"  # noqa: PLW2901
        for words in _variants(title, articles):
            yield words, 1.0
            yield from ((part, PART_OF_TITLE) for part in _beginnings(words, common))
        for part in _parts(title):
            yield from ((words, PART_OF_TITLE) for words in _variants(part, articles))


def name_variants(words: Sequence[str]) -> Iterator[Words]:
    """A person's folded name, also with the surname's particle written apart or joined: ``di caprio``, ``deniro``."""
    if not words:
        return
    *before, last = words
    yield (*before, last)
    if before and before[-1] in _PARTICLES:
        yield (*before[:-1], before[-1] + last)
    for particle in _PARTICLES:
        if before and last.startswith(particle) and len(last) - len(particle) > _SHORTEST_PART:
            yield (*before, particle, last.removeprefix(particle))


def ordinary_words(items: Iterable[Item]) -> set[str]:
    """Words that descriptions use in lower case again and again, and those of the items' facets and keywords."""
    counts: Counter[str] = Counter()
    facets: set[str] = set()
    for item in items:
        counts.update(set(_LOWER_CASE.findall(item.description)))
        for value in (*item.genres, *item.moods, *item.countries, *item.languages, *item.keywords):
            facets.update(value.split())
    return facets | {word for word, times in counts.items() if times >= _ORDINARY_TIMES}


def _articles(item: Item) -> Collection[str]:
    return ENGLISH_ARTICLES if item.languages else ENGLISH_ARTICLES | _UNMISTAKABLE_ARTICLES


def _variants(title: str, articles: Collection[str]) -> Iterator[Words]:
    every = tuple(token.form for token in numerals(tokens(title)))
    words = tuple(word for word in every if word not in ENGLISH_ARTICLES) or every
    yield words
    if len(words) > 1 and words[0] in articles:
        yield words[1:]
    if len(words) > 1 and words[-1] in _LONE_ROMAN:
        yield (*words[:-1], _LONE_ROMAN[words[-1]])
    joined = "".join(words)
    if 1 < len(words) <= _JOINED_WORDS and len(joined) >= _JOINED_FROM and not joined.isdigit():
        yield (joined,)


def _parts(title: str) -> Iterator[str]:
    """What stands before a subtitle, and a subtitle of more than a word."""
    head, *rest = _SUBTITLE.split(title, maxsplit=1)
    if rest:
        yield from (part for part in (head, *rest[:1]) if len(part) >= _SHORTEST_PART)
    if rest and _SUBTITLE.search(rest[0]):
        yield _SUBTITLE.split(rest[0])[-1]
    acronym = _ACRONYM.match(title)
    if acronym and fold(acronym.group()) not in FUNCTION_WORDS:
        yield acronym.group()


def _beginnings(words: Words, common: Collection[str]) -> Iterator[Words]:
    """Beginnings that are unlikely in plain text: "eternal sunshine"."""
    for size in range(2, len(words)):
        telling = [word for word in words[:size] if word not in FUNCTION_WORDS and not word.isdigit()]
        unlikely = any(word not in common for word in telling) and weight_of(telling) >= _UNLIKELY
        if len(telling) > 1 and unlikely and words[size - 1] not in FUNCTION_WORDS:
            yield words[:size]
