"""Limits: training starts and goes on only as far as the person granted, and the reason why not is in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from federation.device import limits as module
from federation.device.limits import Deadline, Limits, may_train, must_stop

MIB = 1 << 20


@pytest.fixture
def machine(monkeypatch):
    """A machine at ease, whose state a test changes: free and used MiB, load in percent, battery."""
    state = SimpleNamespace(free=8000, used=500, load=3.0, battery=None)
    fake = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(available=state.free * MIB),
        cpu_percent=lambda interval: state.load,
        sensors_battery=lambda: state.battery,
        Process=lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=state.used * MIB)),
    )
    monkeypatch.setattr(module, "psutil", fake)
    state.psutil = fake
    return state


def battery(*, plugged: bool | None):
    return SimpleNamespace(percent=41.5, power_plugged=plugged)


def test_an_idle_machine_on_mains_may_train(machine):
    assert may_train(Limits()) is None
    assert must_stop(Limits(), Deadline(60)) is None


def test_a_busy_machine_may_not_unless_that_is_granted(machine):
    machine.load = 75.2
    assert "processors are at 75 %" in may_train(Limits())
    assert may_train(Limits(idle_only=False)) is None


def test_the_load_of_training_itself_does_not_stop_it(machine):
    machine.load = 100.0
    assert must_stop(Limits(), Deadline(60)) is None


def test_a_battery_is_not_drained_unless_that_is_granted(machine):
    machine.battery = battery(plugged=False)
    for reason in (may_train(Limits()), must_stop(Limits(), Deadline(60))):
        assert "battery, at 42 %" in reason
    assert may_train(Limits(on_battery=True)) is None


@pytest.mark.parametrize("plugged", [True, None])
def test_a_battery_on_mains_is_no_hindrance(machine, plugged):
    machine.battery = battery(plugged=plugged)
    assert may_train(Limits()) is None


def test_a_platform_that_cannot_tell_of_batteries_is_on_mains(machine):
    del machine.psutil.sensors_battery
    assert may_train(Limits()) is None


def test_memory_must_be_free_before_and_stays_bounded(machine):
    machine.free, machine.used = 1000, 3000
    assert may_train(Limits(memory_mb=2048)) == "1,000 MiB of memory are free and training may need 2,048"
    assert must_stop(Limits(memory_mb=2048), Deadline(60)) == "it has 3,000 MiB of memory and may have 2,048"


def test_time_runs_out(machine):
    now = [100.0]
    deadline = Deadline(60, clock=lambda: now[0])
    assert (deadline.left, deadline.passed) == (60.0, False)
    now[0] = 159.5
    assert (deadline.left, must_stop(Limits(), deadline)) == (0.5, None)
    now[0] = 160.0
    assert (deadline.left, deadline.passed) == (0.0, True)
    assert must_stop(Limits(), deadline) == "its 60 s are over"


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": float("nan")}, {"memory_mb": 0}])
def test_limits_that_grant_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        Limits(**wrong)


def test_the_real_machine_answers():
    assert "MiB of memory are free" in may_train(Limits(memory_mb=1 << 40))
    assert must_stop(Limits(memory_mb=1 << 40, on_battery=True), Deadline(600)) is None
