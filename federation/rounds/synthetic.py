"""A trainer without a model, for tests and benchmarks: each device pulls its adapter towards one of its own.

A device's target is one of ``groups`` targets with noise of its own; its loss is the squared distance to it. Everything
is drawn from the device's name, so that a device is the same in every process.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.rounds.trainer import TrainConfig, TrainReply
from federation.tensors import Part, Tensors, part

HIDDEN = 8


class SyntheticTrainer:
    """See `Trainer`. ``pause`` is how many seconds each device takes; ``broken`` devices raise ValueError."""

    def __init__(
        self, rank: int, modules: int, tokens: int, groups: int, pause: float, broken: tuple[str, ...]
    ) -> None:
        self._shape, self._groups, self._pause, self._broken = (rank, modules, tokens), groups, pause, broken

    def initial(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """Where a run begins: A and the soft prompt are drawn, B is 0."""
        rank, modules, tokens = self._shape
        draw = np.random.default_rng(seed)
        found = {}
        for at in range(modules):
            name = f"base_model.model.model.layers.{at}.self_attn.q_proj"
            found[f"{name}.lora_A.weight"] = draw.normal(0, 0.1, (rank, HIDDEN)).astype(np.float32)
            found[f"{name}.lora_B.weight"] = np.zeros((HIDDEN, rank), np.float32)
        if tokens:
            found["soft_prompt"] = draw.normal(0, 0.1, (tokens, HIDDEN)).astype(np.float32)
        return found

    def train(self, device: str, cohorts: Mapping[str, Tensors], config: TrainConfig) -> TrainReply:
        """See `Trainer.train`."""
        started = time.perf_counter()
        if device in self._broken:
            raise ValueError("the device has too few events")
        if self._pause:
            time.sleep(self._pause)
        identity = zlib.crc32(device.encode())
        draw = np.random.default_rng([identity, config.number, config.seed])
        target = {name: self._target(name, array, identity) for name, array in next(iter(cohorts.values())).items()}
        losses = {name: _distance(tensors, target) for name, tensors in sorted(cohorts.items())}
        cohort = min(losses, key=lambda name: losses[name])
        after = self._trained(cohorts[cohort], target, config, draw)
        update = {name: after[name] - cohorts[cohort][name] for name in after}
        base = _distance({name: array * 0 for name, array in target.items()}, target)
        metrics = {
            "loss": losses[cohort],
            "ndcg": 1.0 / (1.0 + losses[cohort]),
            "base_loss": base,
            "base_ndcg": 1.0 / (1.0 + base),
            "activity": float(5 + identity % 200),
            "seconds": time.perf_counter() - started,
        }
        return TrainReply(cohort, update, 1 + identity % 50, metrics)

    def _target(self, name: str, array: NDArray[np.float32], identity: int) -> NDArray[np.float32]:
        group = np.random.default_rng([zlib.crc32(name.encode()), identity % self._groups])
        own = np.random.default_rng([zlib.crc32(name.encode()), identity, 1])
        return (group.normal(0, 0.3, array.shape) + own.normal(0, 0.05, array.shape)).astype(np.float32)

    @staticmethod
    def _trained(
        start: Tensors, target: Tensors, config: TrainConfig, draw: np.random.Generator
    ) -> dict[str, NDArray[np.float32]]:
        trained: frozenset[Part] = config.parts
        # In order of names: what is drawn must not depend on the order in which tensors came.
        current = {name: start[name].copy() for name in sorted(start) if part(name) in trained}
        rate = np.float32(min(1.0, 50 * config.learning_rate))
        for _ in range(config.steps):
            for name, array in current.items():
                pull = (target[name] - array) + np.float32(config.proximal) * (start[name] - array)
                noise = draw.normal(0, 0.01, array.shape).astype(np.float32)
                current[name] = (array + rate * (pull + noise)).astype(np.float32)
        return current


def _distance(tensors: Tensors, target: Tensors) -> float:
    return float(np.mean([np.mean((tensors[name] - target[name]) ** 2) for name in sorted(target)]))


def trainer(
    rank: int = 4,
    modules: int = 2,
    tokens: int = 2,
    groups: int = 1,
    pause: float = 0.0,
    broken: tuple[str, ...] | list[str] = (),
) -> SyntheticTrainer:
    """Makes one: see `federation.rounds.trainers`."""
    return SyntheticTrainer(rank, modules, tokens, groups, pause, tuple(broken))
