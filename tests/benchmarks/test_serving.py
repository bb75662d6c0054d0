"""What is compared in the benchmark of serving is the same work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assistant.dialogue.turn import Assistant
from assistant.dialogue.types import ChatMessage, TurnRequest
from benchmarks.replay import RecordingEngine, crowd, replay
from benchmarks.serving import COUNTED, STAGES, Level, draw, messages, rows
from benchmarks.startup import rows as steps
from retrieval.search import Library
from tests.api.whole import SteadyEngine
from tests.dialogue.fakes import CharTokenizer
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS


@pytest.mark.parametrize("reply", ["Start with [1]. Enjoy.", "Start with [1]. It won in 1931. Enjoy it very much."])
async def test_a_replayed_turn_makes_the_same_calls_and_reads_as_far(tmp_path: Path, reply: str) -> None:
    engine = SteadyEngine(reply=reply)
    recording = RecordingEngine(engine)
    library = Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")
    with recording.turn() as calls:
        request = TurnRequest((ChatMessage("user", "horror"),), "sotto", seed=1)
        async for _ in Assistant(library, recording, CharTokenizer()).stream(request):
            pass
    prompts, written = list(engine.prompts), engine.written
    engine.prompts.clear()
    engine.written = 0
    await replay(engine, calls)
    assert engine.prompts == prompts
    assert engine.running == 0
    reading = -(-len(reply) // 5)
    assert engine.written in {written, written + reading}, "a reading is streamed when it is replayed"


async def test_no_more_are_at_work_than_there_are_streams() -> None:
    import asyncio

    at_work = most = 0

    async def work(job: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001)
        at_work -= 1

    took, whole = await crowd(range(20), 4, work)
    assert (len(took), most) == (20, 4)
    assert whole >= max(took)


def test_every_message_is_another() -> None:
    assert len(set(messages())) == len(messages()) > 900


def trace(scale: float) -> dict[str, Any]:
    stages = [{"stage": stage, "seconds": scale, **dict.fromkeys(COUNTED, 3)} for stage in STAGES]
    return {"seconds": 4 * scale, "first_token": scale, "first_text": None, "stages": stages}


def test_levels_become_tables_and_a_picture(tmp_path: Path) -> None:
    levels = {
        streams: Level([0.2, 0.4], [0.1, 0.3], [0.9], [9.0], [10.0], [trace(0.1 * streams)]) for streams in (8, 1)
    }
    found = rows(levels)
    assert [row[""] for row in found if "" in row] == [*STAGES, "to the first token", "to the first text", "whole"]
    against = [row for row in found if "streams" in row]
    assert [row["streams"] for row in against] == [1, 8]
    assert (against[0]["ratio"], against[0]["added ms"]) == (0.9, 100.0)
    draw(levels, tmp_path / "one.svg")
    draw(levels, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_steps_of_a_start_are_those_that_every_start_had_in_order() -> None:
    found = steps([{"Engine: loading": 2.0, "ready": 5.0, "odd": 1.0}, {"Engine: loading": 4.0, "ready": 7.0}])
    assert [row["step"] for row in found] == ["Engine: loading", "ready"]
    assert [row["after the step before s"] for row in found] == [3.0, 3.0]
