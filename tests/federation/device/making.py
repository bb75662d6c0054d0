"""A small catalogue, a person's history and a tiny model, for tests of the device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from federation.device.base import Event
from federation.tensors import Tensors
from retrieval.item import Item
from tests.engine.models import make_model

GENRES = ("horror", "comedy", "western", "musical")
ITEMS = {
    f"i{at}": Item(id=f"i{at}", title=f"Film {at}", year=1950 + at, genres=(GENRES[at % len(GENRES)],))
    for at in range(40)
}


def history(genre: int = 0, count: int = 8) -> tuple[Event, ...]:
    """A person who meets items of one genre, oldest first."""
    return tuple(Event(float(at), f"i{genre + len(GENRES) * at}", "liked") for at in range(count))


def tiny(folder: Path) -> Path:
    """A random model of two layers."""
    return make_model(folder / "model")


def at_ease(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Has the machine have memory for everything, and returns limits that grant all else too."""
    free = SimpleNamespace(available=1 << 50)
    monkeypatch.setattr("federation.device.limits.psutil.virtual_memory", lambda: free)
    return {"idle_only": False, "on_battery": True, "memory_mb": 1 << 20}


def random_like(tensors: Tensors, seed: int, scale: float = 0.3) -> dict[str, np.ndarray]:
    """Weights of the shapes of ``tensors`` that change the model's answers."""
    draw = np.random.default_rng(seed)
    return {name: (scale * draw.normal(size=one.shape)).astype(np.float32) for name, one in tensors.items()}
