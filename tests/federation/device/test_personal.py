"""The personal pair: better than without it or not kept, resumable to the bit, bounded, and in nothing that is sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from flwr.common.serde import recorddict_to_proto

from federation.device.base import Event
from federation.device.dual import Ground, Personal, PersonalFiles, concatenated, concatenated_shape
from federation.device.experience import Experience, lessons
from federation.device.limits import Limits
from federation.device.personal import EVERY, VALIDATIONS, Outcome, mean_loss, settle, train_personal
from federation.device.records import Impression, Judgement, Reply
from federation.device.training import LocalTrainer
from federation.device.tuner import Tuner
from federation.lora import LoraShape
from federation.rounds import wire
from federation.rounds.trainer import TrainConfig
from federation.tensors import SOFT_PROMPT
from tests.federation.device.making import ITEMS, history, random_like, tiny

SHARED, OWN = LoraShape(2, 4.0), LoraShape(3, 6.0)
GROUND = Ground("b" * 64, "d" * 64, "global")
ANYTIME = Limits(memory_mb=1 << 20, idle_only=False, on_battery=True)
CONFIG = TrainConfig(0, 0, frozenset({"A", "B", "prompt"}), OWN.scale, 2 * EVERY, 2, 0.005)
SECRET = "I cried at the ending with Katharina"
PAST = Experience(
    sorted([*history(), Event(3.5, "i2", "liked")]),
    [Impression(3.5, {"about": SECRET}, ("i1", "i2"), ("i1", "i2"), "r1", Reply("recommend", SECRET, f"[1] {SECRET}"))],
    [Judgement(3.5, "liked", "i2", "r1")],
)
FOUND = lessons(PAST, ITEMS, "own", [0], negatives=2, validations=VALIDATIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("personal"))


def stacked(folder: Path) -> Tuner:
    """A personal adapter, not trained, on a shared one."""
    tuner = Tuner(folder, SHARED, 2)
    tuner.put(random_like(tuner.initial(0), 1, 0.1))
    tuner.stack(OWN, 1)
    return tuner


@pytest.fixture(scope="module")
def tuner(folder: Path) -> Tuner:
    return stacked(folder)


def trained(tuner: Tuner, folder: Path, limits: Limits = ANYTIME, **changes: object) -> Outcome:
    given = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    return train_personal(tuner, FOUND, GROUND, given, PersonalFiles(folder), limits)


def stopping_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Has the limits say stop when they are asked before these steps, counted over all calls."""
    asked = iter(range(10_000))
    stop: Sequence[int] = steps
    monkeypatch.setattr(
        "federation.device.personal.must_stop", lambda *_: "its 9 s are over" if next(asked) in stop else None
    )


def same(one: Personal | None, other: Personal | None) -> bool:
    assert one is not None
    assert other is not None
    alike = dataclasses.replace(one, tensors={}) == dataclasses.replace(other, tensors={})
    return alike and all(np.array_equal(other.tensors[name], tensor) for name, tensor in one.tensors.items())


def test_the_pair_of_the_lowest_validation_loss_is_kept_and_the_shared_one_left_as_it_is(tuner: Tuner, tmp_path: Path):
    below = tuner._adapters[0].taken()
    outcome = trained(tuner, tmp_path / "own")
    personal = outcome.personal
    assert personal is not None
    assert (outcome.steps, outcome.stopped) == (2 * EVERY, None)
    assert personal.loss < personal.without == mean_loss(tuner, FOUND.validations, 1)
    assert all(np.array_equal(tuner._adapters[0].taken()[name], one) for name, one in below.items())
    assert same(PersonalFiles(tmp_path / "own").load(), personal)
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "own", *(tmp_path / "own").iterdir()]} == {0}
    assert not list((tmp_path / "own").glob("training*"))
    # What it is said to be worth, it is as one adapter too; and its soft prompt alone.
    whole = Tuner(tuner.tokenizer.name_or_path, concatenated_shape(SHARED, OWN), 3)
    whole.put(concatenated(below, personal.tensors, SHARED.scale, personal.shape.scale))
    assert mean_loss(whole, FOUND.validations) == pytest.approx(personal.loss, abs=1e-4)
    prompt_only = Tuner(tuner.tokenizer.name_or_path, SHARED, 3)
    prompt_only.put({**below, SOFT_PROMPT: np.concatenate([below[SOFT_PROMPT], personal.tensors[SOFT_PROMPT]])})
    assert mean_loss(prompt_only, FOUND.validations) == pytest.approx(personal.prompt_loss, abs=1e-4)


