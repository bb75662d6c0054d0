"""The algorithms by name, and which combinations are refused, with the reason."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from federation.aggregation.base import Aggregation
from federation.aggregation.fed_sb import FedSb
from federation.aggregation.fedit import FedIt
from federation.aggregation.ffa_lora import FfaLora
from federation.aggregation.krum import Krum
from federation.aggregation.median import Median
from federation.aggregation.norm_bounding import NormBounding
from federation.aggregation.rolora import RoLora
from federation.aggregation.soft_prompt import SoftPrompt
from federation.aggregation.stack_svd import StackSvd
from federation.aggregation.trimmed_mean import TrimmedMean

_ALL = (FfaLora, RoLora, FedIt, StackSvd, FedSb, SoftPrompt, Median, TrimmedMean, Krum, NormBounding)
_BY_NAME: dict[str, Any] = {made.name: made for made in _ALL}
NAMES: tuple[str, ...] = tuple(_BY_NAME)
DEFAULT = NAMES[0]


class Incompatible(ValueError):
    """A combination that would not do what it says; the message names what, why, and what to choose instead."""


def options(name: str) -> tuple[str, ...]:
    """The options of the algorithm ``name``; ValueError for another name."""
    return tuple(field.name for field in fields(_made(name)))


def create(name: str, **given: Any) -> Aggregation:
    """The algorithm ``name``; ValueError for another name, option or value."""
    known = options(name)
    if unknown := sorted(given.keys() - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}: it takes {', '.join(known) or 'none'}")
    return cast("Aggregation", _made(name)(**given))


def check(
    aggregation: Aggregation,
    *,
    secure_aggregation: bool = False,
    noise: bool = False,
    mixed_ranks: bool = False,
    robust: bool = False,
    optimizer: str = "fedavg",
    devices: int | None = None,
) -> None:
    """Incompatible where ``aggregation`` cannot be combined with what is wanted, with ``devices`` in a round."""
    if robust and secure_aggregation:
        raise Incompatible(
            "Robust aggregation does not go with secure aggregation: whoever guards against lying devices must see "
            "each update by itself. Choose one of them; updates clipped on the devices hold honest ones to a bound."
        )
    wanted = {"secure_aggregation": secure_aggregation, "noise": noise, "mixed_ranks": mixed_ranks, "robust": robust}
    for name, is_wanted in wanted.items():
        if is_wanted and not getattr(aggregation.compatibility, name):
            why = aggregation.compatibility.why.get(name, "it was not made for it")
            raise Incompatible(f"{aggregation.name} does not go with {name.replace('_', ' ')}: {why}.")
    if aggregation.name == "stack-svd" and optimizer != "fedavg":
        raise Incompatible(
            f"stack-svd does not go with {optimizer}: its factors turn from round to round, so their change is no "
            "gradient. Choose fedavg, or ffa-lora."
        )
    if devices is not None and devices < (needed := fewest(aggregation)):
        raise Incompatible(
            f"{aggregation} needs {needed} devices in a round and {devices} are sampled: sample more, or lower liars "
            "and keep."
        )


def fewest(aggregation: Aggregation) -> int:
    """How many updates ``aggregation`` needs to come to a result."""
    return aggregation.fewest if isinstance(aggregation, Krum) else 1


def _made(name: str) -> Any:
    if name not in _BY_NAME:
        raise ValueError(f"there is no aggregation {name!r}: choose one of {', '.join(NAMES)}")
    return _BY_NAME[name]
