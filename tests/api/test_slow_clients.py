"""Clients that read slowly, stop reading or vanish: they hold nobody up and keep nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from assistant.api import guard
from assistant.dialogue.types import Done, Event, Text, TurnRequest, Usage
from tests.api.fakes import PLAN, app_with, served
from tests.api.whole import SteadyEngine, whole_app

CHAT = "/v1/chat/completions"
PIECE = "x" * 65_536
PIECES = 400
"""26 MB in all: more than the buffers of a connection hold."""

BODY = orjson.dumps({"model": "sotto", "messages": [{"role": "user", "content": "horror"}], "stream": True})
HEAD = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
JSON = {"content-type": "application/json"}


@dataclass
class Flood:
    """A dialogue that writes as fast as it is read."""

    written: int = 0
    closed: int = 0

    async def stream(self, request: TurnRequest) -> AsyncIterator[Event]:
        try:
            yield PLAN
            for _ in range(PIECES):
                self.written += 1
                yield Text(PIECE)
            yield Done("stop", Usage())
        finally:
            self.closed += 1


async def until_still(flood: Flood) -> int:
    """What is written once nothing more is, for half a second."""
    before = -1
    while flood.written != before:
        before = flood.written
        await asyncio.sleep(0.5)
    return before


def connection(url: str) -> socket.socket:
    """A client that has asked and does not read."""
    client = socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 80))
    client.sendall(HEAD % (CHAT.encode(), len(BODY)) + BODY)
    return client


async def closed(flood: Flood) -> None:
    async with asyncio.timeout(60):
        while not flood.closed:  # noqa: ASYNC110  # it happens in another thread
            await asyncio.sleep(0.02)


async def test_a_slow_reader_holds_its_own_reply_back_and_nobody_else() -> None:
    flood = Flood()
    with served(app_with(flood)) as url, connection(url) as client:
        assert await until_still(flood) < PIECES
        async with httpx.AsyncClient(base_url=url) as other:
            assert (await other.get("/healthz")).is_success
        read = threading.Thread(target=drain, args=(client,))
        read.start()
        await closed(flood)
        assert flood.written == PIECES
        client.shutdown(socket.SHUT_WR)
        await asyncio.to_thread(read.join, 10)


def drain(client: socket.socket) -> None:
    end = b""
    while data := client.recv(1 << 20):
        end = (end + data)[-5:]
        if end == b"0\r\n\r\n":
            return


async def test_a_client_that_vanishes_without_reading_ends_its_turn() -> None:
    flood = Flood()
    with served(app_with(flood)) as url:
        with connection(url):
            assert await until_still(flood) < PIECES
        await closed(flood)
        assert flood.written < PIECES


async def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.3)
    flood = Flood()
    with served(app_with(flood)) as url, connection(url):
        await closed(flood)
        assert flood.written < PIECES


async def test_many_clients_that_vanish_leave_no_generation(tmp_path: Path) -> None:
    engine = SteadyEngine(reply="Start with [1] and " * 20, pace=0.01)
    with served(whole_app(tmp_path, engine)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:

            async def leave(number: int) -> None:
                async with client.stream("POST", CHAT, content=BODY, headers=JSON) as answer:
                    lines = answer.aiter_lines()
                    for _ in range(number % 4):
                        await anext(lines)

            await asyncio.gather(*map(leave, range(20)))
            async with asyncio.timeout(60):
                while engine.running:  # noqa: ASYNC110  # it happens in another thread
                    await asyncio.sleep(0.02)
            assert (await client.get("/healthz")).is_success


async def test_a_body_that_comes_byte_by_byte_or_never_holds_nobody_up(tmp_path: Path) -> None:
    with served(whole_app(tmp_path)) as url:
        async with httpx.AsyncClient(base_url=url) as client:

            async def drips() -> AsyncIterator[bytes]:
                for byte in BODY:
                    yield bytes([byte])
                    await asyncio.sleep(0)

            with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 80)) as half:
                half.sendall(HEAD % (CHAT.encode(), 10) + b"{")
                answer = await client.post(CHAT, content=drips(), headers=JSON)
                assert answer.status_code == 200
