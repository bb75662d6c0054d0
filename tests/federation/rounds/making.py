"""Runs of the synthetic trainer, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from federation.rounds.carriers.inprocess import InProcessGrid
from federation.rounds.client_app import make
from federation.rounds.coordinator import GLOBAL, State
from federation.rounds.plan import Plan
from federation.rounds.server_app import Watcher, serve
from federation.rounds.synthetic import trainer
from federation.tensors import Tensors

DEVICES = tuple(f"d{at}" for at in range(30))


def plan(**changes: Any) -> Plan:
    """A short one."""
    return Plan(**{"rounds": 4, "sampled": 8, "fewest": 3, "learning_rate": 0.005, "rank": 4, **changes})


def began(given: Plan, **options: Any) -> State:
    """The state before the first round."""
    return State(given, {GLOBAL: trainer(**options).initial(given.seed)})


def run(
    folder: Path,
    given: Plan | None = None,
    devices: Sequence[str] = DEVICES,
    watcher: Watcher | None = None,
    **options: Any,
) -> State:
    """The state after all rounds."""
    state = began(given or plan(), **options)
    return serve(InProcessGrid(make("synthetic", options), devices), state, folder, watcher)


def same(one: Tensors, other: Tensors) -> bool:
    """Equal to the bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
