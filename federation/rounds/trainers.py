"""The trainers that a device may be told to use, by name. One is made once a process and kept for every message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, cast

from federation.rounds.trainer import Trainer

TRAINERS = {
    "synthetic": "federation.rounds.synthetic:trainer",
    "population": "federation.device.training:population_trainer",
    "device": "federation.device.training:device_trainer",
    "resident": "federation.rounds.residence:socket_trainer",
}
"""A server names one of these; it cannot name code."""

NODES_OWN = frozenset({"device", "resident"})
"""Those that only a node itself may name: their options are places on its machine."""


def resident(name: str, options: Mapping[str, Any]) -> Trainer:
    """The trainer ``name`` with ``options``, made once; ValueError for another name."""
    return _made(name, json.dumps(options, sort_keys=True))


@cache
def _made(name: str, options: str) -> Trainer:
    if name not in TRAINERS:
        raise ValueError(f"there is no trainer {name!r}: choose one of {', '.join(TRAINERS)}")
    module, _, function = TRAINERS[name].partition(":")
    make = cast("Callable[..., Trainer]", getattr(import_module(module), function))
    return make(**json.loads(options))
