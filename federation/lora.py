"""The shape of an adapter: what a release's manifest says of its LoRA and its soft prompt's model must agree with."""

from __future__ import annotations

from dataclasses import dataclass

TARGETS = ("q_proj", "v_proj")


@dataclass(frozen=True)
class LoraShape:
    """A LoRA of ``rank`` on the modules ``targets``; its change of a weight is ``alpha`` / ``rank`` * B A."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not self.targets:
            raise ValueError(f"{self} is no LoRA: rank and alpha must be above 0, and it needs modules")

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.rank
