"""A run of rounds, as pure state: what is asked, what is done with the answers, what came of it.

Knows neither Flower nor models. Of a device nothing outlives its round but its share of sums. Everything drawn is drawn
from the plan's seed and the round's number, so a round that is begun again asks the same of the same devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.layout import trained_names
from federation.aggregation.norm_bounding import norm_of
from federation.aggregation.registry import fewest
from federation.aggregation.weighting import bounded
from federation.rounds.plan import Plan
from federation.rounds.trainer import TrainReply
from federation.tensors import Tensors

GLOBAL = "global"
MEASURED = ("loss", "ndcg", "base_loss", "base_ndcg")
DECILES = 10
APART = 0.05
"""How far cohorts begin from each other, in standard deviations of each tensor."""

Summary = Mapping[str, Any]


class TooFewDevices(RuntimeError):
    """A round got too few answers; the message counts why."""


@dataclass
class State:
    """What a run has come to: the weights of each cohort and its server optimizer's state, after ``done`` rounds."""

    plan: Plan
    cohorts: dict[str, Tensors]
    optimizer: dict[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many rounds are over."""
        return len(self.summaries)

    @property
    def finished(self) -> bool:
        """Whether all rounds are over."""
        return self.done >= self.plan.rounds

    def shipped(self) -> dict[str, Tensors]:
        """The weights of the cohorts that a release may hold: `GLOBAL` and those above the floor in the last round."""
        chosen: Mapping[str, int] = self.summaries[-1]["chosen"] if self.summaries else {}
        return {
            name: tensors
            for name, tensors in self.cohorts.items()
            if name == GLOBAL or chosen.get(name, 0) >= self.plan.floor
        }


def sample(devices: Sequence[int], plan: Plan, number: int, attempt: int = 0) -> list[int]:
    """The devices asked in round ``number``, without replacement; another ``attempt`` asks others."""
    draw = np.random.default_rng([plan.seed, number, attempt])
    ordered = sorted(devices)
    return [ordered[at] for at in draw.permutation(len(ordered))[: plan.sampled]]


class Round:
    """One round under way. Answers may arrive in any order: the result is the same to the bit."""

    def __init__(self, state: State) -> None:
        self.state, self.number = state, state.done + 1
        plan = state.plan
        if plan.begins_cohorts(self.number):
            state.cohorts = _split(state.cohorts[GLOBAL], plan, self.number)
        self.config = plan.training(self.number)
        self._algorithm = plan.algorithm
        self._collectors = {name: self._algorithm.begin(tensors, self.number) for name, tensors in self.cohorts.items()}
        self._chosen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._rows: list[tuple[str, list[float]]] = []

    @property
    def cohorts(self) -> Mapping[str, Tensors]:
        """The weights that devices choose among."""
        return self.state.cohorts

    @property
    def answered(self) -> int:
        """How many answers were taken."""
        return len(self._rows)

    def take(self, sender: str, reply: TrainReply) -> None:
        """Takes a device's answer; ValueError, naming the tensor, where its update does not fit."""
        weight = bounded(reply.examples, self.state.plan.heaviest)
        self._collectors[reply.cohort].add(sender, reply.update, weight)
        self._chosen[reply.cohort] += 1
        self._rows.append((sender, [reply.metrics[name] for name in (*MEASURED, "activity", "seconds")]))

    def fail(self, reason: str) -> None:
        """Counts a device that gave no usable answer."""
        self._failed[reason] += 1

    def close(self, asked: int, seconds: float, *, bytes_down: int = 0, bytes_up: int = 0) -> Summary:
        """Ends the round: the state moves on by it. TooFewDevices, and nothing moves, where too few answered."""
        plan = self.state.plan
        if self.answered < plan.needed:
            raise TooFewDevices(self._why(asked))
        cohorts, optimizer, residuals, moved = {}, dict(self.state.optimizer), [], 0.0
        for name, tensors in self.cohorts.items():
            if self._chosen[name] < fewest(self._algorithm):
                # It rests: too few devices chose it for the algorithm to tell liars from others.
                cohorts[name] = tensors
                continue
            aggregate = self._collectors[name].finish()
            residuals.append(aggregate.residual)
            target = aggregate.tensors
            cohorts[name], optimizer[name] = plan.server_optimizer.step(optimizer.get(name, {}), tensors, target)
            moved = max(moved, norm_of({tensor: cohorts[name][tensor] - tensors[tensor] for tensor in tensors}))
        summary = {
            "round": self.number,
            "asked": asked,
            "answered": self.answered,
            "dropped": asked - self.answered - self._failed.total(),
            "failed": dict(self._failed),
            "chosen": dict(self._chosen),
            **self._figures(),
            "residual": max(residuals, default=0.0),
            "update_norm": moved,
            "bytes_down": bytes_down,
            "bytes_up": bytes_up,
            "seconds": seconds,
        }
        self.state.cohorts, self.state.optimizer = cohorts, optimizer
        self.state.summaries.append(summary)
        return summary

    def _figures(self) -> dict[str, Any]:
        """Means over the devices' validation events, overall and by decile of activity, the least active first."""
        # By sender, so that sums come out the same in whatever order answers came.
        rows = np.array([row for _, row in sorted(self._rows)], dtype=np.float64)
        figures: dict[str, Any] = {name: float(rows[:, at].mean()) for at, name in enumerate(MEASURED)}
        order = np.argsort(rows[:, len(MEASURED)], kind="stable")
        for at, name in enumerate(MEASURED):
            parts = np.array_split(rows[order, at], min(DECILES, len(rows)))
            figures[f"{name}_deciles"] = [float(part.mean()) for part in parts]
        figures["device_seconds"] = float(rows[:, len(MEASURED) + 1].mean())
        return figures

    def _why(self, asked: int) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self._failed.items()))
        late = asked - self.answered - self._failed.total()
        return (
            f"Round {self.number}: {self.answered} of {asked} devices answered and {self.state.plan.needed} must"
            f" ({late} too late{', ' + reasons if reasons else ''}). Ask more devices, or allow more time."
        )


def _split(tensors: Tensors, plan: Plan, number: int) -> dict[str, Tensors]:
    """Cohorts that begin a little apart from everyone's weights, with these themselves."""
    draw = np.random.default_rng([plan.seed, number, 1 << 20])
    trained = frozenset(trained_names(tensors, plan.algorithm.trained(number)))
    found: dict[str, Tensors] = {GLOBAL: tensors}
    for at in range(plan.cohorts):
        found[f"c{at}"] = {
            name: _nudged(array, draw) if name in trained else array for name, array in sorted(tensors.items())
        }
    return found


def _nudged(array: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.float32]:
    spread = APART * float(array.std())
    return (array + draw.normal(0.0, spread, array.shape)).astype(np.float32)
