"""Canaries before simulated people: how often an identical release is rolled back, and how many meet a bad one.

python -m benchmarks.canary --canaries 200

The bad release is real: random LoRA weights on the starter model, of a given norm, past a gate that is off. What people
are recommended is what each release ranks first on made choices with a known relevance; a person accepts by that
relevance and by a taste of their own. Ledger, controller and judge are those of the server, the clock is simulated.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from assistant.rollout.arms import place
from assistant.rollout.controller import Controller
from assistant.rollout.judge import Count
from assistant.rollout.ledger import Ledger, Plan
from assistant.settings import STARTER_PATH, Settings
from assistant.state.database import Database
from benchmarks.report import Row, write
from benchmarks.rollout_soak import LORA, random_weights
from federation.releases.base import read_served

PEOPLE = 3000
TURNS_A_TICK = 60
TICK_SECONDS = 60.0
ERROR_RATE = 0.004
VERDICTS = 0.5
"""The share of recommendations that people judge at all; the rest count as shown and not accepted."""


@dataclass(frozen=True)
class Quality:
    """How well what a release ranks first suits, float64 (choices,), as a share of the best that was there."""

    suits: NDArray[np.float64]


def quality(scale: float | None, choices: int, seed: int) -> Quality:
    """Of the starter model, or of a release of random weights of this ``scale`` on it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from assistant.starter.choices import Chooser
    from assistant.starter.world import World
    from prompts.build import encode, label_ids, rank_messages
    from retrieval.bundled import bundled_items

    model = AutoModelForCausalLM.from_pretrained(STARTER_PATH, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(STARTER_PATH)
    if scale is not None:
        served = read_served(STARTER_PATH)
        tensors, parameters = random_weights(served, seed, scale), dict(model.named_parameters())
        with torch.no_grad():
            for module in served.modules:
                product = LORA.scale * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
                parameters[f"{module.removeprefix('base_model.model.')}.weight"] += torch.from_numpy(product)
    chooser = Chooser(World(list(bundled_items())), random.Random(seed))
    suits = []
    for _ in range(choices):
        one = chooser.example()
        ids = encode(tokenizer, rank_messages(one.wish, one.history, one.candidates))
        labels = label_ids(tokenizer, len(one.candidates))
        with torch.inference_mode():
            first = int(model(torch.tensor([ids])).logits[0, -1, labels].argmax())
        low, high = float(one.relevance.min()), float(one.relevance.max())
        suits.append(1.0 if high == low else (float(one.relevance[first]) - low) / (high - low))
    return Quality(np.array(suits))


@dataclass(frozen=True)
class Outcome:
    """How a canary ended, at which step, how many people met it and after how many simulated minutes."""

    state: str
    step: int
    met: int
    minutes: float
    reason: str


def canary(control: Quality, treated: Quality, seed: int, folder: Path, plan: Plan) -> Outcome:
    """One canary to its end."""
    draw = np.random.default_rng(seed)
    now = 1_800_000_000.0
    with Database.of(Settings(home=folder)) as database:
        ledger = Ledger(database, lambda: now)
        controller = Controller(ledger, clock=lambda: now)
        secret = ledger.secret()
        entry = ledger.start(f"{seed:064x}", plan, "benchmark", "a simulation")
        places = [place(f"person {number}", entry.id, secret) for number in range(PEOPLE)]
        taste, pace = draw.beta(4, 4, PEOPLE), draw.normal(0.0, 0.3, PEOPLE)
        activity = draw.gamma(0.7, 1.0, PEOPLE) + 0.02
        activity /= activity.sum()
        met: set[int] = set()
        began = now
        while entry.state == "running":
            now += TICK_SECONDS
            # The day's mood moves everybody's acceptance, in both arms alike.
            mood = 1.0 + 0.2 * np.sin((now - began) / 7200.0)
            counts: dict[tuple[str, int], list[float]] = {}
            for person in draw.choice(PEOPLE, TURNS_A_TICK, p=activity):
                arm = places[person].arm(entry.share)
                sums = counts.setdefault((arm, places[person].bucket), [0.0] * 5)
                if arm == "canary":
                    met.add(int(person))
                sums[2] += 1
                if draw.random() < ERROR_RATE:
                    sums[3] += 1
                    continue
                suits = (treated if arm == "canary" else control).suits
                accepts = draw.random() < VERDICTS * min(
                    1.0, 2 * taste[person] * mood * suits[draw.integers(len(suits))]
                )
                sums[0] += 1
                sums[1] += accepts
                sums[4] += draw.normal(pace[person], 0.4)
            ledger.count(
                entry.id,
                [
                    Count(entry.step, arm, bucket, int(s[0]), int(s[1]), int(s[2]), int(s[3]), s[4])  # type: ignore[arg-type]
                    for (arm, bucket), s in counts.items()
                ],
            )
            controller.step()
            entry = ledger.get(entry.id)
    return Outcome(entry.state, entry.step, len(met), (now - began) / 60.0, entry.reason or "")


def rows(canaries: int, bad: int, choices: int, scales: tuple[float, ...]) -> list[Row]:
    """A row of identical releases, and one for each norm of a bad one."""
    plan = Plan(step_seconds=30 * TICK_SECONDS, step_requests=100)
    control = quality(None, choices, 0)
    found: list[Row] = []
    cases = [("identical", control, canaries)] + [(f"random, {s:g}", quality(s, choices, 0), bad) for s in scales]
    for name, treated, runs in cases:
        outcomes = []
        for seed in range(runs):
            with TemporaryDirectory() as folder:
                outcomes.append(canary(control, treated, seed, Path(folder), plan))
        back = [one for one in outcomes if one.state == "rolled_back"]
        found.append(
            {
                "release": name,
                "suits (control)": round(float(control.suits.mean()), 3),
                "suits (release)": round(float(treated.suits.mean()), 3),
                "canaries": runs,
                "rolled back": len(back),
                "rolled back %": round(100 * len(back) / runs, 1),
                "people who met it, p50": float(np.median([one.met for one in outcomes])),
                "p95": round(float(np.percentile([one.met for one in outcomes], 95)), 0),
                "minutes p50": float(np.median([one.minutes for one in outcomes])),
            }
        )
    return found


def main() -> None:
    """Runs it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--canaries", type=int, default=200, help="of an identical release")
    parser.add_argument("--bad", type=int, default=40, help="of each bad release")
    parser.add_argument("--choices", type=int, default=300, help="made choices that people are drawn from")
    parser.add_argument("--scales", type=float, nargs="*", default=[0.1, 0.4], help="deviations of the random factors")
    given = parser.parse_args()
    write(
        "canary",
        f"python -m benchmarks.canary --canaries {given.canaries} --bad {given.bad}",
        rows(given.canaries, given.bad, given.choices, tuple(given.scales)),
        note=f"{PEOPLE:,} simulated people, {TURNS_A_TICK} turns a minute, steps of 30 minutes at 1, 10, 50 and 100 %. "
        "Suits: the relevance of what is ranked first, as a share of the best there was.",
    )


if __name__ == "__main__":
    main()
