"""When a device may train, and when it must stop: the person's limits against what the machine says of itself.

Knows nothing of what is trained. All that is read of the machine is its battery, its processors' load and its memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

__all__ = ["BUSY_PERCENT", "Deadline", "Limits", "may_train", "must_stop"]

BUSY_PERCENT = 30.0
"""A machine whose processors are busier than this, in percent of all of them, is not idle."""

_SAMPLE_S = 0.3
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a person grants to training.

    At most ``seconds`` at a time; ``memory_mb`` MiB for the whole process, which must be free before it starts; only
    while nothing else keeps the machine busy, when ``idle_only``; also ``on_battery``, or with mains alone.
    """

    seconds: float = 600.0
    memory_mb: int = 2048
    idle_only: bool = True
    on_battery: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.memory_mb <= 0:
            raise ValueError("limits of time and memory are above 0")


@dataclass(frozen=True)
class Deadline:
    """A moment ``seconds`` after it was made, by ``clock``, which must never go backwards."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "started", self.clock())

    @property
    def left(self) -> float:
        """Seconds until then; 0 when it has passed."""
        return max(0.0, self.started + self.seconds - self.clock())

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return self.left == 0.0


def may_train(limits: Limits) -> str | None:
    """The reason why training may not start now, in words for the person, or None where it may.

    Takes 0.3 s where the machine must be idle: its load is measured, not remembered.
    """
    free = psutil.virtual_memory().available / _MIB
    if free < limits.memory_mb:
        return f"{free:,.0f} MiB of memory are free and training may need {limits.memory_mb:,}"
    if reason := _on_battery(limits):
        return reason
    if limits.idle_only and (load := psutil.cpu_percent(interval=_SAMPLE_S)) > BUSY_PERCENT:
        return f"the machine is busy: its processors are at {load:.0f} %, and idle is up to {BUSY_PERCENT:.0f} %"
    return None


def must_stop(limits: Limits, deadline: Deadline) -> str | None:
    """The reason why training that is under way must stop now, or None; cheap enough to ask between any two steps.

    The load of the machine is none: it is training's own.
    """
    if deadline.passed:
        return f"its {deadline.seconds:,.0f} s are over"
    used = psutil.Process().memory_info().rss / _MIB
    if used > limits.memory_mb:
        return f"it has {used:,.0f} MiB of memory and may have {limits.memory_mb:,}"
    return _on_battery(limits)


def _on_battery(limits: Limits) -> str | None:
    # Not every platform can tell; a machine without a battery is on mains.
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if limits.on_battery or battery is None or battery.power_plugged is not False:
        return None
    return f"the device runs on its battery, at {battery.percent:.0f} %"
