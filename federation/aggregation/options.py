"""Holds the values of options, which come from a command line, against what an algorithm can use."""

from __future__ import annotations

import math
from typing import Any


def check_number(
    name: str, value: Any, *, least: float | None = None, above: float | None = None, below: float
) -> None:
    """ValueError, naming the option, unless ``value`` is a number in range; ``below`` infinity takes any finite one."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value < below
    if fits and (least is None or value >= least) and (above is None or value > above):
        return
    begins = f"above {above:g}" if above is not None else f"of {least:g} or more"
    ends = f" and below {below:g}" if math.isfinite(below) else ""
    raise ValueError(f"{name} is a finite number {begins}{ends}, not {value!r}")


def check_count(name: str, value: Any, *, least: int) -> None:
    """ValueError, naming the option, unless ``value`` is a whole number of ``least`` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is a whole number of {least} or more, not {value!r}")
