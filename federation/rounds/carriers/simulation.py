"""Rounds over Flower's simulation: as many virtual SuperNodes as devices, in Ray's worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from federation.rounds.client_app import make

CORES_A_DEVICE = 1


def simulate(server: ServerApp, trainer: str, options: Mapping[str, Any], devices: int) -> None:
    """Runs ``server`` over ``devices`` that train with the trainer of this name. Needs Ray."""
    backend: dict[str, Any] = {"client_resources": {"num_cpus": CORES_A_DEVICE, "num_gpus": 0.0}}
    run_simulation(server, make(trainer, dict(options)), devices, backend_config=backend)
