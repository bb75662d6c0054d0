"""A wish: what someone is looking for, as data. The query language of retrieval.

It holds ids and facet values of the catalogue, never a sentence of the conversation but for
``about``, the topic in the person's own words. A client may show, edit and send it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

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


def without_nulls(cls: type[BaseModel], data: Any) -> Any:
    """``data`` without its known fields that are null: clients write what they leave out that way."""
    if not isinstance(data, Mapping):
        return data
    return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}


def in_order(first: int | None, last: int | None) -> None:
    """ValueError where the ``first`` of the years that a client wants comes after the ``last``."""
    if first is not None and last is not None and first > last:
        raise ValueError(f"year_from ({first}) comes after year_to ({last})")


class Wish(BaseModel):
    """Hard constraints (years, genres, people, kind, countries, languages and every ``not_``), soft ones, and leanings.

    ``like``, ``dislike`` and ``seen`` are item ids: none of them is ever recommended back. All of
    ``genres`` and one of ``people``, ``countries`` and ``languages`` must hold; ``moods`` and
    ``about`` are soft. ``year_from`` and ``year_to`` are inclusive. A null field counts as one left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    _nulls = model_validator(mode="before")(without_nulls)

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
