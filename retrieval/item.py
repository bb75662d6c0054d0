"""A catalogue item: what can be recommended, and the only source of facts a reply may state."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Facet = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=60)]


class Item(BaseModel):
    """One item of the catalogue, immutable once read.

    ``genres``, ``moods``, ``countries``, ``languages`` and ``keywords`` are lower-case facets; the
    catalogue's own values of the first four make up the vocabulary of a `Wish`. ``people`` maps a role
    ("director", "cast", "author") to names in credit order. ``popularity`` is any non-negative
    number that grows with fame; it settles which of two items of one title is meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    title: Text
    original_title: Text | None = None
    year: Annotated[int, Field(ge=-3000, le=2200)] | None = None
    kind: Facet = "film"
    genres: tuple[Facet, ...] = ()
    moods: tuple[Facet, ...] = ()
    countries: tuple[Facet, ...] = ()
    languages: tuple[Facet, ...] = ()
    people: dict[Facet, tuple[Text, ...]] = Field(default_factory=dict)
    keywords: tuple[Facet, ...] = ()
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] = ""
    popularity: Annotated[float, Field(ge=0)] = 0.0
    image: str | None = None
    url: str | None = None
    attributes: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The title with its year, the way a reply names the item: ``Alien (1979)``."""
        return f"{self.title} ({self.year})" if self.year is not None else self.title

    @property
    def names(self) -> tuple[str, ...]:
        """Every person credited, each once, in credit order."""
        return tuple(dict.fromkeys(name for names in self.people.values() for name in names))
