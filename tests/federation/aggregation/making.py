"""Small adapters and updates, drawn from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.aggregation.layout import trained_names
from federation.tensors import Part, Tensors

OUT, INTO, RANK, MODULES = 5, 7, 3, ("m0", "m1")
Arrays = dict[str, NDArray[np.float32]]


def adapter(seed: int = 0, rank: int = RANK, *, core: bool = False) -> Arrays:
    """Two modules of LoRA factors, and a soft prompt of two tokens."""
    draw = np.random.default_rng(seed)
    found: Arrays = {"soft_prompt": draw.normal(size=(2, 4)).astype(np.float32)}
    for module in MODULES:
        found[f"{module}.lora_A.weight"] = draw.normal(size=(rank, INTO)).astype(np.float32)
        found[f"{module}.lora_B.weight"] = draw.normal(size=(OUT, rank)).astype(np.float32)
        if core:
            found[f"{module}.lora_core.weight"] = draw.normal(size=(rank, rank)).astype(np.float32)
    return found


def change(current: Tensors, parts: frozenset[Part], seed: int, scale: float = 1.0) -> Arrays:
    """An update of ``parts``."""
    draw = np.random.default_rng(1000 + seed)
    return {
        name: (scale * draw.normal(size=current[name].shape)).astype(np.float32)
        for name in trained_names(current, parts)
    }
