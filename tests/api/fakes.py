"""A scripted dialogue, a small library and an engine's pulse, so that the API is tested without a model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

from assistant.access.keys import USUAL_SCOPES, KeyStore
from assistant.api.app import create_app
from assistant.api.deps import Assistant, Engine, Library
from assistant.dialogue.types import Adapter, Done, Event, Plan, Recommendation, Text, TurnRequest, Usage, WishRequest
from assistant.settings import Settings
from retrieval.item import Item
from retrieval.search import Candidate
from retrieval.wish import Wish
from tests.retrieval.fakes import MemoryCatalogue

ALIEN = Item(
    id="alien-1979",
    title="Alien",
    year=1979,
    genres=("horror", "science fiction"),
    countries=("united kingdom", "united states"),
    people={"director": ("Ridley Scott",), "cast": ("Sigourney Weaver", "Tom Skerritt")},
    description="The crew of a space tug answers a distress call and brings something back aboard.",
)
SOLARIS = Item(
    id="solaris-1972",
    title="Solaris",
    year=1972,
    genres=("drama", "science fiction"),
    countries=("soviet union",),
    people={"director": ("Andrei Tarkovsky",)},
    description="A psychologist is sent to a station over an ocean that reads its visitors' grief.",
)
WISH = Wish(genres=("science fiction",), year_to=1980)
RECOMMENDATIONS = (
    Recommendation(id="alien-1979", title="Alien", year=1979, rank=1, score=0.7, reason="dread in deep space"),
    Recommendation(id="solaris-1972", title="Solaris", year=1972, rank=2, score=0.3, reason="slow and thoughtful"),
)
PLAN = Plan("recommend", WISH, RECOMMENDATIONS, (ALIEN, SOLARIS), "rec-1", Adapter())
REPLY = ("Two that fit: ", "Alien (1979)", " and ", "Solaris (1972).")
DONE = Done("stop", Usage(120, 14))
SCRIPT: tuple[Event, ...] = (PLAN, *(Text(piece) for piece in REPLY), DONE)

Step = Event | Exception | float | asyncio.Event


@dataclass
class ScriptedAssistant:
    """Plays ``script``: an event is yielded, an exception raised, seconds or a gate (`asyncio.Event`) waited for."""

    script: Sequence[Step] = SCRIPT
    requests: list[TurnRequest] = field(default_factory=list)
    wishes: list[WishRequest] = field(default_factory=list)
    closed: int = 0

    async def recommend(self, request: WishRequest) -> tuple[Plan, Done]:
        """The script's plan and end."""
        self.wishes.append(request)
        plan = None
        async with aclosing(self.stream(TurnRequest((), request.model))) as events:
            async for event in events:
                if isinstance(event, Plan):
                    plan = event
                if isinstance(event, Done) and plan is not None:
                    return plan, event
        raise RuntimeError("the script has no plan, or no end")

    async def stream(self, request: TurnRequest) -> AsyncGenerator[Event]:
        self.requests.append(request)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, int | float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1


@dataclass
class FakeEngine:
    up: bool = True

    async def healthy(self) -> bool:
        return self.up


class FakeLibrary:
    """Finds all its items, in their order, whatever is asked."""

    def __init__(self, *items: Item) -> None:
        self.catalogue = MemoryCatalogue(items)

    def search(
        self, wish: Wish, text: str = "", k: int = 20, seed_exclude: Collection[str] = (), *, varied: bool = True
    ) -> list[Candidate]:
        return [Candidate(item, 0.5, {}) for item in self.catalogue][:k]

    def find(self, text: str, wish: Wish, k: int) -> list[Candidate]:
        return self.search(wish, text, k)

    def meant(self, wish: Wish) -> Wish:
        return wish


def app_with(
    assistant: Assistant,
    *,
    engine: Engine | None = None,
    library: Library | None = None,
    heartbeat: float = 10.0,
    **settings: Any,
) -> FastAPI:
    found = library or FakeLibrary(ALIEN, SOLARIS)
    return create_app(Settings(**settings), assistant, found, engine or FakeEngine(), heartbeat=heartbeat)


def client_of(
    app: FastAPI, base_url: str = "http://127.0.0.1:8000", *, key: str | None = None, address: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """A client at ``address`` that sends ``key``."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers)


def new_key(app: FastAPI, *scopes: str, **limits: int) -> str:
    """A key of the server ``app``."""
    return KeyStore(app.state.access.database).create("test", scopes or USUAL_SCOPES, **limits).token


@contextmanager
def served(app: Starlette, log_level: str = "warning", port: int = 0) -> Iterator[str]:
    """``app`` on a real port for as long as the block runs; gives its base URL."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_level=log_level, access_log=False, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listening = threading.Event()
        while not server.started and thread.is_alive():
            listening.wait(0.01)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(timeout=10)


async def until(condition: Callable[[], bool]) -> None:
    """Returns when ``condition`` holds; TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for knows nothing of events
            await asyncio.sleep(0.005)
