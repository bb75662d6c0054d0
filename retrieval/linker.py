"""Links titles and people in free text to the catalogue, in spite of typos, articles, accents and numerals."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from retrieval.aliases import name_variants, names_of, ordinary_words
from retrieval.evidence import Message, weight_of
from retrieval.folding import ARTICLES, ENGLISH_ARTICLES, fold, numerals, tokens
from retrieval.item import Item
from retrieval.names import JOINED, Match, NameIndex
from retrieval.words import FUNCTION_WORDS, HEAD_NOUNS, common_words

MOST_CHARACTERS = 10_000
"""A longer message is linked up to here."""

_PLAIN = FUNCTION_WORDS | HEAD_NOUNS
_SIBLINGS = frozenset({"brothers", "bros", "sisters"})
_UNLIKELY = 16.0
_UNLIKELY_IF_KNOWN = 10.4
_UNLIKELY_NAME = 12.0
_WELL_KNOWN = 3_000
_SHORT = 3
_LONG = 10
_TYPO_IN_ONE_WORD = 6
_LONG_PHRASE = 4
_EVERYDAY = 1200
_KNOWN_CREDITS = 2
_FAMOUS_CREDITS = 4
_CLEARLY = 2.0
_OWN_TOPIC = 2
_SAMPLE = 20_000
_MOST_IDS = 20


@dataclass(frozen=True, slots=True)
class Mention:
    """A title or a person named in a text, at characters ``start`` to ``end``.

    ``ids`` are the items a title may mean, best first; ``name`` is the person's name as the catalogue writes it.
    ``score`` is 0..1: how alike the written and the real name are.
    """

    kind: Literal["title", "person"]
    start: int
    end: int
    surface: str
    ids: tuple[str, ...] = ()
    name: str = ""
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class _Proposal:
    mention: Mention
    first: int
    last: int
    rank: tuple[float, ...]
    certain: bool


@dataclass(slots=True)
class _Person:
    name: str
    credits: int = 0
    popularity: float = 0.0


@dataclass(frozen=True, slots=True)
class _Title:
    id: str
    year: int | None
    popularity: float
    articles: frozenset[str] = field(default_factory=frozenset)


class Linker:
    """Built from items once; single items can be added and removed later."""

    def __init__(self, items: Iterable[Item]) -> None:
        everything = list(items)
        self._titles: list[_Title | None] = []
        self._places: dict[str, int] = {}
        self._title_names = NameIndex()
        self._people: list[_Person] = []
        self._person_places: dict[str, int] = {}
        self._person_names = NameIndex()
        self._surnames = NameIndex()
        self._first_names: set[str] = set()
        self._facets: set[str] = set()
        self._phrases: set[str] = set()
        self._topics: Counter[str] = Counter()
        self._common = set(common_words()) | _PLAIN | ordinary_words(everything[:_SAMPLE])
        self._fame = sorted(item.popularity for item in everything)
        for item in everything:
            self.add(item)

    def add(self, item: Item) -> None:
        """Adds an item, or replaces the one of its id."""
        self.remove(item.id)
        place = len(self._titles)
        self._places[item.id] = place
        articles = {token.form for token in tokens(item.title)[:1]} & ARTICLES
        self._titles.append(_Title(item.id, item.year, item.popularity, frozenset(articles)))
        for words, weight in names_of(item, self._common):
            self._title_names.add(words, place, weight)
        for name in item.names:
            self._add_person(name, item.popularity)
        facets = (*item.genres, *item.moods, *item.countries, *item.languages)
        self._facets.update(word for value in facets for word in fold(value).split())
        self._phrases.update(fold(value) for value in facets)
        self._topics.update(fold(value) for value in item.keywords)

    def remove(self, item_id: str) -> None:
        """Forgets the title of an item; people stay known."""
        place = self._places.pop(item_id, None)
        if place is not None:
            self._titles[place] = None

    def is_topic(self, words: str) -> bool:
        """Whether ``words``, in the singular or the plural, are a keyword of any item."""
        key = fold(words)
        return any(form in self._topics for form in (key, f"{key}s", key.removesuffix("s"), f"{key[:-3]}y"))

    def link(self, text: str) -> list[Mention]:
        """The titles and people that ``text`` names, in order, none overlapping another; the longest name wins."""
        text = text[:MOST_CHARACTERS]
        message = Message(text, [token for token in numerals(tokens(text)) if token.form not in ENGLISH_ARTICLES])
        proposals = sorted(self._proposals(message), key=lambda proposal: proposal.rank, reverse=True)
        taken = [False] * len(message.words)
        chosen: list[_Proposal] = []
        for proposal in proposals:
            if proposal.certain:
                _take(proposal, taken, chosen)
        doubtful = sorted((one for one in proposals if not one.certain), key=lambda one: (one.first, -one.last))
        for proposal in doubtful:
            if all(word.form in _PLAIN for word in message.words[proposal.first : proposal.last]):
                continue
            joined = (message.joined(other.last, proposal.first) for other in chosen if other.mention.kind == "title")
            if any(joined) and message.ends_phrase(proposal.last):
                _take(proposal, taken, chosen)
        return sorted((proposal.mention for proposal in chosen), key=lambda mention: mention.start)

    def _proposals(self, message: Message) -> Iterator[_Proposal]:
        forms = [message.forms(place) for place in range(len(message.words))]
        for place in range(len(forms)):
            yield from self._title_proposals(message, self._title_names.matches(forms, place, self._common))
            for match in self._person_names.matches(forms, place, self._common):
                if proposal := self._full_name(message, match):
                    yield proposal
            surnames = self._surnames.matches(forms[: place + 1], place, self._common)
            if surnames and (proposal := self._surname(message, surnames)):
                yield proposal

    def _title_proposals(self, message: Message, matches: Sequence[Match]) -> Iterator[_Proposal]:
        by_end: dict[int, list[Match]] = {}
        for match in matches:
            by_end.setdefault(match.end, []).append(match)
        for rivals in by_end.values():
            refs: dict[int, float] = {}
            for match in rivals:
                for ref, weight in self._title_names.refs(match.key).items():
                    if self._titles[ref] is not None:
                        refs[ref] = max(weight, refs.get(ref, 0.0))
            if refs and not self._is_slip(message, rivals[0]):
                yield self._title(message, rivals[0], refs)

    def _is_slip(self, message: Message, match: Match) -> bool:
        """Ordinary words, or a single short or known one, that are only near a title are other words."""
        if match.likeness in {1.0, JOINED}:
            return False
        words = [message.words[place].form for place in range(match.start, match.end)]
        if len(words) > 1:
            return all(word in self._common for word in words)
        (written,) = words
        plural = match.key in {f"{written}s", written.removesuffix("s")}
        return (
            plural
            or len(written) < _TYPO_IN_ONE_WORD
            or match.key in self._common
            or written in self._title_names.speller
        )

    def _title(self, message: Message, match: Match, refs: dict[int, float]) -> _Proposal:
        begin, end = message.words[match.start].start, message.end(match.end - 1, match.key)
        titles = {ref: title for ref in refs if (title := self._titles[ref]) is not None}
        article = message.article_before(begin)
        quoted = message.quoted(begin, end) or (article is not None and message.quoted(article.start, end))
        years = {title.year for title in titles.values() if title.year is not None}
        year, first, last = message.year_beside(begin, end, years)

        def order(ref: int) -> tuple[float, ...]:
            title = titles[ref]
            off = 2.0 if year is None or title.year is None else float(min(2, abs(title.year - year)))
            agrees = (article.form if article else "") in title.articles or (article is None and not title.articles)
            fame = self._share(title.popularity)
            return (off, -(fame + refs[ref] + (0.02 if agrees else 0.0)), -title.popularity)

        ids = [titles[ref].id for ref in sorted(titles, key=lambda ref: (order(ref), titles[ref].id))][:_MOST_IDS]
        best = max(titles.values(), key=lambda title: title.popularity)
        certain = quoted or year is not None or self._is_certain(message, match, best.popularity)
        if article is not None and first == begin and any(article.form in title.articles for title in titles.values()):
            first = article.start
        mention = Mention("title", first, last, message.text[first:last], tuple(ids), score=match.likeness)
        size = len(match.key.replace(" ", "")) * match.likeness**3
        rank = (size, 1.0 if max(refs.values()) == 1 else 0.0, match.likeness, -first)
        return _Proposal(mention, match.start, match.end, rank, certain)

    def _is_certain(self, message: Message, match: Match, popularity: float) -> bool:
        """Whether words that are a title are meant as one, as far as the message and the title's fame tell."""
        words = match.key.split()
        known = len(self._fame) - bisect.bisect_right(self._fame, popularity) < _WELL_KNOWN
        facet = match.key in self._phrases or all(word in self._facets for word in words)
        topic = facet or self._topics[match.key] > _OWN_TOPIC
        meaning = [word for word in words if word not in _PLAIN and not word.isdigit()]
        liked = (
            not facet
            and bool(meaning or (match.key.isdigit() and match.key != "1"))
            and message.liked(match.start, match.end)
        )
        size = len(match.key.replace(" ", ""))
        if size > _SHORT and not all(word in self._common or word.isdigit() for word in words):
            long = len(words) > 1 and (match.likeness == 1 or size >= _LONG)
            return known or liked or long or message.upper_case(match.start)
        if meaning and len(words) > 1 and not topic:
            weight = weight_of(words)
            if weight >= _UNLIKELY or (known and weight >= _UNLIKELY_IF_KNOWN):
                return True
            if len(words) >= _LONG_PHRASE and len(meaning) > 1:
                return True
        if facet or not (known or match.key not in self._first_names):
            return liked
        whole = bool(meaning) and match.start == 0 and match.end == len(message.words)
        return whole or liked or message.capitalised(match.start, match.end)

    def _full_name(self, message: Message, match: Match) -> _Proposal | None:
        words = match.key.split()
        cued = message.credited(match.start, match.end) or message.weakly_credited(match.start)
        plain = all(word in self._common for word in words) and weight_of(words) < _UNLIKELY_NAME
        if plain and not cued and not message.capitalised(match.start, match.end):
            return None
        return self._person(message, match, next(iter(self._person_names.refs(match.key))), 1.0)

    def _surname(self, message: Message, rivals: Sequence[Match]) -> _Proposal | None:
        """A surname that one well-known person bears, or one far better known than its other bearers."""
        keys = {ref: match for match in rivals for ref in self._surnames.refs(match.key)}
        known = sorted(keys, key=lambda ref: (-self._weight(ref), ref))
        match = keys[known[0]]
        best = self._people[known[0]]
        if best.credits < _KNOWN_CREDITS or match.key in self._facets:
            return None
        siblings = match.end < len(message.words) and message.words[match.end].form in _SIBLINGS
        if len(known) > 1 and not siblings and self._weight(known[0]) < _CLEARLY * self._weight(known[1]):
            return None
        word = message.words[match.start]
        first = self._given_name(message, match.start, self._people[known[0]].name)
        credited = message.credited(first, match.end)
        capitals = message.capitalised(first, match.end)
        rank = common_words().get(word.form)
        if rank is None and word.form not in self._facets and word.form not in FUNCTION_WORDS:
            famous = match.likeness == 1 and best.credits >= _FAMOUS_CREDITS and len(match.key) >= _TYPO_IN_ONE_WORD
            told = famous or credited or capitals or siblings or message.weakly_credited(first)
        else:
            told = credited and word.form not in FUNCTION_WORDS and (capitals or (rank or 0) >= _EVERYDAY)
        if not told and first == match.start:
            return None
        if match.likeness < 1 and (len(word.form) < _TYPO_IN_ONE_WORD or match.key in self._common):
            return None
        named = Match(first, match.end, match.key, match.likeness)
        return self._person(message, named, known[0], 1.0 if credited or best.credits > _KNOWN_CREDITS else -1.0)

    def _given_name(self, message: Message, place: int, name: str) -> int:
        """Where a name begins whose surname is word ``place``: before its particle, initial or short given name."""
        *before, _ = fold(name).split()
        first = place
        while before and first and message.words[first - 1].form == before[-1]:
            before.pop()
            first -= 1
        short = message.words[first - 1].form if first else ""
        if before and short and before[0].startswith(short) and message.upper_case(first - 1):
            first -= 1
        return first

    def _person(self, message: Message, match: Match, ref: int, before_titles: float) -> _Proposal:
        begin, end = message.words[match.start].start, message.end(match.end - 1, match.key)
        name = self._people[ref].name
        mention = Mention("person", begin, end, message.text[begin:end], name=name, score=match.likeness)
        size = (end - begin) * match.likeness**3
        return _Proposal(mention, match.start, match.end, (size, before_titles, match.likeness, -begin), True)

    def _weight(self, ref: int) -> float:
        """How well a person is known: every credit counts, those of well-known items more."""
        person = self._people[ref]
        top = self._fame[-1] if self._fame and self._fame[-1] else 1.0
        return person.credits + 4 * person.popularity / top

    def _share(self, popularity: float) -> float:
        return bisect.bisect_left(self._fame, popularity) / max(1, len(self._fame))

    def _add_person(self, name: str, popularity: float) -> None:
        key = fold(name)
        ref = self._person_places.get(key)
        if ref is None:
            ref = self._person_places[key] = len(self._people)
            self._people.append(_Person(name))
            for words in name_variants(key.split()):
                if len(words) > 1:
                    self._person_names.add(words, ref)
                if len(words[-1]) >= _SHORT:
                    self._surnames.add(words[-1:], ref)
            self._first_names.update(key.split()[:-1][:1])
        self._people[ref].credits += 1
        self._people[ref].popularity += popularity


def _take(proposal: _Proposal, taken: list[bool], chosen: list[_Proposal]) -> None:
    if not any(taken[proposal.first : proposal.last]):
        taken[proposal.first : proposal.last] = [True] * (proposal.last - proposal.first)
        chosen.append(proposal)
