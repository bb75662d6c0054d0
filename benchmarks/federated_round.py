"""Federated rounds over people of MovieLens, to a release that vLLM loads, and what it changes for people it never met.

python -m benchmarks.federated_round --population ../shared/data/ml-latest-small --devices 60 --rounds 5

The rounds are `sotto round run`. Then a real vLLM with the release ranks the last event of people who took no part
among 15 items that they had not met, by the model alone, under the base model and under the release.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, kendalltau

from assistant.dialogue.rank import Ranked, Ranker
from assistant.dialogue.types import Voice
from assistant.engine.adapters import Adapters
from assistant.engine.command import SERVED_NAME
from assistant.engine.gateway import VllmEngine
from assistant.engine.soft_prompts import Embeddings
from assistant.settings import STARTER_PATH
from benchmarks.report import ROOT, Row, write
from benchmarks.rollout_soak import LORA, replicas
from federation.device.base import split
from federation.device.examples import NEGATIVES, Example, choice
from federation.device.population import Population, devices, read_population
from federation.releases.base import read_served
from federation.releases.registry import Registry
from federation.releases.verify import Limits
from retrieval.search import Candidate

POPULATION = ROOT.parent / "shared" / "data" / "ml-latest-small"
SHOWN = ("round", "answered", "loss", "base_loss", "ndcg", "base_ndcg", "seconds")
LISTS_AT_ONCE = 8

Ranking = tuple[Ranked, ...]


def rounds(home: Path, options: Sequence[str]) -> tuple[list[dict[str, Any]], str, float]:
    """Runs `sotto round run`: the summary of each round, the release's digest, and the seconds of the whole."""
    command = [sys.executable, "-m", "assistant", "round", "run", "--home", str(home), "--json", *options]
    started = time.perf_counter()
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    *summaries, last = map(json.loads, answer.stdout.splitlines())
    return summaries, last["release"], seconds


def last_events(population: Population, strangers: Sequence[str]) -> list[Example]:
    """The choice of each stranger's last event after all others."""
    found = []
    for person in strangers:
        parts = split(population.histories[person])
        seed = [zlib.crc32(person.encode())]
        found.append(choice((*parts.train, parts.validation), parts.test, population.items, seed))
    return found


async def rankings(choices: Sequence[Example], home: Path, digest: str) -> tuple[list[Ranking], list[Ranking]]:
    """The candidates of each of the ``choices``, best first, by the base model and by the release on one vLLM."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STARTER_PATH)
    registry = Registry(home)
    registry.fetch(digest)
    with tempfile.TemporaryDirectory() as folder:
        async with replicas(Path(folder), 1) as (process,):
            engine = VllmEngine(process.url, embeddings=Embeddings.open(STARTER_PATH))
            adapters = Adapters(engine, registry.store, read_served(STARTER_PATH), Limits(rank=LORA.rank))
            await adapters.load(digest)
            ranker, gate = Ranker(engine, tokenizer), asyncio.Semaphore(LISTS_AT_ONCE)

            async def ranked(example: Example, voice: Voice) -> Ranking:
                # No retrieval score: what is compared is the model's own preference.
                candidates = [Candidate(item, 0.0, {}) for item in example.candidates]
                async with gate:
                    found, _ = await ranker.rank(example.wish, example.history, candidates, voice)
                return found

            base = await asyncio.gather(*(ranked(one, Voice(SERVED_NAME)) for one in choices))
            with adapters.policy(digest) as policy:
                voice = Voice(policy.model, policy.soft_prompt)
                released = await asyncio.gather(*(ranked(one, voice) for one in choices))
            await engine.aclose()
    return base, released


def measured(choices: Sequence[Example], rankings: Sequence[Ranking]) -> tuple[NDArray[np.float64], float]:
    """1 / log2(1 + the chosen item's place) of each, float64 (choices,), and the mean loss in nats."""
    found = []
    for one, ranking in zip(choices, rankings, strict=True):
        chosen = one.candidates[one.chosen].id
        found.append(next((place, ranked.score) for place, ranked in enumerate(ranking, 1) if ranked.item.id == chosen))
    places, scores = np.array(found, dtype=np.float64).T
    return 1 / np.log2(1 + places), -float(np.log(np.maximum(scores, 1e-12)).mean())


def compared(choices: Sequence[Example], base: Sequence[Ranking], released: Sequence[Ranking]) -> list[Row]:
    """What the release changed."""
    (before, loss_before), (after, loss_after) = measured(choices, base), measured(choices, released)
    gain = after - before
    interval = bootstrap((gain,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    orders = [([one.item.id for one in b], [one.item.id for one in r]) for b, r in zip(base, released, strict=True)]
    agreements = [kendalltau(range(len(b)), [r.index(item) for item in b]).statistic for b, r in orders]
    chance = float(np.mean(1 / np.log2(1 + np.arange(1, NEGATIVES + 2))))
    return [
        {
            "table": f"the last event of {len(choices)} people who took no part, among {NEGATIVES} others, by vLLM",
            "loss, base model": round(loss_before, 3),
            "loss, release": round(loss_after, 3),
            "NDCG by chance": round(chance, 3),
            "NDCG, base model": round(float(before.mean()), 3),
            "NDCG, release": round(float(after.mean()), 3),
            "gain": round(float(gain.mean()), 3),
            "95 % interval": f"{interval.low:+.3f} to {interval.high:+.3f}",
            "lists in another order, %": round(100 * float(np.mean([b != r for b, r in orders])), 1),
            "with another first, %": round(100 * float(np.mean([b[0] != r[0] for b, r in orders])), 1),
            "Kendall's tau": round(float(np.mean(agreements)), 3),
        }
    ]


def main() -> None:
    """Runs it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--population", type=Path, default=POPULATION)
    parser.add_argument("--devices", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=0.01, help="of the devices")
    parser.add_argument("--strangers", type=int, default=400, help="people who took no part, at most")
    given = parser.parse_args()
    population = read_population(given.population)
    part = set(devices(population, given.devices, given.seed))
    everyone = devices(population, len(population.histories), given.seed)
    choices = last_events(population, [one for one in everyone if one not in part][: given.strangers])
    options = ["--devices", str(given.devices), "--rounds", str(given.rounds), "--seed", str(given.seed)]
    options += ["--learning-rate", str(given.learning_rate)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        summaries, digest, seconds = rounds(home, ["--population", str(given.population), *options])
        base, released = asyncio.run(rankings(choices, home, digest))
    lines: list[Row] = [
        {
            "table": "round by round, on the validation events of those asked",
            **{name: _shown(one[name]) for name in SHOWN},
        }
        for one in summaries
    ]
    lines.append({"table": "from the command to the release", "devices": given.devices, "seconds": round(seconds)})
    lines += compared(choices, base, released)
    write(
        "federated_round",
        f"python -m benchmarks.federated_round {shlex.join(options)}",
        lines,
        note=(f"{given.population.name}; the starter model, LoRA of rank {LORA.rank} and a soft prompt of 4 tokens."),
    )


def _shown(value: float) -> float | int:
    return value if isinstance(value, int) else round(value, 3)


if __name__ == "__main__":
    main()
