"""A device's own trainer learns from what its store holds at the time of each round."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.device.base import Event
from federation.device.store import EventStore
from federation.device.training import device_trainer
from federation.rounds.trainer import TrainConfig
from retrieval.bundled import bundled_items
from tests.federation.device.making import at_ease, tiny

CONFIG = TrainConfig(1, 0, frozenset({"B", "prompt"}), 2.0, 1, 2, 0.01)


def test_a_device_trains_on_its_own_store_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = device_trainer(
        str(tmp_path), str(tiny(tmp_path)), rank=2, alpha=4.0, soft_prompt=1, limits=at_ease(monkeypatch)
    )
    start = {"global": made.initial(0)}
    with pytest.raises(ValueError, match="three"):
        made.train("1", start, CONFIG)
    events = [Event(float(at), item.id, "liked") for at, item in zip(range(9), bundled_items(), strict=False)]
    found = []
    for count in (8, 9):
        with EventStore.at_home(tmp_path) as store:
            store.add_events(events[:count])
        found.append(made.train("1", start, CONFIG).metrics)
    assert [one["activity"] for one in found] == [8.0, 9.0]
    # Before anything was learned, everyone's weights and the base model differ by the soft prompt alone.
    assert found[0]["base_loss"] != found[1]["base_loss"]
