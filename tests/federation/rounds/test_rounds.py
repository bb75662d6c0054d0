"""Rounds over an in-process grid: they converge, drop stragglers, count failures, and give the same result again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from federation.aggregation.registry import NAMES
from federation.rounds import wire
from federation.rounds.carriers.inprocess import InProcessGrid
from federation.rounds.coordinator import GLOBAL, Round, State, Summary, TooFewDevices, sample
from federation.rounds.plan import Plan
from federation.rounds.server_app import serve
from federation.rounds.synthetic import trainer
from federation.rounds.trainer import Refused, TrainReply
from tests.federation.rounds.making import DEVICES, began, plan, run, same


def test_the_loss_falls_and_every_round_is_summed_up(tmp_path: Path):
    state = run(tmp_path, plan(rounds=6))
    losses = [summary["loss"] for summary in state.summaries]
    assert losses[-1] < 0.6 * losses[0]
    last = state.summaries[-1]
    assert (last["round"], last["asked"], last["answered"], last["dropped"], last["failed"]) == (6, 8, 8, 0, {})
    assert last["chosen"] == {GLOBAL: 8}
    assert last["residual"] == 0.0
    assert last["bytes_down"] > last["bytes_up"] > 0
    assert last["update_norm"] > 0
    assert len(last["ndcg_deciles"]) == 8


def test_the_same_plan_gives_the_same_weights_and_another_seed_others(tmp_path: Path):
    one, two, other = run(tmp_path / "1"), run(tmp_path / "2"), run(tmp_path / "3", plan(seed=1))
    assert same(one.cohorts[GLOBAL], two.cohorts[GLOBAL])
    assert not same(one.cohorts[GLOBAL], other.cohorts[GLOBAL])


@given(order=st.permutations(range(6)))
def test_the_order_of_answers_changes_no_bit(order: list[int]):
    made = trainer()
    states = [began(plan()), began(plan())]
    for state, places in zip(states, (range(6), order), strict=True):
        current = Round(state)
        for at in places:
            current.take(DEVICES[at], made.train(DEVICES[at], current.cohorts, current.config))
        current.close(6, 1.0)
    assert same(states[0].cohorts[GLOBAL], states[1].cohorts[GLOBAL])
    kept = [{**state.summaries[0], "device_seconds": 0} for state in states]
    assert kept[0] == kept[1]


@given(st.sets(st.integers(1, 10**6), max_size=50), st.integers(0, 100), st.integers(1, 60))
def test_a_sample_holds_no_device_twice_and_does_not_depend_on_their_order(nodes: set[int], number: int, most: int):
    given_plan = plan(sampled=most, fewest=1)
    found = sample(list(nodes), given_plan, number)
    assert len(found) == min(most, len(nodes)) == len(set(found))
    assert set(found) <= nodes
    assert found == sample(sorted(nodes, reverse=True), given_plan, number)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fed-sb"])  # synthetic adapters have no cores
def test_every_aggregation_runs(tmp_path: Path, name: str):
    options = {"krum": {"liars": 1, "keep": 3}}.get(name, {})
    state = run(tmp_path, plan(aggregation=name, aggregation_options=options))
    assert state.finished
    # A synthetic device's loss is of the factors themselves, which an SVD turns without changing their product.
    assert name == "stack-svd" or state.summaries[-1]["loss"] < state.summaries[0]["loss"]


@pytest.mark.parametrize("optimizer", ["fedavg", "fedadam"])
def test_server_optimizers_and_the_proximal_term_are_configuration(tmp_path: Path, optimizer: str):
    state = run(tmp_path, plan(optimizer=optimizer, proximal=0.1))
    assert state.summaries[-1]["loss"] < state.summaries[0]["loss"]
    assert bool(state.optimizer[GLOBAL]) == (optimizer == "fedadam")


def test_groups_of_devices_find_cohorts_of_their_own(tmp_path: Path):
    given_plan = plan(rounds=16, sampled=30, cohorts=2, floor=5)
    state = run(tmp_path, given_plan, groups=2)
    alone = run(tmp_path / "alone", plan(rounds=16, sampled=30), groups=2)
    assert [set(summary["chosen"]) for summary in state.summaries[:8]] == [{GLOBAL}] * 8
    assert state.summaries[-1]["loss"] < 0.7 * alone.summaries[-1]["loss"]
    assert set(state.shipped()) >= {GLOBAL}
    assert len(state.shipped()) >= 2


def test_a_cohort_below_the_floor_does_not_ship(tmp_path: Path):
    state = run(tmp_path, plan(rounds=16, sampled=30, cohorts=2, floor=31), groups=2)
    assert set(state.cohorts) == {GLOBAL, "c0", "c1"}
    assert set(state.shipped()) == {GLOBAL}


def test_devices_that_fail_are_counted_and_the_round_goes_on(tmp_path: Path):
    state = run(tmp_path, plan(rounds=1, sampled=30), broken=("d1", "d2"))
    assert state.summaries[0]["failed"] == {"broken off": 2}
    assert state.summaries[0]["answered"] == 28


def test_devices_whose_owners_limits_refuse_are_counted_and_do_not_tell_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, sent = trainer(), []

    class Limited:
        def train(self, device: str, *more: Any) -> TrainReply:
            if device in {"d1", "d2"}:
                raise Refused("the device runs on its battery, at 7 %")
            return made.train(device, *more)

    def answered(*of: Any, **more: Any) -> Message:
        sent.append(Message(*of, **more))
        return sent[-1]

    monkeypatch.setattr("federation.rounds.client_app.resident", lambda *_: Limited())
    monkeypatch.setattr("federation.rounds.client_app.Message", answered)
    state = run(tmp_path, plan(rounds=1, sampled=30))
    assert (state.summaries[0]["failed"], state.summaries[0]["answered"]) == ({"refused": 2}, 28)
    assert [one.error.reason for one in sent if one.has_error()] == ["the device does not train now"] * 2


def test_too_few_answers_end_the_run_with_the_reasons(tmp_path: Path):
    with pytest.raises(TooFewDevices, match="0 of 8 devices answered and 3 must .* 8 broken off"):
        run(tmp_path, broken=DEVICES)
    with pytest.raises(TooFewDevices, match="0 of 2 devices answered"):
        run(tmp_path, plan(deadline=0.5), DEVICES[:2])


def test_krum_needs_as_many_answers_as_its_proof_however_few_the_plan_takes(tmp_path: Path):
    krum = {"aggregation": "krum", "aggregation_options": {"liars": 2}}
    with pytest.raises(ValueError, match="needs 7 devices in a round and 6 are sampled"):
        plan(**krum, sampled=6)
    with pytest.raises(TooFewDevices, match="6 of 8 devices answered and 7 must"):
        run(tmp_path, plan(**krum), DEVICES[:8], broken=DEVICES[:2])


def test_a_cohort_that_too_few_chose_for_the_algorithm_rests():
    made, given_plan = trainer(), plan(aggregation="krum", cohorts=2, rounds=1)
    state = began(given_plan)
    current = Round(state)
    before = dict(current.cohorts)
    for at, device in enumerate(DEVICES[:8]):
        cohort = "c0" if at < 5 else "c1"
        current.take(device, made.train(device, {cohort: before[cohort]}, current.config))
    assert current.close(8, 1.0)["chosen"] == {"c0": 5, "c1": 3}
    assert same(state.cohorts["c1"], before["c1"])
    assert not same(state.cohorts["c0"], before["c0"])


def test_stragglers_are_dropped_at_the_deadline_and_reported(tmp_path: Path):
    state = run(tmp_path, plan(rounds=1, sampled=30, deadline=3.0), pause=0.25)
    summary = state.summaries[0]
    assert 3 <= summary["answered"] < 20
    assert summary["dropped"] == 30 - summary["answered"]


def test_hostile_answers_are_counted_and_change_nothing(tmp_path: Path):
    made = trainer()
    kinds = itertools.cycle(["good", "empty", "shape", "huge"])
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        cohorts, config = wire.read_request(message.content)
        found = made.train(str(context.node_config["partition-id"]), cohorts, config)
        kind = next(kinds)
        if kind == "empty":
            return Message(RecordDict(), reply_to=message)
        spoiled = {
            "shape": {name: array[:1] for name, array in found.update.items()},
            "huge": {name: array + 1e6 for name, array in found.update.items()},
        }
        found = type(found)(found.cohort, spoiled.get(kind, found.update), found.examples, found.metrics)
        return Message(wire.reply(found), reply_to=message)

    state = serve(InProcessGrid(app, DEVICES), began(plan(rounds=1, sampled=12)), tmp_path)
    assert state.summaries[0]["failed"] == {"malformed": 3, "refused": 6}
    assert state.summaries[0]["answered"] == 3


def test_whoever_watches_is_told_of_every_step(tmp_path: Path):
    told: list[tuple[str, int]] = []

    class Watch:
        def asked(self, number: int, devices: int) -> None:
            told.append(("asked", devices))

        def answered(self, done: int) -> None:
            told.append(("answered", done))

        def closed(self, state: State, summary: Summary) -> None:
            told.append(("closed", summary["round"]))

    run(tmp_path, plan(rounds=1, sampled=3), watcher=Watch())
    assert told == [("asked", 3), ("answered", 1), ("answered", 2), ("answered", 3), ("closed", 1)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"fewest": 30}, "cannot answer"),
        ({"aggregation": "fedprox"}, "ffa-lora"),
        ({"aggregation": "stack-svd", "optimizer": "fedadam"}, "fedavg"),
        ({"optimizer_options": {"rate": 1}}, "learning_rate"),
        ({"learning_rate": 0.0}, "greater than 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_runs(changes: dict[str, object], fault: str):
    with pytest.raises(ValueError, match=fault):
        Plan(**changes)  # type: ignore[arg-type]
