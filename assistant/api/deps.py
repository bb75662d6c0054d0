"""What every route may ask for: the settings and the three parts that answer.

The protocols say all that the API needs of the dialogue, retrieval and the engine; it knows nothing else of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from time import time
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from assistant.api.meter import Metrics
from assistant.dialogue.types import Done, Event, Plan, TurnRequest, WishRequest
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from retrieval.catalogue import Facets
from retrieval.item import Item
from retrieval.search import Candidate
from retrieval.wish import Wish

MODEL = "sotto"
HEARTBEAT_SECONDS = 10.0


class Assistant(Protocol):
    """The dialogue."""

    def stream(self, request: TurnRequest) -> AsyncIterator[Event]:
        """A `Plan`, then pieces of `Text`, then `Done`; an async generator, whose closing aborts the generation."""
        ...

    async def recommend(self, request: WishRequest) -> tuple[Plan, Done]:
        """What is recommended for a wish that comes as data, and what that took."""
        ...


class Catalogue(Protocol):
    """The items by id."""

    def __len__(self) -> int: ...

    @property
    def facets(self) -> Facets:
        """The facet values that occur."""
        ...

    def get(self, item_id: str, /) -> Item | None:
        """The item of this id, or None."""
        ...


class Library(Protocol):
    """The catalogue with its index, which is loaded when a library exists."""

    @property
    def catalogue(self) -> Catalogue:
        """The items themselves."""
        ...

    def search(
        self,
        wish: Wish,
        text: str = "",
        k: int = 20,
        seed_exclude: Collection[str] = (),
        *,
        varied: bool = True,
    ) -> list[Candidate]:
        """At most ``k`` items that fit, best first; see `retrieval.search.Library.search`."""
        ...

    def find(self, text: str, wish: Wish, k: int) -> list[Candidate]:
        """At most ``k`` items for words typed into a search box; see `retrieval.search.Library.find`."""
        ...

    def meant(self, wish: Wish) -> Wish:
        """``wish`` in the catalogue's own words."""
        ...


class Engine(Protocol):
    """The model engine."""

    async def healthy(self) -> bool:
        """Whether it answers."""
        ...


@dataclass(frozen=True)
class Serving:
    """The parts of one running server. ``started`` is in seconds since the epoch, ``heartbeat`` in seconds."""

    settings: Settings
    assistant: Assistant
    library: Library
    engine: Engine
    rollouts: Rollouts
    heartbeat: float = HEARTBEAT_SECONDS
    started: int = field(default_factory=lambda: int(time()))
    metrics: Metrics = field(default_factory=Metrics)


def _serving(request: Request) -> Serving:
    return cast("Serving", request.app.state.serving)


ServingDep = Annotated[Serving, Depends(_serving)]


def _library(serving: ServingDep) -> Library:
    return serving.library


LibraryDep = Annotated[Library, Depends(_library)]


def _catalogue(library: LibraryDep) -> Catalogue:
    return library.catalogue


CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
