"""What an item's own facts say of it: genres and year, as arrays. Knows nothing of who met it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.item import Item

__all__ = ["Content", "content"]


@dataclass(frozen=True)
class Content:
    """``genres`` float32 (items, genres) of length 1 or 0; ``years`` float32 (items,) at mean 0 and deviation 1."""

    genres: NDArray[np.float32]
    years: NDArray[np.float32]


def content(items: Mapping[str, Item], order: Sequence[str]) -> Content:
    """The content of ``items`` in ``order`` of their ids; an item of unknown year has the mean year."""
    names = sorted({genre for item in order for genre in items[item].genres})
    place = {name: column for column, name in enumerate(names)}
    genres = np.zeros((len(order), max(len(names), 1)), dtype=np.float32)
    for row, item in enumerate(order):
        genres[row, [place[genre] for genre in items[item].genres]] = 1
    genres /= np.maximum(np.linalg.norm(genres, axis=1, keepdims=True), 1)
    years = np.array([items[item].year or np.nan for item in order], dtype=np.float64)
    known = years[np.isfinite(years)]
    middle, deviation = (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)
    standard = np.nan_to_num((years - middle) / deviation)
    return Content(genres, standard.astype(np.float32))
