"""Trainers of rounds: a device's history, split in time, becomes choices, and the tuner learns from them.

Nothing of the history leaves `LocalTrainer.train` but the change of the weights and figures of its validation event.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.device.cohorts import choose
from federation.device.examples import NEGATIVES, Example
from federation.device.experience import Experience, lessons
from federation.device.limits import Deadline, Limits, may_train, must_stop
from federation.device.population import devices, read_population
from federation.device.store import EventStore
from federation.device.tuner import REPLIES, Tuner
from federation.lora import LoraShape
from federation.rounds.trainer import Refused, TrainConfig, TrainReply
from federation.tensors import Tensors, part
from retrieval.bundled import open_catalogue
from retrieval.item import Item

_NEVER = Deadline(math.inf)


class LocalTrainer:
    """See `federation.rounds.trainer.Trainer`: trains the devices that ``experience`` knows, one at a time.

    Within ``limits``, where a person set any.
    """

    def __init__(
        self,
        tuner: Tuner,
        items: Mapping[str, Item],
        experience: Callable[[str], Experience],
        negatives: int = NEGATIVES,
        limits: Limits | None = None,
    ) -> None:
        self.tuner, self._items, self._experience, self._negatives = tuner, items, experience, negatives
        self._limits = limits
        self._base: dict[str, tuple[Example, tuple[float, float]]] = {}

    def initial(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """See `Tuner.initial`."""
        return self.tuner.initial(seed)

    def train(self, device: str, cohorts: Mapping[str, Tensors], config: TrainConfig) -> TrainReply:
        """See `Trainer.train`. Where the time of the limits is over, what was learned by then is sent."""
        started = time.perf_counter()
        if self._limits is not None:
            _refuse(may_train(self._limits))
            config = replace(config, seconds=min(config.seconds, self._limits.seconds))
        identity = zlib.crc32(device.encode())
        seed = [config.seed, identity, config.number]
        found = lessons(self._experience(device), self._items, device, seed, self._negatives)
        (validation,) = found.validations
        measured = {name: self._measured(tensors, validation) for name, tensors in sorted(cohorts.items())}
        cohort = choose({name: loss for name, (loss, _) in measured.items()})
        base_loss, base_ndcg = self._of_base(device, validation)
        self.tuner.put(cohorts[cohort])
        self.tuner.train(found.choices, config, [*seed, 1], replies=found.replies, before_step=self._asked)
        after = self.tuner.taken()
        update = {name: after[name] - cohorts[cohort][name] for name in after if part(name) in config.parts}
        loss, ndcg = measured[cohort]
        metrics = {
            "loss": loss,
            "ndcg": ndcg,
            "base_loss": base_loss,
            "base_ndcg": base_ndcg,
            "activity": float(found.events),
            "seconds": time.perf_counter() - started,
        }
        return TrainReply(cohort, update, len(found.choices), metrics)

    def _asked(self) -> None:
        """Refused where training must stop for another reason than time, which the tuner minds itself."""
        if self._limits is not None:
            _refuse(must_stop(self._limits, _NEVER))

    def _measured(self, tensors: Tensors, example: Example) -> tuple[float, float]:
        self.tuner.put(tensors)
        return quality(self.tuner.log_probabilities(example), example.chosen)

    def _of_base(self, device: str, example: Example) -> tuple[float, float]:
        """Of the base model, which never changes."""
        known = self._base.get(device)
        # A history grows, and its validation event with it.
        if known is None or known[0] != example:
            known = example, quality(self.tuner.log_probabilities(example, depth=0), example.chosen)
            self._base[device] = known
        return known[1]


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise Refused(f"the device does not train now: {reason}")


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

    def experience(device: str) -> Experience:
        if not device.isdecimal() or int(device) >= len(people):
            raise ValueError("the device is not of this population")
        return Experience(population.histories[people[int(device)]])

    tuner = Tuner(Path(model), LoraShape(rank, alpha), soft_prompt, core=core)
    return LocalTrainer(tuner, population.items, experience)


def device_trainer(
    home: str,
    model: str,
    rank: int = 8,
    alpha: float = 16.0,
    soft_prompt: int = 4,
    core: bool = False,
    replies: float = REPLIES,
    limits: Mapping[str, Any] | None = None,
) -> LocalTrainer:
    """Of the one person whose store and catalogue are in the folder ``home``; ``model`` is the base model's.

    ``replies`` is what a liked reply weighs; ``limits`` are fields of the person's `Limits`. The store is opened anew
    each round, so that what happened since counts.
    """
    place = Path(home).expanduser()

    def experience(_: str) -> Experience:
        with EventStore.at_home(place) as store:
            return Experience.of(store)

    with open_catalogue(place) as catalogue:
        items = {item.id: item for item in catalogue}
    tuner = Tuner(Path(model).expanduser(), LoraShape(rank, alpha), soft_prompt, core=core, replies=replies)
    return LocalTrainer(tuner, items, experience, limits=Limits(**(limits or {})))
