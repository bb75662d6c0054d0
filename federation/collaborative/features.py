"""What a device works out about every item from its own history and what is shared; none of it leaves the device.

The personal parameters of the collaborative model are here: the recency-weighted history on each link, and the
device's own levels of popularity, year and genre. Knows nothing of how features are weighed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.collaborative.content import Content
from federation.collaborative.models import Shared
from federation.evaluation.protocol import Integers

__all__ = ["BASE", "COLUMNS", "GLOBAL", "features"]

_ALWAYS = float("inf")
_LINKED = (
    ("near", 2.0),
    ("near", 5.0),
    ("near", _ALWAYS),
    ("ease", 20.0),
    ("ease", _ALWAYS),
    ("taste", _ALWAYS),
    ("soon", 2.0),
    ("next", 5.0),
    ("later", 5.0),
)
"""A link and the half-life of the history on it, in items."""

BASE = ("genres lately", "genres", "year")
GLOBAL = (*BASE, "new", "popularity")
_LEVELS = ("popularity level", "popularity distance", "popularity × activity", "new level")
COLUMNS = (*GLOBAL, *_LEVELS, *(f"{link} {half:g}" for link, half in _LINKED))

_RECENT = 10.0
_BOUND = 8.0
_FAINT = 1e-3
_TYPICAL = 50.0

Features = NDArray[np.float32]


def features(history: Integers, shared: Shared, content: Content) -> Features:
    """The `COLUMNS` of every item for a device with ``history``, oldest first: float32 (items, columns) within ±8.

    Scores of links are taken as logarithms, above a thousandth of the greatest, since a softmax weighs them; those and
    genres are then at mean 0 and deviation 1 over the items of this device.
    """
    lately = _recency(len(history), _RECENT)
    likeness = content.genres @ content.genres[history].T  # (items, n)
    year = float(lately @ content.years[history])
    level = float(lately @ shared.popularity[history])
    known = [
        _standard(likeness @ lately),
        _standard(likeness.mean(axis=1)),
        -np.abs(content.years - year),
        content.years,
        shared.popularity,
        shared.popularity * level,
        -((shared.popularity - level) ** 2),
        shared.popularity * np.log(len(history) / _TYPICAL),
        content.years * year,
    ]
    linked = [_standard(_logarithm(one)) for one in _linked(history, shared)]
    return np.clip(np.stack([*known, *linked], axis=1), -_BOUND, _BOUND).astype(np.float32)


def _linked(history: Integers, shared: Shared) -> list[NDArray[np.float32]]:
    """The history on each link: (items,) each, 0 for items outside the vocabulary."""
    rows = shared.vocabulary.places(history)
    found = []
    for link, half in _LINKED:
        weights = _recency(len(rows), half).astype(np.float32)
        scores = np.zeros(shared.vocabulary.size, dtype=np.float32)
        scores[shared.vocabulary.numbers] = weights @ shared.links[link][rows]
        found.append(scores)
    return found


def _recency(length: int, half: float) -> NDArray[np.float64]:
    """Weights of a history (length,) that sum to 1: halved every ``half`` items back."""
    weights = 0.5 ** (np.arange(length)[::-1] / half)
    return weights / max(float(weights.sum()), 1e-12)


def _logarithm(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    greatest = float(scores.max())
    if greatest <= 0:
        return np.zeros_like(scores)
    logs: NDArray[np.float32] = np.log(np.maximum(scores, 0) + _FAINT * greatest)
    return logs


def _standard(values: NDArray[Any]) -> NDArray[Any]:
    standard: NDArray[Any] = (values - values.mean()) / max(float(values.std()), 1e-9)
    return standard
