"""Finds what a reply states without a source: titles, people, years and genres from neither records nor the person.

Written apart from the dialogue's own verifier, which looks at slots before they are filled: this one reads the finished
text as a person would. It does not judge whether a fact is told of the right item.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from retrieval.folding import fold
from retrieval.item import Item
from retrieval.linker import Linker
from retrieval.relax import YEARS_WIDER
from retrieval.wish import Wish
from retrieval.words import common_words

_YEAR = re.compile(r"\b((?:1[89]|20)\d\d)(s?)\b")
_DECADE = re.compile(r"\b([0-9]0)s\b")
_CAPITALISED = re.compile(r"(?<!\w)[A-Z][\w'’-]*\w(?: [A-Z][\w'’-]*\w)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;…\n\"“”(*–—-])\s*$")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_OWN = frozenset({"sotto", "im", "id", "ill", "ive"})
_GENRE_FORMS = {"science fiction": ("sci fi", "scifi"), "film noir": ("noir",), "romance": ("romcom", "rom com")}


@dataclass(frozen=True)
class Sources:
    """What a reply may draw on.

    ``items`` are the records spoken of; ``named`` the items that the person named or pointed at, of which only title
    and year may be told; ``said`` everything the person wrote; ``wish`` what was understood of it.
    """

    items: Sequence[Item]
    named: Sequence[Item]
    said: str
    wish: Wish

    @property
    def text(self) -> str:
        """All of it in one folded text."""
        wish = self.wish
        facets = (*wish.genres, *wish.not_genres, *wish.moods, *wish.countries, *wish.languages, wish.about)
        people = (*wish.people, *wish.not_people)
        parts = [self.said, *facets, *people, *(item.label for item in self.named), *map(_record, self.items)]
        return f" {fold(' | '.join(parts))} "

    @property
    def phrases(self) -> list[str]:
        """Titles, names and descriptions as written, the longest first."""
        found = {item.label for item in self.named} | {item.title for item in self.named}
        for item in self.items:
            found |= {item.label, item.title, item.original_title or item.title, item.description, *item.names}
        return sorted(found - {""}, key=len, reverse=True)


def ungrounded(reply: str, sources: Sources, linker: Linker, genres: Collection[str]) -> list[str]:
    """Each statement of ``reply`` without a source, as ``kind text``; empty when all have one.

    ``genres`` is the catalogue's vocabulary. A genre counts where the reply speaks of items and does not ask.
    """
    known = sources.text
    rest = reply
    for phrase in sources.phrases:
        rest = re.sub(rf"(?<!\w){re.escape(phrase)}(?!\w)", " … ", rest, flags=re.IGNORECASE)
    found = [*_years(reply, known, sources.wish), *_names(rest, known, sources, linker)]
    if sources.items:
        found += _genres(rest, known, genres)
    return list(dict.fromkeys(found))


def _record(item: Item) -> str:
    facets = (*item.genres, *item.moods, *item.countries, *item.languages, *item.keywords)
    return " | ".join((item.label, item.original_title or "", item.description, *item.names, *facets))


def _years(reply: str, known: str, wish: Wish) -> Iterator[str]:
    bounds = {year for year in (wish.year_from, wish.year_to) if year is not None}
    # A relaxed wish may be told with the wider bounds that were searched.
    bounds |= {year + wider for year in bounds for wider in (-YEARS_WIDER, YEARS_WIDER)}
    sure = {int(match[1]) for match in _YEAR.finditer(known)} | bounds
    # In tens of years: "the 90s" said by the person may be 189, 199 or 209.
    decades = {year // 10 for year in sure}
    decades |= {century * 10 + int(m[1]) // 10 for m in _DECADE.finditer(known) for century in (18, 19, 20)}
    for match in _YEAR.finditer(reply):
        year = int(match[1])
        if year not in sure and not (match[2] and year // 10 in decades):
            yield f"year {match[0]}"
    for match in _DECADE.finditer(reply):
        if not any(decade % 10 == int(match[1]) // 10 for decade in decades):
            yield f"year {match[0]}"


def _names(rest: str, known: str, sources: Sources, linker: Linker) -> Iterator[str]:
    allowed = {item.id for item in (*sources.items, *sources.named)}
    told: list[tuple[int, int]] = []
    for mention in linker.link(rest):
        surface = mention.surface
        initial = _starts_sentence(rest, mention.start) and " " not in surface
        if not any(word[0].isupper() for word in surface.split()) or initial or f" {fold(surface)} " in known:
            continue
        if allowed.isdisjoint(mention.ids):
            told.append((mention.start, mention.end))
            yield f"{mention.kind} {surface}"
    ordinary = common_words()
    for match in _CAPITALISED.finditer(rest):
        inside = any(start <= match.start() < end for start, end in told)
        if inside or _starts_sentence(rest, match.start()):
            continue
        strange = [word for word in fold(match[0]).split() if f" {word} " not in known and word not in _OWN]
        # One ordinary word may be written large; several in a row are a name.
        if any(word not in ordinary for word in strange) or (strange and " " in match[0]):
            yield f"name {match[0]}"


def _genres(rest: str, known: str, genres: Collection[str]) -> Iterator[str]:
    claims = [fold(sentence) for sentence in _SENTENCE.findall(rest) if not sentence.rstrip().endswith("?")]
    text = " . ".join(claims)
    for genre in genres:
        if _has_genre(text, genre) and not _has_genre(known, genre):
            yield f"genre {genre}"


def _has_genre(text: str, genre: str) -> bool:
    return any(re.search(rf"\b{re.escape(form)}\b", text) for form in _forms(genre))


def _forms(genre: str) -> Iterable[str]:
    for name in (fold(genre), *_GENRE_FORMS.get(genre, ())):
        yield from (name, f"{name}s")
        if name.endswith("y"):
            yield f"{name[:-1]}ies"


def _starts_sentence(text: str, at: int) -> bool:
    return _SENTENCE_START.search(text[:at]) is not None
