"""A scripted dialogue, a small library and an engine's pulse, so that the API is tested without a model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

from assistant.api.app import create_app
from assistant.dialogue.types import Adapter, Done, Event, Plan, Recommendation, Text, TurnRequest, Usage
from assistant.settings import Settings
from retrieval.item import Item
from retrieval.wish import Wish

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

Step = Event | Exception | float


@dataclass
class ScriptedAssistant:
    """Plays ``script``: an event is yielded, an exception raised, a number slept for in seconds."""

    script: Sequence[Step] = SCRIPT
    requests: list[TurnRequest] = field(default_factory=list)
    closed: int = 0

    async def stream(self, request: TurnRequest) -> AsyncIterator[Event]:
        self.requests.append(request)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, int | float):
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
    def __init__(self, *items: Item) -> None:
        self.catalogue = {item.id: item for item in items}


def app_with(assistant: ScriptedAssistant, *, engine: FakeEngine | None = None, **options: float | str) -> FastAPI:
    settings = Settings(host=str(options.pop("host", "127.0.0.1")))
    heartbeat = float(options.pop("heartbeat", 10.0))
    return create_app(settings, assistant, FakeLibrary(ALIEN, SOLARIS), engine or FakeEngine(), heartbeat=heartbeat)


def client_of(app: FastAPI, base_url: str = "http://127.0.0.1:8000") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


@contextmanager
def served(app: Starlette, log_level: str = "warning") -> Iterator[str]:
    """``app`` on a real port for as long as the block runs; gives its base URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
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
