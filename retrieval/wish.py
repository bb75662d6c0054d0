"""A wish: what someone is looking for, as data. The query language of retrieval.

It holds ids and facet values of the catalogue, never a sentence of the conversation but for
``about``, the topic in the person's own words. A client may show, edit and send it back.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from retrieval.item import Facet, Text

ItemId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MAX_IDS = 200
MAX_VALUES = 30
Ids = Annotated[tuple[ItemId, ...], Field(max_length=MAX_IDS)]
Facets = Annotated[tuple[Facet, ...], Field(max_length=MAX_VALUES)]
Names = Annotated[tuple[Text, ...], Field(max_length=MAX_VALUES)]
FIRST_YEAR, LAST_YEAR = -9999, 9999
Year = Annotated[int, Field(ge=FIRST_YEAR, le=LAST_YEAR)]

DEFAULT_COUNT = 3
MAX_COUNT = 10


def years_phrase(first: int | None, last: int | None) -> str:
    """``1980-1989``, ``1980 or later``, ``1989 or earlier``, or the empty string."""
    if first is not None and last is not None:
        return str(first) if first == last else f"{first}-{last}"
    if first is not None:
        return f"{first} or later"
    return f"{last} or earlier" if last is not None else ""


class Wish(BaseModel):
    """Hard constraints (years, genres, people, kind, countries, languages and every ``not_``), soft ones, and leanings.

    ``like``, ``dislike`` and ``seen`` are item ids: none of them is ever recommended back. All of
    ``genres`` and one of ``people``, ``countries`` and ``languages`` must hold; ``moods`` and
    ``about`` are soft. ``year_from`` and ``year_to`` are inclusive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    like: Ids = ()
    dislike: Ids = ()
    seen: Ids = ()
    people: Names = ()
    not_people: Names = ()
    genres: Facets = ()
    not_genres: Facets = ()
    moods: Facets = ()
    not_moods: Facets = ()
    countries: Facets = ()
    languages: Facets = ()
    year_from: Year | None = None
    year_to: Year | None = None
    kind: Facet | None = None
    about: Annotated[str, StringConstraints(strip_whitespace=True, max_length=400)] = ""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = DEFAULT_COUNT

    @property
    def is_empty(self) -> bool:
        """True when nothing is asked for: no liking, no constraint, no topic."""
        return self == Wish(dislike=self.dislike, seen=self.seen, count=self.count)

    @property
    def years(self) -> str:
        """The wanted years in words, see `years_phrase`."""
        return years_phrase(self.year_from, self.year_to)
