"""What changed between two releases: what they are made of, and how far each cohort's weights moved.

LoRA is compared by what it does to a module, alpha / rank * B A, since many pairs of factors do the same; the products
are never formed, so a comparison costs the factors' size times the rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.lora import LoraShape
from federation.releases.verify import Release
from federation.tensors import SOFT_PROMPT, Tensors, pairs

__all__ = ["Moved", "ReleaseDiff", "diff"]


@dataclass(frozen=True)
class Moved:
    """How far one part of a cohort moved: Frobenius norms ``before``, ``after`` and of the ``change`` between.

    ``tensor`` is a module, for its LoRA's product, or ``soft_prompt``. Norms are 0 where a release lacks the part;
    ``cosine`` is None where one is.
    """

    cohort: str
    tensor: str
    before: float
    after: float
    change: float
    cosine: float | None


@dataclass(frozen=True)
class ReleaseDiff:
    """``facts`` are the manifest's values that differ, each before and after; ``moved`` is every part of a cohort."""

    before: str
    after: str
    facts: dict[str, tuple[object, object]]
    moved: tuple[Moved, ...]


def diff(before: Release, after: Release) -> ReleaseDiff:
    """What changed from ``before`` to ``after``. ValueError where their modules or soft prompts have other widths."""
    moved = []
    for cohort in sorted(before.cohorts.keys() | after.cohorts.keys()):
        old = dict(_parts(before.cohorts.get(cohort, {}), before.manifest.lora))
        new = dict(_parts(after.cohorts.get(cohort, {}), after.manifest.lora))
        moved += [_moved(cohort, name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]
    return ReleaseDiff(before.digest, after.digest, _facts(before, after), tuple(moved))


@dataclass(frozen=True)
class _Product:
    """The matrix ``left`` @ ``right``, which is not formed."""

    left: NDArray[np.float64]
    right: NDArray[np.float64]

    def dot(self, other: _Product) -> float:
        """The sum of the products of the two matrices' entries."""
        return float(np.sum((self.left.T @ other.left) * (self.right @ other.right.T)))


def _parts(tensors: Tensors, lora: LoraShape) -> Iterator[tuple[str, _Product]]:
    for pair in pairs(name for name in tensors if name != SOFT_PROMPT):
        yield pair.module, _Product(tensors[pair.b] * np.float64(lora.scale), tensors[pair.a].astype(np.float64))
    if SOFT_PROMPT in tensors:
        prompt = tensors[SOFT_PROMPT].astype(np.float64)
        yield SOFT_PROMPT, _Product(np.eye(len(prompt)), prompt)


def _moved(cohort: str, name: str, old: _Product | None, new: _Product | None) -> Moved:
    before = old.dot(old) if old else 0.0
    after = new.dot(new) if new else 0.0
    # Soft prompts of another length have no common entries: that is a new one.
    comparable = old is not None and new is not None and (name != SOFT_PROMPT or old.left.shape == new.left.shape)
    both = old.dot(new) if comparable and old and new else 0.0
    norms = math.sqrt(before * after)
    cosine = min(1.0, max(-1.0, both / norms)) if norms else None
    change = math.sqrt(max(0.0, before + after - 2 * both))
    return Moved(cohort, name, math.sqrt(before), math.sqrt(after), change, cosine)


def _facts(before: Release, after: Release) -> dict[str, tuple[object, object]]:
    old, new = (
        {
            "base": release.manifest.base.digest,
            "rank": release.manifest.lora.rank,
            "alpha": release.manifest.lora.alpha,
            "modules": list(release.manifest.lora.targets),
            "cohorts": sorted(release.cohorts),
            "soft_prompts": release.manifest.soft_prompts,
            "items": len(release.items.ids) if release.items else 0,
            "rounds": len(release.manifest.rounds),
            "parent": release.manifest.parent,
        }
        for release in (before, after)
    )
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}
