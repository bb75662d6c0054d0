"""The weights that travel between devices and server: their names and how they pair.

Names are PEFT's own, without the adapter's name, as `peft.get_peft_model_state_dict` gives them:
``…layers.0.self_attn.q_proj.lora_A.weight`` (rank, in) and ``….lora_B.weight`` (out, rank); the soft prompt is
`SOFT_PROMPT` (tokens, hidden). Knows neither torch nor Flower.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]
Part = Literal["A", "B", "core", "prompt"]

SOFT_PROMPT = "soft_prompt"
_A, _B, _CORE = ".lora_A.weight", ".lora_B.weight", ".lora_core.weight"


class Pair(NamedTuple):
    """The two factors of one module's LoRA: ``b`` @ ``a`` is its change of the module's weight, up to scale."""

    module: str
    a: str
    b: str


def part(name: str) -> Part:
    """What the tensor ``name`` is; ValueError for a name that no adapter has."""
    if name == SOFT_PROMPT:
        return "prompt"
    for suffix, found in ((_A, "A"), (_B, "B"), (_CORE, "core")):
        if name.endswith(suffix):
            return found  # type: ignore[return-value]
    raise ValueError(f"{name!r} is neither a LoRA factor nor the soft prompt")


def pairs(names: Iterable[str]) -> Iterator[Pair]:
    """The LoRA pairs among ``names``, in order; ValueError where a factor lacks its other."""
    present = set(names)
    for name in sorted(present):
        if name.endswith(_A):
            module = name.removesuffix(_A)
            if module + _B not in present:
                raise ValueError(f"{name!r} has no {module + _B!r} beside it")
            yield Pair(module, name, module + _B)
        elif name.endswith(_B) and name.removesuffix(_B) + _A not in present:
            raise ValueError(f"{name!r} has no {name.removesuffix(_B) + _A!r} beside it")


def plain(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """The LoRA pairs of ``tensors`` alone, with a core between them (Fed-SB) taken into B."""
    found = {}
    for pair in pairs(name for name in tensors if part(name) in {"A", "B"}):
        core = tensors.get(pair.module + _CORE)
        b = tensors[pair.b]
        found[pair.a], found[pair.b] = tensors[pair.a], b if core is None else b @ core
    return found
