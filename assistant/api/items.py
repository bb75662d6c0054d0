"""The catalogue: /v1/items searches it, /v1/items/{id} reads one record.

/v1/items:similar finds neighbours, /v1/items:facets lists what can be filtered by.

The functions are not coroutines, so that embedding and search run beside the event loop.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from assistant.api import examples
from assistant.api.deps import CatalogueDep, LibraryDep
from assistant.errors import NotFound
from retrieval.item import Facet, Item
from retrieval.search import Candidate
from retrieval.wish import Facets, Ids, ItemId, Names, Wish, Year, in_order

MOST_FOUND = 200
MOST_SHOWN = 50
MOST_SIMILAR_TO = 20

router = APIRouter(tags=["items"])


class Filters(BaseModel):
    """Hard constraints. All of ``genres`` and one of ``people``, ``countries`` and ``languages`` must hold.

    /v1/items:facets has the values that occur; a known way to say one ("sci-fi", "USA") stands for it.
    """

    model_config = ConfigDict(extra="forbid")

    genres: Facets = ()
    not_genres: Facets = ()
    not_moods: Facets = ()
    people: Names = ()
    not_people: Names = ()
    countries: Facets = ()
    languages: Facets = ()
    kind: Facet | None = None
    year_from: Annotated[Year | None, Field(description="The first year, inclusive.")] = None
    year_to: Annotated[Year | None, Field(description="The last year, inclusive.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_SHOWN, description="At most so many items.")] = 20

    @field_validator("year_to")
    @classmethod
    def _in_order(cls, last: int | None, info: ValidationInfo) -> int | None:
        in_order(info.data.get("year_from"), last)
        return last

    def wish(self, **leanings: Any) -> Wish:
        """The constraints as a wish, with ``leanings`` beside them."""
        return Wish(**{name: getattr(self, name) for name in Filters.model_fields if name != "limit"}, **leanings)


class ItemQuery(Filters):
    """What to look for."""

    query: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=400),
        Field(description="Free text; without it, the best known items come first.", examples=["a slow space film"]),
    ] = ""
    offset: Annotated[
        int, Field(ge=0, lt=MOST_FOUND, description=f"Passes over so many; {MOST_FOUND} results can be reached.")
    ] = 0


class SimilarQuery(Filters):
    """Items whose neighbours are wanted, and what else must hold."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SIMILAR]})

    ids: Annotated[tuple[ItemId, ...], Field(min_length=1, max_length=MOST_SIMILAR_TO)]
    exclude: Annotated[Ids, Field(description="Ids that are not wanted back, besides `ids`.")] = ()


class FoundItem(Item):
    """An item with ``score``: higher is nearer, and it says nothing by itself."""

    score: float

    @classmethod
    def of(cls, found: Candidate) -> FoundItem:
        """The wire's form of ``found``."""
        return cls(**dict(found.item), score=round(found.score, 4))


class ItemList(BaseModel):
    """Items, best first. ``has_more`` says whether a larger ``offset`` or ``limit`` brings others."""

    object: Literal["list"] = "list"
    data: tuple[FoundItem, ...]
    has_more: bool


@router.get(
    "/v1/items", summary="Search the catalogue", response_model=ItemList, responses=examples.answers(examples.FOUND)
)
def search_items(asked: Annotated[ItemQuery, Query()], library: LibraryDep) -> Any:
    """Finds items by name and by meaning, under hard constraints; give a parameter several times for several values.

    The titles that the query names come first, then what the people that it names made, then what is near it.
    """
    found = library.find(asked.query, library.meant(asked.wish()), MOST_FOUND)
    page = found[asked.offset : asked.offset + asked.limit]
    return ItemList(data=tuple(map(FoundItem.of, page)), has_more=len(found) > asked.offset + len(page))


@router.post(
    "/v1/items:similar",
    summary="Find similar items",
    response_model=ItemList,
    responses=examples.answers(examples.FOUND),
)
def similar_items(asked: SimilarQuery, library: LibraryDep) -> Any:
    """Finds the varied neighbours of one or more items; never those items themselves."""
    for item_id in asked.ids:
        _existing(library.catalogue.get(item_id), item_id)
    wish = library.meant(asked.wish(like=asked.ids))
    found = library.search(wish, k=asked.limit + 1, seed_exclude=asked.exclude)
    return ItemList(data=tuple(map(FoundItem.of, found[: asked.limit])), has_more=len(found) > asked.limit)


class FacetValues(BaseModel):
    """The values that the items have, sorted: what filters and wishes can hold."""

    object: Literal["facets"] = "facets"
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    countries: tuple[str, ...]
    languages: tuple[str, ...]
    kinds: tuple[str, ...]


@router.get(
    "/v1/items:facets",
    summary="List the values to filter by",
    response_model=FacetValues,
    responses=examples.answers(examples.FACETS),
)
def read_facets(catalogue: CatalogueDep) -> Any:
    """Gives every genre, mood, country, language and kind that an item of the catalogue has."""
    return FacetValues(**asdict(catalogue.facets))


@router.get("/v1/items/{item_id}", summary="Read an item", responses=examples.answers(examples.ITEM))
def read_item(
    item_id: Annotated[str, Path(description="Comes with each recommendation.", examples=["solaris-1972"])],
    catalogue: CatalogueDep,
) -> Item:
    """Gives every field of one item's record."""
    return _existing(catalogue.get(item_id), item_id)


def _existing(item: Item | None, item_id: str) -> Item:
    if item is None:
        raise NotFound(f"There is no item {item_id!r} in the catalogue. Ids come with each recommendation.")
    return item
