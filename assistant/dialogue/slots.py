"""Slots: the model writes ``[1]`` or ``[1.director]`` and the record's own text takes their place.

So no title, name, year, or part of the wish in a reply is spelled by the model, whatever its size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from assistant.dialogue.grammar import opening, telling, texts_with
from retrieval.item import Item
from retrieval.lexicon import lexicon
from retrieval.wish import Wish

WISH_SLOTS = ("genre", "a_genre", "mood", "place", "about", "years", "missing")
ITEM_SLOTS = ("year", "director", "cast", "genres", "moods", "countries", "languages", "about")
SLOT = re.compile(
    rf"\[(?:(?P<number>\d{{1,2}})(?:\.(?P<field>[a-z_]+))?|T(?P<liked>\d{{1,2}})|(?P<wish>{'|'.join(WISH_SLOTS)}))\]"
)
SENTENCE_START = re.compile(r"(?:^|[.!?]\s+|\n)\s*$")
WITH_ARTICLE = re.compile(r"(United|Soviet|Netherlands|Philippines|Czech Republic|Bahamas|Maldives)\b")
NAMED = 2


class UnknownSlot(ValueError):
    """A slot that points at nothing, or at a fact the record does not hold."""


@dataclass(frozen=True)
class Slots:
    """What the slots of one reply stand for. ``liked`` are the labels of titles the person named.

    A part of the wish that the first item does not have has no slot: a reply must not offer a drama as the western
    that was asked for.
    """

    items: Sequence[Item]
    wish: Wish
    liked: Sequence[str] = ()
    missing: str = ""

    @cached_property
    def of_wish(self) -> dict[str, str]:
        """The text of each slot that repeats a part of the wish, in the order of `WISH_SLOTS`."""
        wish, first = self.wish, self.items[0] if self.items else None
        genre = next((value for value in wish.genres if first is None or value in first.genres), "")
        moods = [value for value in wish.moods if first is None or value in first.moods]
        place = next((value for value in wish.countries if first is None or value in first.countries), "")
        texts = {
            "genre": genre,
            "a_genre": genre and genre_phrase(genre),
            "mood": listed(moods) if moods else "",
            "place": place and country_name(place),
            "about": wish.about,
            "years": self._years(),
            "missing": self.missing,
        }
        return {name: texts[name] for name in WISH_SLOTS if texts[name]}

    @property
    def given(self) -> tuple[str, ...]:
        """The slots of the wish and of the liked titles, as they are written."""
        return tuple(f"[{name}]" for name in (*self.of_wish, *(f"T{n}" for n, _ in enumerate(self.liked, 1))))

    def pattern(self, openings: Sequence[str] = (), asked: Sequence[str] = ()) -> str:
        """A regular expression of all texts whose slots stand for something; see `grammar.texts_with`.

        It begins with one of ``openings``, or by telling one of the facts that are ``asked`` for, where any is known.
        """
        places = range(1, len(self.items) + 1)
        facts = [f"{place}.{field}" for place in places for field in ITEM_SLOTS if self._values(place, field)]
        wish = [name.strip("[]") for name in self.given]
        begun = ""
        if known := [fact for fact in facts if fact.partition(".")[2] in asked]:
            begun = telling(known)
        elif openings and self.items:
            begun = opening(openings, len(self.items))
        return texts_with(wish, [*map(str, places), *facts], begun)

    def fill(self, text: str) -> str:
        """``text`` with every slot replaced; UnknownSlot where one has nothing to stand for."""
        filled = SLOT.sub(self._text, text)
        # A description ends with its own full stop; the model may have written another after the slot.
        return re.sub(r"(?<=[^.][.!?])\.(?!\.)", "", filled) if filled != text else filled

    def numbers(self, text: str) -> set[int]:
        """The places (from 1) of the items whose slots ``text`` holds."""
        return {int(match["number"]) for match in SLOT.finditer(text) if match["number"]}

    def named(self, text: str) -> set[int]:
        """The places (from 1) of the items whose titles ``text`` holds."""
        return {int(match["number"]) for match in SLOT.finditer(text) if match["number"] and not match["field"]}

    def _text(self, match: re.Match[str]) -> str:
        if match["number"]:
            return self._fact(int(match["number"]), match["field"])
        if match["liked"]:
            place = int(match["liked"])
            if not 1 <= place <= len(self.liked):
                raise UnknownSlot(match[0])
            return self.liked[place - 1]
        value = self.of_wish.get(match["wish"])
        if value is None:
            raise UnknownSlot(match[0])
        return value[:1].upper() + value[1:] if SENTENCE_START.search(match.string[: match.start()]) else value

    def _fact(self, place: int, field: str | None) -> str:
        if not 1 <= place <= len(self.items):
            raise UnknownSlot(f"[{place}]")
        if field is None:
            return self.items[place - 1].label
        values = self._values(place, field)
        if not values:
            raise UnknownSlot(f"[{place}.{field}]")
        return listed(values)

    def _values(self, place: int, field: str) -> tuple[str, ...]:
        item = self.items[place - 1]
        match field:
            case "year":
                return (str(item.year),) if item.year is not None else ()
            case "about":
                return (item.description,) if item.description else ()
            case "genres" | "moods" | "keywords":
                values: tuple[str, ...] = getattr(item, field)
                return values
            case "countries":
                return tuple(map(country_name, item.countries))
            case "languages":
                return tuple(map(str.title, item.languages))
            case _:
                return item.people.get(field, ())[:NAMED]

    def _years(self) -> str:
        first, last = self.wish.year_from, self.wish.year_to
        if first is not None and last == first + 9 and first % 10 == 0:
            return f"the {first}s"
        return self.wish.years


def genre_phrase(genre: str) -> str:
    """A genre as one asks for it: ``a western``, ``some horror``; one of which no phrase is known stays as it is."""
    return str(lexicon()["genre_phrases"].get(genre, genre))


def country_name(country: str) -> str:
    """A country as it stands in a sentence: ``France``, ``the United States``."""
    name = country.title()
    return f"the {name}" if WITH_ARTICLE.match(name) else name


def listed(values: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"
