"""Which cohort a device belongs to: that whose weights explain its own held-out choice best (IFCA, Ghosh et al. 2020).

The device decides, from losses that it alone knows.
"""

from __future__ import annotations

from collections.abc import Mapping

GLOBAL = "global"


def choose(losses: Mapping[str, float]) -> str:
    """The cohort of lowest loss; of equals `GLOBAL`, then by name. ValueError without any."""
    if not losses:
        raise ValueError("there is no cohort to choose")
    return min(losses, key=lambda name: (losses[name], name != GLOBAL, name))
