"""How much a device's update counts: by its examples, within a bound that no device can buy its way past."""

from __future__ import annotations


def bounded(examples: int, most: int) -> int:
    """The weight of an update from ``examples`` examples, 1 to ``most``; with ``most`` 1 all weigh the same."""
    if most < 1:
        raise ValueError(f"the largest weight is 1 or more, not {most}")
    return max(1, min(examples, most))