def test_nothing_that_is_no_better_is_kept(tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    PersonalFiles(tmp_path).save(Personal(random_like(tuner.initial(0), 1), 6.0, GROUND, 5, 1.25, 1.5, 1.5))
    monkeypatch.setattr("federation.device.personal.mean_loss", lambda *_: 1.0)
    outcome = trained(tuner, tmp_path, steps=1)
    assert (outcome.personal, outcome.steps, outcome.stopped) == (None, 1, None)
    assert not list(tmp_path.iterdir())


def test_a_training_that_was_stopped_and_killed_ends_with_the_same_bits(
    folder: Path, tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = trained(tuner, tmp_path / "whole").personal
    with monkeypatch.context() as patch:
        stopping_at(patch, 0, 4)
        first, second = (trained(tuner, tmp_path / "parts") for _ in range(2))
        assert [(one.personal, one.steps, one.stopped) for one in (first, second)] == [
            (None, 0, "its 9 s are over"),
            (None, 3, "its 9 s are over"),
        ]

        def killed(steps: int) -> None:
            if steps == EVERY + 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_personal(tuner, FOUND, GROUND, CONFIG, PersonalFiles(tmp_path / "parts"), ANYTIME, killed)
    # In a process of its own, as far as a model goes.
    assert same(whole, trained(stacked(folder), tmp_path / "parts").personal)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_training_of_another_kind_or_damaged_is_begun_anew(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
):
    stopping_at(monkeypatch, 2, 4)
    trained(tuner, tmp_path)
    if damaged:
        (path,) = tmp_path.glob("training-*")
        path.write_bytes(path.read_bytes()[:-4])
    # One step before the second stop: it did not begin behind the first.
    assert trained(tuner, tmp_path, seed=CONFIG.seed if damaged else 1).steps == 1


def test_the_limits_are_asked_before_every_step(tuner: Tuner, tmp_path: Path):
    outcome = trained(tuner, tmp_path, dataclasses.replace(ANYTIME, memory_mb=1))
    assert outcome.steps == 0
    assert "MiB of memory and may have 1" in (outcome.stopped or "")


def test_the_cohort_of_lowest_validation_loss_is_stood_on(folder: Path):
    tuner = Tuner(folder, SHARED)
    start = tuner.initial(0)
    cohorts = {"global": random_like(start, 3, 0.5), "c0": start, "c1": random_like(start, 4, 0.5)}
    losses = {}
    for name, tensors in cohorts.items():
        tuner.put(tensors)
        losses[name] = mean_loss(tuner, FOUND.validations)
    chosen = settle(tuner, cohorts, FOUND.validations)
    assert losses[chosen] == min(losses.values())
    assert all(np.array_equal(tuner.taken()[name], one) for name, one in cohorts[chosen].items())


def test_what_a_round_sends_holds_nothing_of_the_pair_nor_of_the_store(tuner: Tuner, folder: Path, tmp_path: Path):
    personal = trained(tuner, tmp_path).personal
    assert personal is not None
    shared = Tuner(folder, SHARED, 2)
    start = random_like(shared.initial(0), 1, 0.1)
    reply = LocalTrainer(shared, ITEMS, lambda _: PAST, negatives=2).train(
        "own", {"global": start}, dataclasses.replace(CONFIG, steps=2)
    )
    shapes = {name: one.shape for name, one in reply.update.items()}
    assert shapes == {name: one.shape for name, one in start.items()}
    sent = recorddict_to_proto(wire.reply(reply)).SerializeToString()
    assert all(one.tobytes() in sent for one in reply.update.values())
    rows = [row.tobytes() for one in personal.tensors.values() for row in np.atleast_2d(one) if row.any()]
    assert not any(row in sent for row in rows)
    told = [SECRET, "Katharina", "horror", "liked", "recommend", *(item.title for item in ITEMS.values())]
    assert not [one for one in told if one.encode() in sent]
