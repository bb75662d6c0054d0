"""The values of a catalogue's facets that a message says, where they stand, and whether they are wanted or refused.

A value in the reach of a refusal is never wanted and one outside never refused: the model chooses between values only
where a phrase has two meanings or is spelt like none that is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from assistant.dialogue.scope import FILLER, LABEL, Scope, clause, refusals
from retrieval.lexicon import bare, lexicon, phrases, read_bank

TASTES = ("genres", "moods")
PLACES = ("countries", "languages")


@dataclass(frozen=True)
class Choice:
    """What a field can hold: all of ``sure`` must be in it, and any of ``open`` may."""

    sure: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    needed: bool = False
    """The field must be there, if only with open values."""

    @property
    def values(self) -> tuple[str, ...]:
        """All values."""
        return tuple(dict.fromkeys((*self.sure, *self.open)))


@dataclass(frozen=True)
class Saying:
    """A value said at ``start`` to ``end``. ``refusing`` phrases refuse it by themselves ("not too scary")."""

    facet: str
    value: str
    start: int
    end: int
    double: bool = False
    refusing: bool = False
    rival: bool = False
    """The phrase means this value or another of the facet, not both."""


def sayings(text: str, known: Mapping[str, Sequence[str]]) -> tuple[Saying, ...]:
    """What ``text``, lower case and with labels, says of the values ``known`` by facet, longest phrases first.

    What stands within a longer phrase is not said by itself: "romantic" of a romantic comedy.
    """
    words = LABEL.sub(lambda match: FILLER * len(match[0]), text)
    tastes = [one for phrase, more in _phrases().items() for one in _found(phrase, more, words)]
    found = [one for one in tastes if one.value in known[one.facet]]
    whole = [one for one in found if not any(_within(one, other) for other in found)]
    return (*whole, *_places(words, known))


def choices(text: str, said: Sequence[Saying], loose: Mapping[str, Sequence[str]]) -> dict[str, Choice]:
    """What the genres, moods, countries and languages of an edit can be, wanted and refused.

    ``said`` are the sayings of ``text``, ``loose`` the values that the rest of it may say with typos or in passing.
    """
    text = _without_wanted_denials(text, said)
    scopes = refusals(text)
    found: dict[str, Choice] = {}
    for facet in TASTES:
        mine = [one for one in said if one.facet == facet]
        refused = [one for one in mine if one.refusing or _held(one, scopes)]
        # "Not animated, he is over cartoons": what is refused outright is not wanted for a word beside.
        away = {one.value for one in refused if not one.double}
        wanted = [one for one in mine if one not in refused and one.value not in away]
        elsewhere = [value for value in loose[facet] if value not in {one.value for one in mine}]
        found[facet] = _choice(text, wanted, elsewhere)
        found[f"not_{facet}"] = _choice(text, refused, elsewhere if scopes else (), refused=True)
    for facet in PLACES:
        mine = [one for one in said if one.facet == facet and not _held(one, scopes)]
        # A country and its tongue share their words: what one of them was read from says nothing of the other.
        named = any(one.facet in PLACES for one in said)
        found[facet] = _choice(text, mine, () if named else loose[facet])
    return found


def _choice(text: str, said: Sequence[Saying], elsewhere: Iterable[str], refused: bool = False) -> Choice:
    """What is ``said`` outright is sure; a phrase of two meanings is so only where it is refused."""
    sure = tuple(
        dict.fromkeys(
            one.value
            for one in said
            if (refused or not one.double) and not one.rival and not _dropped().search(text, *clause(text, one.start))
        )
    )
    left = tuple(value for value in (*(one.value for one in said), *elsewhere) if value not in sure)
    return Choice(sure, left, needed=any(one.rival for one in said))


def _dropped() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_bank()['dropped']})\b")


def _held(one: Saying, scopes: Iterable[Scope]) -> bool:
    return any(scope.holds(one.start, one.end) for scope in scopes)


def _without_wanted_denials(text: str, said: Iterable[Saying]) -> str:
    """``text`` without the phrases that deny something and mean a wish: "that never lets up"."""
    for one in said:
        if not one.refusing and len(text[one.start : one.end].split()) > 1:
            text = text[: one.start] + FILLER * (one.end - one.start) + text[one.end :]
    return text


def _within(one: Saying, other: Saying) -> bool:
    inside = other.start <= one.start and one.end <= other.end
    return inside and other.end - other.start > one.end - one.start


def _found(phrase: str, more: Sequence[tuple[str, str, bool]], words: str) -> Iterable[Saying]:
    if phrase not in words:
        return
    for match in re.finditer(rf"(?<![\w-])(?<!pre )(?<!post ){re.escape(phrase)}(?:'?s)?(?![\w-])", words):
        double = _is_double(phrase) and not _made_of().match(words, match.end())
        for facet, value, refusing in more:
            rival = phrase not in _combos() and sum(other[0] == facet for other in more) > 1
            yield Saying(facet, value, *match.span(), double=double, refusing=refusing, rival=rival)


@cache
def _made_of() -> re.Pattern[str]:
    return re.compile(rf" (?:{_bank()['made_of']})\b")


@cache
def _phrases() -> Mapping[str, tuple[tuple[str, str, bool], ...]]:
    """Each phrase for genres and moods with what it says: facet, value and whether it refuses the value."""
    found: dict[str, set[tuple[str, str, bool]]] = {}
    refusing = {(value, bare(phrase)) for value, more in lexicon()["not_mood_phrases"].items() for phrase in more or ()}
    for facet in TASTES:
        for value, more in phrases(facet).items():
            for phrase in (value, *more, *_more()[facet].get(value, ())):
                found.setdefault(phrase, set()).add((facet, value, (value, phrase) in refusing))
                found.setdefault(phrase.replace("-", " "), set()).add((facet, value, (value, phrase) in refusing))
    return {phrase: tuple(sorted(more)) for phrase, more in found.items() if phrase not in ignored()}


@cache
def ignored() -> frozenset[str]:
    """Phrases of the bank that say nothing by themselves: "love"."""
    return frozenset(_bank()["ignored"].split("|"))


def _more() -> Mapping[str, Mapping[str, Sequence[str]]]:
    more: Mapping[str, Mapping[str, Sequence[str]]] = _bank()["more"]
    return more


def _bank() -> Mapping[str, Any]:
    return read_bank("assistant.dialogue", "reading")


@cache
def _combos() -> frozenset[str]:
    """Phrases that mean several values together: "rom-com"."""
    said = {bare(combo["phrase"]) for combo in lexicon()["combos"]}
    return frozenset(said | {phrase.replace("-", " ") for phrase in said})


@cache
def _double() -> frozenset[str]:
    return frozenset(phrase for line in _bank()["double"] for phrase in line.split("|"))


def _is_double(phrase: str) -> bool:
    return phrase in _double()


def _places(words: str, known: Mapping[str, Sequence[str]]) -> Iterable[Saying]:
    """Countries and languages; an adjective of both is of the tongue only beside a word that says so."""
    tongues = [
        one for name, value in _tongues(tuple(known["languages"])) for one in _named(name, value, words, "languages")
    ]
    places = [
        one for name, value in _countries(tuple(known["countries"])) for one in _named(name, value, words, "countries")
    ]
    places = _without_narrowed(places)
    spoken = [one for one in tongues if _is_spoken(words, one)]
    yield from spoken
    taken = [(one.start, one.end) for one in spoken]
    yield from (one for one in places if (one.start, one.end) not in taken)
    taken += [(one.start, one.end) for one in places]
    yield from (one for one in tongues if not any(start <= one.start and one.end <= end for start, end in taken))


def _without_narrowed(places: Sequence[Saying]) -> list[Saying]:
    """``places`` without the regions of which a country is said by its own name: "south america, brazil maybe"."""
    at: dict[tuple[int, int], set[str]] = {}
    for one in places:
        at.setdefault((one.start, one.end), set()).add(one.value)
    single = {value for values in at.values() if len(values) == 1 for value in values}
    narrowed = {span for span, values in at.items() if len(values) > 1 and values & single}
    return [one for one in places if (one.start, one.end) not in narrowed]


def _named(name: str, value: str, words: str, facet: str) -> Iterable[Saying]:
    if name in words:
        for match in re.finditer(rf"(?<![\w-])(?<!south )(?<!latin )(?<!old ){re.escape(name)}(?!\w)", words):
            yield Saying(facet, value, *match.span(), double=_is_double(name))


def _is_spoken(words: str, one: Saying) -> bool:
    bank = _beside_tongues()
    return bank[0].search(words[: one.start]) is not None or bank[1].match(words[one.end :]) is not None


@cache
def _beside_tongues() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands before and behind the name of a tongue."""
    bank = _bank()
    return (
        re.compile(rf"\b({bank['tongue_before']}) (either )?(\w+ (or|and) )?$"),
        re.compile(rf"[ -]((or|and) \w+[ -])?({bank['tongue_after']})\b"),
    )


@cache
def _tongues(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The names of languages: one word each."""
    said = phrases("languages")
    framed = {(name, value) for value in values for name in (value, *_single(said.get(value, ())))}
    return tuple(sorted(framed))


@cache
def _countries(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    said = phrases("countries")
    nations = _bank()["nations"]
    named = {(name, value) for value in values for name in (value, *said.get(value, ()), *nations.get(value, ()))}
    regions = {
        (name, value)
        for names, more in _bank()["regions"].items()
        for name in names.split("|")
        for value in more
        if value in values
    }
    return tuple(sorted(named | regions))


def _single(more: Iterable[str]) -> Iterable[str]:
    """Phrases that are a tongue's name: "mandarin" of "in mandarin", not "no subs"."""
    return (
        phrase for phrase in more if " " not in phrase and "-" not in phrase and phrase not in {"subs", "subtitled"}
    )
