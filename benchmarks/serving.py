"""Times turns of a running Sotto by stage, and Sotto against calling vLLM directly with the prompts of such turns.

A pass beforehand records which calls each turn makes to the engine: token ids, sampling, schema. Then turns through
the API and the recorded calls of others alone take turns (A B B A …) at each number of streams, against the same vLLM.
Every message is new to the API, so that nothing it remembers spares it a call, and no prompt is sent both ways, since
whoever came second would find it in vLLM's cache. A repeat has so many turns that the streams are full for most of it.

    python -m benchmarks.serving --streams 1 8 32 --turns 24 --repeats 3
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.replay import Call, RecordingEngine, crowd, replay
from benchmarks.report import FIGURES, RESULTS, Row, quantiles, write
from benchmarks.served import served

STAGES = ("understand", "retrieve", "rank", "respond")
COUNTED = ("prompt_tokens", "completion_tokens", "engine_calls")
MOMENTS = {"first_token": "to the first token", "first_text": "to the first text", "seconds": "whole"}
MOODS = ("funny", "sad", "tense", "gentle", "dark", "romantic", "scary", "quirky", "slow", "uplifting")
GENRES = ("western", "comedy", "thriller", "drama", "horror film", "musical", "war film", "crime film", "mystery")
PLACES = ("France", "Japan", "Italy", "Korea", "India", "Sweden", "Germany", "Mexico", "China", "Spain", "Poland")
NOTE = (
    "Turns of one message, each new to Sotto. A pass beforehand records the calls that such turns make to the engine; "
    "turns through the API, and the calls of as many others alone, then take turns against the same vLLM. No prompt is "
    "sent both ways."
)
APART = 97
FULL = 3
"""Turns of a repeat for each of its streams, at least: less, and it is mostly beginning and end."""
RECORDED_AT_ONCE = 8
SHADES = ("#1f3b57", "#35618f", "#6f9bc8", "#b9d0e6")


@dataclass(frozen=True)
class Turn:
    """A message and the calls that answering it makes."""

    message: str
    seed: int
    calls: tuple[Call, ...]


@dataclass
class Level:
    """What was measured at one number of streams; all in seconds."""

    sotto: list[float] = field(default_factory=list)
    direct: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    sotto_rates: list[float] = field(default_factory=list)
    direct_rates: list[float] = field(default_factory=list)
    traces: list[dict[str, Any]] = field(default_factory=list)
    direct_calls: int = 0

    @property
    def sotto_calls(self) -> int:
        """The calls that the turns through the API made to the engine."""
        return sum(one["engine_calls"] for trace in self.traces for one in trace["stages"])


def messages() -> list[str]:
    """Wishes, each once, of which neighbours have little in common."""
    combined = [f"a {mood} {genre} from {place}" for mood in MOODS for genre in GENRES for place in PLACES]
    return [combined[at] for offset in range(APART) for at in range(offset, len(combined), APART)]


async def record(engine_url: str, home: Path, count: int) -> list[Turn]:
    """``count`` turns with their calls, as a dialogue in this process makes them."""
    from transformers import AutoTokenizer

    from assistant.dialogue.turn import Assistant
    from assistant.dialogue.types import ChatMessage, TurnRequest
    from assistant.engine.gateway import VllmEngine
    from assistant.settings import STARTER_PATH
    from retrieval.search import Library

    if count > len(wanted := messages()):
        raise ValueError(f"there are {len(wanted)} different messages, and {count} are needed: ask for fewer turns")
    vllm = VllmEngine(engine_url)
    engine = RecordingEngine(vllm)
    assistant = Assistant(Library.open(home), engine, AutoTokenizer.from_pretrained(STARTER_PATH))
    turns = []

    async def recorded(seed_and_message: tuple[int, str]) -> None:
        seed, message = seed_and_message
        with engine.turn() as calls:
            async for _ in assistant.stream(TurnRequest((ChatMessage("user", message),), "sotto", seed=seed)):
                pass
        turns.append(Turn(message, seed, tuple(calls)))

    try:
        await crowd(list(enumerate(wanted[:count])), RECORDED_AT_ONCE, recorded)
    finally:
        await vllm.aclose()
    return turns


async def measure(
    url: str, engine_url: str, turns: list[Turn], sizes: Mapping[int, int], repeats: int
) -> dict[int, Level]:
    """Both ways at each number of streams, each with so many of ``turns`` in a repeat as ``sizes`` says."""
    from assistant.engine.gateway import VllmEngine

    rest = iter(turns)
    levels: dict[int, Level] = defaultdict(Level)
    engine = VllmEngine(engine_url)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=limits) as client:
        for repeat, at_once in itertools.product(range(repeats), sizes):
            size, level = sizes[at_once], levels[at_once]

            async def ask(turn: Turn, level: Level = level) -> None:
                level.traces.append(await _ask(client, turn))

            async def alone(turn: Turn) -> None:
                await replay(engine, turn.calls)

            ways = [(ask, level.sotto, level.sotto_rates), (alone, level.direct, level.direct_rates)]
            for work, took, rates in ways if repeat % 2 == 0 else reversed(ways):
                block = list(itertools.islice(rest, size))
                seconds, whole = await crowd(block, at_once, work)
                took.extend(seconds)
                rates.append(size / whole)
                if work is alone:
                    level.direct_calls += sum(len(turn.calls) for turn in block)
            level.ratios.append(level.sotto_rates[-1] / level.direct_rates[-1])
            print(f"{at_once} streams: {level.ratios[-1]:.3f} of vLLM's throughput", file=sys.stderr, flush=True)
    await engine.aclose()
    return dict(levels)


async def _ask(client: httpx.AsyncClient, turn: Turn) -> dict[str, Any]:
    """The trace of a turn through the API, streamed as clients do."""
    message = {"role": "user", "content": turn.message}
    body = {"model": "sotto", "messages": [message], "seed": turn.seed, "stream": True, "trace": True}
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.is_error:
            raise RuntimeError(f"status {answer.status_code}: {(await answer.aread()).decode()}")
        lines = [line async for line in answer.aiter_lines() if line.startswith("data: {")]
    last: dict[str, Any] = json.loads(lines[-1].removeprefix("data: "))
    if "error" in last:
        raise RuntimeError(f"the stream ended with {last['error']}")
    trace: dict[str, Any] = last["trace"]
    return trace


def rows(levels: dict[int, Level]) -> list[Row]:
    """The tables: by stage at the fewest streams, then against vLLM at each."""
    fewest = min(levels)
    traces = levels[fewest].traces
    by_stage = f"Where a turn's time goes, {fewest} at a time"
    found: list[Row] = []
    for stage in STAGES:
        ones = [one for trace in traces for one in trace["stages"] if one["stage"] == stage]
        if not ones:
            continue
        counts = {name: round(float(np.mean([one[name] for one in ones])), 1) for name in COUNTED}
        found.append({"table": by_stage, "": stage, **quantiles([one["seconds"] for one in ones], "s"), **counts})
    for name, what in MOMENTS.items():
        values = [trace[name] for trace in traces if trace[name] is not None]
        found.append({"table": by_stage, "": what, **quantiles(values, "s"), **dict.fromkeys(COUNTED)})
    for streams, level in sorted(levels.items()):
        added = (float(np.median(level.sotto)) - float(np.median(level.direct))) * 1000
        found.append(
            {
                "table": "Sotto against calling vLLM directly with the prompts of such turns",
                "streams": streams,
                "turns": len(level.sotto),
                # Of other turns: near each other, or the rest does not compare.
                "Sotto calls": level.sotto_calls,
                "vLLM calls": level.direct_calls,
                "Sotto turns/s": round(float(np.median(level.sotto_rates)), 2),
                "vLLM turns/s": round(float(np.median(level.direct_rates)), 2),
                "ratio": round(float(np.median(level.ratios)), 3),
                "Sotto p50 s": quantiles(level.sotto, "s")["p50 s"],
                "vLLM p50 s": quantiles(level.direct, "s")["p50 s"],
                "added ms": round(added, 1),
            }
        )
    return found


def draw(levels: dict[int, Level], path: Path) -> None:
    """Mean seconds of each stage at each number of streams, as stacked bars."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "sotto", "font.size": 9})
    from matplotlib import pyplot as plt

    streams = sorted(levels, reverse=True)
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.55 * len(streams)), layout="constrained")
    names = [f"{count} at once" for count in streams]
    left = np.zeros(len(streams))
    for stage, shade in zip(STAGES, SHADES, strict=True):
        widths = np.array([_mean_of(levels[count], stage) for count in streams])
        axes.barh(names, widths, left=left, label=stage, color=shade, height=0.6)
        left += widths
    axes.set_xlabel("seconds of a turn, mean")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(STAGES), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _mean_of(level: Level, stage: str) -> float:
    seconds = [one["seconds"] for trace in level.traces for one in trace["stages"] if one["stage"] == stage]
    return sum(seconds) / max(len(level.traces), 1)


async def _run(url: str, engine_url: str, home: Path, options: argparse.Namespace) -> dict[int, Level]:
    sizes = {streams: max(options.turns, FULL * streams) for streams in options.streams}
    turns = await record(engine_url, home, 2 * options.repeats * sum(sizes.values()))
    print(f"recorded {len(turns)} turns of {sum(len(turn.calls) for turn in turns)} calls", file=sys.stderr, flush=True)
    return await measure(url, engine_url, turns, sizes, options.repeats)


def main() -> None:
    """Runs it and writes the result and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32], help="how many at a time")
    parser.add_argument("--turns", type=int, default=24, help=f"of each repeat, or {FULL} a stream where that is more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for the result and the picture instead of the repository's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (url, engine_url, _):
        levels = asyncio.run(_run(url, engine_url, Path(folder), options))
    command = shlex.join(["python", "-m", "benchmarks.serving", *sys.argv[1:]])
    draw(levels, (options.out or FIGURES) / "serving.svg")
    write("serving", command, rows(levels), options.out or RESULTS, note=NOTE)


if __name__ == "__main__":
    main()
