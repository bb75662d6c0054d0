"""How a run of rounds goes: everything that decides its result besides the devices' histories."""

from __future__ import annotations

from typing import Annotated, Any, Self

import pydantic
from pydantic import ConfigDict, Field, JsonValue

from federation.aggregation import optimizers, registry
from federation.aggregation.base import Aggregation
from federation.aggregation.optimizers import ServerOptimizer
from federation.lora import LoraShape
from federation.rounds.trainer import TrainConfig


class Plan(pydantic.BaseModel):
    """A run. ``sampled`` devices are asked in each round, ``fewest`` must answer within ``deadline`` seconds.

    With ``cohorts`` above 1, the first half of the rounds trains one set of weights for everyone; then as many cohorts
    begin from it, and devices choose. A cohort that fewer than ``floor`` devices chose in the last round does not ship.
    ``heaviest`` bounds how much one device's examples weigh; 1 weighs all devices alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: Annotated[int, Field(ge=1, le=100_000)] = 5
    sampled: Annotated[int, Field(ge=1)] = 20
    fewest: Annotated[int, Field(ge=1)] = 2
    deadline: Annotated[float, Field(gt=0)] = 600.0
    aggregation: str = registry.DEFAULT
    aggregation_options: dict[str, JsonValue] = Field(default_factory=dict)
    optimizer: str = "fedavg"
    optimizer_options: dict[str, JsonValue] = Field(default_factory=dict)
    heaviest: Annotated[int, Field(ge=1)] = 64
    rank: Annotated[int, Field(ge=1, le=512)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    soft_prompt: Annotated[int, Field(ge=0, le=256)] = 4
    cohorts: Annotated[int, Field(ge=1, le=64)] = 1
    floor: Annotated[int, Field(ge=1)] = 5
    steps: Annotated[int, Field(ge=1)] = 8
    batch: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    proximal: Annotated[float, Field(ge=0)] = 0.0
    seconds: Annotated[float, Field(gt=0)] = 600.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.fewest > self.sampled:
            raise ValueError(f"{self.fewest} devices cannot answer where {self.sampled} are asked")
        registry.check(self.algorithm, optimizer=self.optimizer, devices=self.sampled)
        optimizers.create(self.optimizer, **self.optimizer_options)
        return self

    @property
    def lora(self) -> LoraShape:
        """The adapters' shape."""
        return LoraShape(self.rank, self.alpha)

    @property
    def algorithm(self) -> Aggregation:
        """The aggregation, configured."""
        return registry.create(self.aggregation, **self.aggregation_options)

    @property
    def needed(self) -> int:
        """How many devices must answer in a round: ``fewest``, and as many as the aggregation needs."""
        return max(self.fewest, registry.fewest(self.algorithm))

    @property
    def server_optimizer(self) -> ServerOptimizer:
        """The server's optimizer, configured."""
        return optimizers.create(self.optimizer, **self.optimizer_options)

    def begins_cohorts(self, number: int) -> bool:
        """Whether the cohorts begin with round ``number``, counted from 1."""
        return self.cohorts > 1 and number == self.rounds // 2 + 1

    def training(self, number: int) -> TrainConfig:
        """What devices are asked in round ``number``."""
        shared: dict[str, Any] = {
            name: getattr(self, name) for name in ("steps", "batch", "learning_rate", "proximal", "seconds", "seed")
        }
        return TrainConfig(number=number, parts=self.algorithm.trained(number), scale=self.lora.scale, **shared)
