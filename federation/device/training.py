"""Trainers of rounds: a device's history, split in time, becomes choices, and the tuner learns from them.

Nothing of the history leaves `LocalTrainer.train` but the change of the weights and figures of its validation event.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.device.base import Event, split
from federation.device.cohorts import choose
from federation.device.examples import NEGATIVES, Example, choice, choices
from federation.device.population import devices, read_population
from federation.device.store import EventStore
from federation.device.tuner import Tuner
from federation.lora import LoraShape
from federation.rounds.trainer import TrainConfig, TrainReply
from federation.tensors import Tensors, part
from retrieval.bundled import open_catalogue
from retrieval.item import Item

MOST_EXAMPLES = 256
"""How many of a person's latest choices are learned from."""

_VALIDATION = 1 << 30


class LocalTrainer:
    """See `federation.rounds.trainer.Trainer`: trains the devices whose events ``history`` gives, one at a time."""

    def __init__(
        self,
        tuner: Tuner,
        items: Mapping[str, Item],
        history: Callable[[str], Sequence[Event]],
        negatives: int = NEGATIVES,
    ) -> None:
        self.tuner, self._items, self._history, self._negatives = tuner, items, history, negatives
        self._base: dict[str, tuple[Example, tuple[float, float]]] = {}

    def initial(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """See `Tuner.initial`."""
        return self.tuner.initial(seed)

    def train(self, device: str, cohorts: Mapping[str, Tensors], config: TrainConfig) -> TrainReply:
        """See `Trainer.train`."""
        started = time.perf_counter()
        events = [event for event in self._history(device) if event.item in self._items]
        parts = split(events)
        identity = zlib.crc32(device.encode())
        validation = choice(parts.train, parts.validation, self._items, [identity, _VALIDATION], self._negatives)
        measured = {name: self._measured(tensors, validation) for name, tensors in sorted(cohorts.items())}
        cohort = choose({name: loss for name, (loss, _) in measured.items()})
        base_loss, base_ndcg = self._of_base(device, validation)
        examples = choices(parts.train, self._items, [config.seed, identity, config.number], self._negatives)
        if not examples:
            raise ValueError("the device has too few events to learn from")
        self.tuner.put(cohorts[cohort])
        self.tuner.train(examples[-MOST_EXAMPLES:], config, [config.seed, identity, config.number, 1])
        after = self.tuner.taken()
        update = {name: after[name] - cohorts[cohort][name] for name in after if part(name) in config.parts}
        loss, ndcg = measured[cohort]
        metrics = {
            "loss": loss,
            "ndcg": ndcg,
            "base_loss": base_loss,
            "base_ndcg": base_ndcg,
            "activity": float(len(events)),
            "seconds": time.perf_counter() - started,
        }
        return TrainReply(cohort, update, len(examples), metrics)

    def _measured(self, tensors: Tensors, example: Example) -> tuple[float, float]:
        self.tuner.put(tensors)
        return quality(self.tuner.log_probabilities(example), example.chosen)

    def _of_base(self, device: str, example: Example) -> tuple[float, float]:
        """Of the base model, which never changes."""
        known = self._base.get(device)
        # A history grows, and its validation event with it.
        if known is None or known[0] != example:
            known = example, quality(self.tuner.log_probabilities(example, bare=True), example.chosen)
            self._base[device] = known
        return known[1]


def quality(log_probabilities: NDArray[np.float64], chosen: int) -> tuple[float, float]:
    """The loss in nats, and NDCG: 1 / log2(1 + place), equals counted as better."""
    place = 1 + int((np.delete(log_probabilities, chosen) >= log_probabilities[chosen]).sum())
    return float(-log_probabilities[chosen]), 1.0 / math.log2(1 + place)


@cache
def population_trainer(
    folder: str,
    model: str,
    count: int,
    seed: int = 0,
    rank: int = 8,
    alpha: float = 16.0,
    soft_prompt: int = 4,
    core: bool = False,
) -> LocalTrainer:
    """Of ``count`` people of the population in ``folder``, whose devices are numbered from 0.

    ``model`` is the base model's folder.
    """
    population = read_population(Path(folder))
    people = devices(population, count, seed)

    def history(device: str) -> Sequence[Event]:
        if not device.isdecimal() or int(device) >= len(people):
            raise ValueError("the device is not of this population")
        return population.histories[people[int(device)]]

    tuner = Tuner(Path(model), LoraShape(rank, alpha), soft_prompt, core=core)
    return LocalTrainer(tuner, population.items, history)


@cache
def device_trainer(
    home: str,
    model: str,
    rank: int = 8,
    alpha: float = 16.0,
    soft_prompt: int = 4,
    core: bool = False,
) -> LocalTrainer:
    """Of the one person whose store and catalogue are in the folder ``home``; ``model`` is the base model's.

    The store is opened anew each round, so that what happened since counts.
    """
    place = Path(home).expanduser()

    def history(_: str) -> Sequence[Event]:
        with EventStore.at_home(place) as store:
            return store.events()

    with open_catalogue(place) as catalogue:
        items = {item.id: item for item in catalogue}
    tuner = Tuner(Path(model).expanduser(), LoraShape(rank, alpha), soft_prompt, core=core)
    return LocalTrainer(tuner, items, history)
