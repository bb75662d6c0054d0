"""Cohorts by lowest loss (IFCA, Ghosh et al. 2020) of the simplest model there is: how often a cohort meets an item.

A cohort is a distribution over items. Each round every device picks, by itself, the cohort under which its history is
most likely, and adds its history, at weight 1 in all, to that cohort's sum. Cohorts of fewer than `SMALLEST` devices
do not go on, and their devices choose again. Knows sums; the choice stays on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.evaluation.protocol import Integers

__all__ = ["SMALLEST", "Cohorts", "choose", "form"]

SMALLEST = 20
_ROUNDS = 30
_PRIOR = 0.5

Logs = NDArray[np.float64]


@dataclass(frozen=True)
class Cohorts:
    """``logs`` (cohorts, items) are log probabilities; ``members`` (devices,) is each device's choice."""

    logs: Logs
    members: Integers


def choose(history: Integers, logs: Logs) -> int:
    """The cohort of lowest mean negative log-likelihood over ``history``: what a device works out by itself."""
    return int(logs[:, history].mean(axis=1).argmax())


def form(histories: Sequence[Integers], size: int, count: int, seed: int) -> Cohorts:
    """At most ``count`` cohorts over ``size`` items; ``seed`` draws where each device starts."""
    rng = np.random.default_rng(seed)
    members = rng.integers(count, size=len(histories))
    everybody = _sum(histories, size)
    for _ in range(_ROUNDS):
        logs = _logs(histories, members, everybody)
        chosen = np.array([choose(history, logs) for history in histories])
        if np.array_equal(chosen, members):
            break
        members = chosen
    return Cohorts(_logs(histories, members, everybody), members)


def _logs(histories: Sequence[Integers], members: Integers, everybody: Logs) -> Logs:
    """The distributions of cohorts that are large enough; of everybody where none is."""
    sizes = np.bincount(members)
    kept = np.flatnonzero(sizes >= SMALLEST)
    sums = [_sum([histories[one] for one in np.flatnonzero(members == cohort)], len(everybody)) for cohort in kept]
    # Smoothed by what everybody meets: as if each cohort had half again as many devices of that kind.
    share = (everybody + 1e-6) / (everybody + 1e-6).sum()
    return np.log([(one + _PRIOR * one.sum() * share) / (one.sum() * (1 + _PRIOR)) for one in sums or [everybody]])


def _sum(histories: Sequence[Integers], size: int) -> Logs:
    total = np.zeros(size)
    for history in histories:
        total[history] += 1 / len(history)
    return total
