"""Holds a device's update against the tensors of the round: names, shapes and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from federation.tensors import Part, Tensors, part

LARGEST = 1024.0
"""What an update's numbers, times its weight, may come to: far above any training's, and exact in `sums`."""

Arrays = dict[str, NDArray[np.float32]]


def trained_names(current: Tensors, parts: Iterable[Part]) -> tuple[str, ...]:
    """The names in ``current`` of ``parts``, in order; ValueError where there are none."""
    wanted = frozenset(parts)
    names = tuple(name for name in sorted(current) if part(name) in wanted)
    if not names:
        raise ValueError(f"none of the tensors is of the parts {', '.join(sorted(wanted))}: there is nothing to train")
    return names


def checked(update: Tensors, shapes: Mapping[str, tuple[int, ...]], weight: int = 1) -> Arrays:
    """``update`` in float32, when it has just the names and shapes of ``shapes``; ValueError, naming the tensor."""
    if weight < 1:
        raise ValueError(f"an update's weight is 1 or more, not {weight}")
    if wrong := sorted(update.keys() ^ shapes.keys()):
        trouble = "is not trained in this round" if wrong[0] in update else "is missing"
        raise ValueError(f"{wrong[0]!r} {trouble}")
    found: Arrays = {}
    for name, shape in shapes.items():
        array = np.asarray(update[name])
        if array.shape != shape:
            raise ValueError(f"{name!r} has the shape {array.shape}, not {shape}")
        found[name] = finite(name, array, weight)
    return found


def finite(name: str, array: NDArray[np.floating], weight: int = 1) -> NDArray[np.float32]:
    """``array`` in float32; ValueError where it is not of finite numbers of which ``weight`` can be added."""
    if array.dtype.kind != "f":
        raise ValueError(f"{name!r} holds {array.dtype}, not floating-point numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"{name!r} holds numbers that are not finite")
    if array.size and np.abs(array).max() * weight > LARGEST:
        raise ValueError(f"{name!r} holds numbers above {LARGEST:g} in all: no training changes weights as much")
    return array.astype(np.float32)
