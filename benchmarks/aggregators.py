"""Every aggregation on one federated task: how well it learns, what devices send, how far the aggregate is off.

python -m benchmarks.aggregators

Devices fit low-rank changes of a frozen linear model to their own data, which come from one common change and a smaller
one of their own. numpy alone; a loss of 1 is that of the frozen model.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, write
from federation.aggregation.registry import NAMES, create
from federation.tensors import Tensors, part

INTO, OUT, RANK, TRUE_RANK = 24, 16, 8, 4
EXAMPLES, LOCAL_STEPS, RATE = 64, 8, 0.02
OPTIONS: Mapping[str, Mapping[str, float]] = {
    "krum": {"liars": 3, "keep": 8},
    "trimmed-mean": {"share": 0.2},
    "norm-bounding": {"norm": 0.5},
}
A, B, CORE = "m.lora_A.weight", "m.lora_B.weight", "m.lora_core.weight"
Arrays = dict[str, NDArray[np.float32]]


class Task:
    """``devices`` with inputs (examples, in) and targets (examples, out) each."""

    def __init__(self, devices: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        common = draw.normal(size=(OUT, TRUE_RANK)) @ draw.normal(size=(TRUE_RANK, INTO)) / TRUE_RANK
        self.data = []
        for _ in range(devices):
            own = common + 0.3 * draw.normal(size=(OUT, 1)) @ draw.normal(size=(1, INTO)) / np.sqrt(INTO)
            inputs = draw.normal(size=(EXAMPLES, INTO))
            self.data.append((inputs, inputs @ own.T))

    def initial(self, seed: int, *, cored: bool) -> Arrays:
        """A is drawn and B is 0; with a core both are orthonormal and the core is 0."""
        draw = np.random.default_rng(seed)
        if not cored:
            a = draw.normal(size=(RANK, INTO)) / np.sqrt(INTO)
            return {A: a.astype(np.float32), B: np.zeros((OUT, RANK), np.float32)}
        right, _ = np.linalg.qr(draw.normal(size=(INTO, RANK)))
        left, _ = np.linalg.qr(draw.normal(size=(OUT, RANK)))
        core = np.zeros((RANK, RANK), np.float32)
        return {A: right.T.astype(np.float32), B: left.astype(np.float32), CORE: core}

    def loss(self, tensors: Tensors) -> float:
        """The mean squared error over all devices, as a share of the frozen model's."""
        errors = [((inputs @ change(tensors).T - targets) ** 2).mean() for inputs, targets in self.data]
        return float(np.mean(errors) / np.mean([(targets**2).mean() for _, targets in self.data]))

    def trained(self, device: int, tensors: Tensors, parts: frozenset[str]) -> Arrays:
        """The change of ``parts`` after a device's steps of gradient descent."""
        inputs, targets = self.data[device]
        current = {name: array.astype(np.float64) for name, array in tensors.items()}
        for _ in range(LOCAL_STEPS):
            error = 2 * (inputs @ change(current).T - targets) / EXAMPLES
            slope = error.T @ inputs
            a, b, core = current[A], current[B], current.get(CORE, np.eye(RANK))
            slopes = {A: (b @ core).T @ slope, B: slope @ (core @ a).T, CORE: b.T @ slope @ a.T}
            for name in [name for name in current if part(name) in parts]:
                current[name] = current[name] - RATE * slopes[name]
        return {name: (current[name] - tensors[name]).astype(np.float32) for name in tensors if part(name) in parts}


def change(tensors: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
    """What the adapter adds to the model's weight, (out, in)."""
    found: NDArray[np.floating] = tensors[B] @ tensors.get(CORE, np.eye(RANK)) @ tensors[A]
    return found


def measured(name: str, devices: int, rounds: int, seed: int, liars: int) -> tuple[float, float, float]:
    """The last loss, the bytes that a device sends in a round, and the mean residual."""
    task, algorithm = Task(devices, seed), create(name, **OPTIONS.get(name, {}))
    current: Tensors = task.initial(seed, cored=name == "fed-sb")
    sent, residuals = 0, []
    for number in range(1, rounds + 1):
        collector = algorithm.begin(current, number)
        for device in range(devices):
            update = task.trained(device, current, algorithm.trained(number))
            sent += sum(array.nbytes for array in update.values())
            if device < liars:
                update = {tensor: (-5.0 * array).astype(np.float32) for tensor, array in update.items()}
            try:
                collector.add(f"{device:05}", update, 1)
            except ValueError:  # weights that liars have driven beyond all bounds
                return np.nan, sent / (devices * number), np.nan
        found = collector.finish()
        current = found.tensors
        residuals.append(found.residual)
    return task.loss(current), sent / (devices * rounds), float(np.mean(residuals))


def rows(devices: int, rounds: int, seeds: int, liars: int) -> list[Row]:
    """A row for each algorithm, honest and with liars."""
    found: list[Row] = []
    for lying in (0, liars):
        for name in NAMES:
            if name == "soft-prompt":
                continue
            runs = np.array([measured(name, devices, rounds, seed, lying) for seed in range(seeds)])
            found.append(
                {
                    "table": f"{lying} of {devices} devices lie" if lying else "all devices are honest",
                    "aggregation": name,
                    "loss": _rounded(runs[:, 0].mean(), 4),
                    "± over seeds": _rounded(runs[:, 0].std(), 4),
                    "bytes a device and round": round(float(runs[:, 1].mean())),
                    "residual": _rounded(runs[:, 2].mean(), 5),
                }
            )
    return found


def _rounded(value: float, digits: int) -> float | None:
    """None where it diverged."""
    return round(float(value), digits) if np.isfinite(value) else None


def main() -> None:
    """Runs it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--liars", type=int, default=3, help="devices that send their change times -5")
    given = parser.parse_args()
    write(
        "aggregators",
        "python -m benchmarks.aggregators",
        rows(given.devices, given.rounds, given.seeds, given.liars),
        note=f"A change of rank {TRUE_RANK} of a {OUT} x {INTO} linear map, learned at rank {RANK} by {given.devices} "
        f"devices in {given.rounds} rounds of {LOCAL_STEPS} local steps, {given.seeds} seeds. A loss of 1 is "
        "the frozen model's, – one that grew beyond all bounds. soft-prompt has nothing to change in this task.",
    )


if __name__ == "__main__":
    main()
