"""Weights of a release as bytes: float32 safetensors, read from memory so that what was hashed is what is read.

Knows the file format and nothing of releases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from federation.releases.errors import NotSafetensors, WrongShape

__all__ = ["ItemVectors", "items_from_bytes", "items_to_bytes", "tensors_from_bytes", "tensors_to_bytes"]

_VECTORS, _IDS = "vectors", "ids"
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


@dataclass(frozen=True)
class ItemVectors:
    """Vectors of items that the federation learned: ``vectors`` float32 (items, width), in order of ``ids``."""

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.ids) or not self.ids:
            raise ValueError(f"{len(self.ids)} items need as many vectors, not the shape {self.vectors.shape}")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an item has two vectors")


def tensors_to_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A safetensors file of float32 ``tensors``; the same for the same tensors."""
    # As PEFT writes it: transformers reads the metadata.
    ordered = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in sorted(tensors)}
    return bytes(save(ordered, metadata={"format": "pt"}))


def tensors_from_bytes(data: bytes, what: str) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file, which errors call ``what``.

    NotSafetensors where it is none; WrongShape for another type than float32.
    """
    tensors = _read(data, what)
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise WrongShape(f"{what}: {name} is not float32.")
    return tensors


def items_to_bytes(items: ItemVectors) -> bytes:
    """A safetensors file of ``vectors`` and ``ids``, the latter a JSON list as bytes."""
    ids = np.frombuffer(json.dumps(list(items.ids), ensure_ascii=False).encode(), dtype=np.uint8)
    return bytes(save({_VECTORS: np.ascontiguousarray(items.vectors, dtype=np.float32), _IDS: ids}))


def items_from_bytes(data: bytes, what: str) -> ItemVectors:
    """What `items_to_bytes` wrote; NotSafetensors or WrongShape where ``data`` is something else."""
    tensors = _read(data, what)
    try:
        ids, vectors = json.loads(tensors[_IDS].tobytes()), tensors[_VECTORS]
        if len(tensors) != 2 or vectors.dtype != np.float32 or not all(isinstance(one, str) for one in ids):
            raise ValueError("it holds other tensors")
        return ItemVectors(tuple(ids), vectors)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise WrongShape(f"{what} holds no item vectors: {error}.") from error


def _read(data: bytes, what: str) -> dict[str, NDArray[Any]]:
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise NotSafetensors(f"{what} is not safetensors: {error}. Nothing else is ever read.") from error
    tensors = {}
    for name, one in found:
        dtype = _DTYPES.get(one["dtype"])
        if dtype is None:
            raise WrongShape(f"{what}: {name} has the type {one['dtype']}; weights are float32.")
        tensors[name] = np.frombuffer(one["data"], dtype=dtype).reshape(one["shape"])
    return tensors
