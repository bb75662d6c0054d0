"""Slots: the model writes ``[1]`` or ``[1.director]`` and the record's own text takes their place.

So no title, name or year in a reply is spelled by the model, whatever its size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.item import Item
from retrieval.wish import Wish

SLOT = re.compile(
    r"\[(?:(?P<number>\d{1,2})(?:\.(?P<field>[a-z_]+))?|T(?P<liked>\d{1,2})|(?P<wish>about|years|missing))\]"
)
WITH_ARTICLE = re.compile(r"(United|Soviet|Netherlands|Philippines|Czech Republic|Bahamas|Maldives)\b")
NAMED = 2


class UnknownSlot(ValueError):
    """A slot that points at nothing, or at a fact the record does not hold."""


@dataclass(frozen=True)
class Slots:
    """What the slots of one reply stand for. ``liked`` are the labels of titles the person named."""

    items: Sequence[Item]
    wish: Wish
    liked: Sequence[str] = ()
    missing: str = ""

    def fill(self, text: str) -> str:
        """``text`` with every slot replaced; UnknownSlot where one has nothing to stand for."""
        filled = SLOT.sub(self._text, text)
        # A description ends with its own full stop; the model may have written another after the slot.
        return re.sub(r"(?<=[^.][.!?])\.(?!\.)", "", filled) if filled != text else filled

    def numbers(self, text: str) -> set[int]:
        """The places (from 1) of the items whose slots ``text`` holds."""
        return {int(match["number"]) for match in SLOT.finditer(text) if match["number"]}

    def _text(self, match: re.Match[str]) -> str:
        if match["number"]:
            return self._fact(int(match["number"]), match["field"])
        if match["liked"]:
            place = int(match["liked"])
            if not 1 <= place <= len(self.liked):
                raise UnknownSlot(match[0])
            return self.liked[place - 1]
        value = {"about": self.wish.about, "years": self._years(), "missing": self.missing}[match["wish"]]
        if not value:
            raise UnknownSlot(match[0])
        return value

    def _fact(self, place: int, field: str | None) -> str:
        if not 1 <= place <= len(self.items):
            raise UnknownSlot(f"[{place}]")
        item = self.items[place - 1]
        if field is None:
            return item.label
        values: tuple[str, ...]
        if field == "year":
            values = (str(item.year),) if item.year is not None else ()
        elif field == "about":
            values = (item.description,) if item.description else ()
        elif field in {"genres", "moods", "keywords"}:
            values = getattr(item, field)
        elif field == "countries":
            values = tuple(map(country_name, item.countries))
        elif field == "languages":
            values = tuple(value.title() for value in item.languages)
        else:
            values = item.people.get(field, ())[:NAMED]
        if not values:
            raise UnknownSlot(f"[{place}.{field}]")
        return listed(values)

    def _years(self) -> str:
        first, last = self.wish.year_from, self.wish.year_to
        if first is not None and last == first + 9 and first % 10 == 0:
            return f"the {first}s"
        return self.wish.years


def country_name(country: str) -> str:
    """A country as it stands in a sentence: ``France``, ``the United States``."""
    name = country.title()
    return f"the {name}" if WITH_ARTICLE.match(name) else name


def listed(values: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"
