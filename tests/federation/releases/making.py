"""Small releases, right and wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from federation.lora import LoraShape
from federation.releases.base import BaseModel
from federation.releases.layout import MANIFEST
from federation.releases.manifest import Manifest
from federation.releases.package import write_release
from federation.releases.weights import ItemVectors

HIDDEN, RANK = 8, 2
BASE = BaseModel("b" * 64, HIDDEN, "tiny")
LORA = LoraShape(RANK, 4.0)
MODULES = {
    f"base_model.model.model.layers.{layer}.self_attn.{name}": (out, HIDDEN)
    for layer in range(2)
    for name, out in (("q_proj", 8), ("v_proj", 4))
}
ROUNDS = [{"round": 1, "replied": 20, "epsilon": None, "ndcg": 0.25, "cohorts": {"c0": 9, "c1": 11}}]
ITEMS = ItemVectors(("tt1", "tt2"), np.arange(6, dtype=np.float32).reshape(2, 3))


def weights(seed: int, *, rank: int = RANK, tokens: int = 3) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    found = {}
    for module, (out, into) in MODULES.items():
        found[f"{module}.lora_A.weight"] = draw.normal(size=(rank, into)).astype(np.float32)
        found[f"{module}.lora_B.weight"] = draw.normal(size=(out, rank)).astype(np.float32)
    if tokens:
        found["soft_prompt"] = draw.normal(size=(tokens, HIDDEN)).astype(np.float32)
    return found


def make(folder: Path, seed: int = 0, **changes: Any) -> Manifest:
    """A release with a global cohort, another one and item vectors."""
    given = {"lora": LORA, "base": BASE, "rounds": ROUNDS, "items": ITEMS, **changes}
    cohorts = given.pop("cohorts", {"global": weights(seed), "c0": weights(seed + 1000, tokens=0)})
    return write_release(folder, cohorts, **given)


def replace_file(folder: Path, path: str, data: bytes) -> None:
    """Puts ``data`` at ``path`` and makes the manifest fit it, as whoever forges a release would."""

    def listed(content: dict[str, Any]) -> None:
        for file in content["files"]:
            if file["path"] == path:
                file |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    (folder / path).write_bytes(data)
    forge(folder, listed)


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and gives it the digest that then fits."""
    content = json.loads((folder / MANIFEST).read_bytes())
    change(content)
    del content["digest"]
    (folder / MANIFEST).write_bytes(Manifest.model_validate_json(json.dumps(content)).to_bytes())
