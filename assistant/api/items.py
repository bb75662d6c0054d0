"""GET /v1/items/{id}: an item's record."""

from __future__ import annotations

from fastapi import APIRouter

from assistant.api.deps import CatalogueDep
from assistant.errors import NotFound
from retrieval.item import Item

router = APIRouter(tags=["items"])


@router.get("/v1/items/{item_id}")
async def read_item(item_id: str, catalogue: CatalogueDep) -> Item:
    """Every field of one item of the catalogue."""
    item = catalogue.get(item_id)
    if item is None:
        raise NotFound(f"There is no item {item_id!r} in the catalogue. Ids come with each recommendation.")
    return item
