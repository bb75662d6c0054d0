"""A run that is killed at any point goes on and ends with the weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from federation.rounds.carriers.inprocess import InProcessGrid
from federation.rounds.checkpoint import FILE, CheckpointError, load, save
from federation.rounds.client_app import make
from federation.rounds.server_app import serve
from tests.federation.rounds.making import DEVICES, began, plan, run, same

ROOT = Path(__file__).parents[3]
PLAN = plan(rounds=6, optimizer="fedadam", cohorts=2)
SCRIPT = """
import sys
from pathlib import Path
from tests.federation.rounds.making import run
from tests.federation.rounds.test_checkpoint import PLAN
from federation.rounds.checkpoint import FILE, load
from federation.rounds.carriers.inprocess import InProcessGrid
from federation.rounds.client_app import make
from federation.rounds.server_app import serve
from tests.federation.rounds.making import DEVICES, began
folder = Path(sys.argv[1])
state = load(folder) if (folder / FILE).exists() else began(PLAN, groups=2)
serve(InProcessGrid(make("synthetic", {"groups": 2, "pause": 0.02}), DEVICES), state, folder)
"""


def test_save_then_load_is_the_identity(tmp_path: Path):
    state = run(tmp_path / "run", PLAN)
    save(tmp_path / "kept", state)
    again = load(tmp_path / "kept")
    assert (again.plan, again.summaries) == (state.plan, state.summaries)
    for cohort in state.cohorts:
        assert same(state.cohorts[cohort], again.cohorts[cohort])
        assert state.optimizer.keys() == again.optimizer.keys()


def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path):
    undisturbed = run(tmp_path / "undisturbed", PLAN, groups=2)
    folder, kills = tmp_path / "killed", 0
    for patience in (1.6, 1.9, 2.3, 2.8, 60.0, 60.0):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        if process.returncode == 0:
            break
    state = load(folder)
    assert kills >= 1
    assert state.finished
    for cohort, tensors in undisturbed.cohorts.items():
        assert same(state.cohorts[cohort], tensors)


@pytest.mark.parametrize("done", range(6))
def test_going_on_after_each_round_changes_no_bit(tmp_path: Path, done: int):
    whole = run(tmp_path / "whole", PLAN)

    class Stop(Exception):
        """The server is gone."""

    class Watch:
        def asked(self, number: int, devices: int) -> None: ...

        def answered(self, count: int) -> None:
            if load(tmp_path / "parts").done == done and count == 3:
                raise Stop

        def closed(self, state: object, summary: object) -> None: ...

    with pytest.raises(Stop):
        run(tmp_path / "parts", PLAN, watcher=Watch())
    state = load(tmp_path / "parts")
    assert state.done == done
    serve(InProcessGrid(make("synthetic", {}), DEVICES), state, tmp_path / "parts")
    assert all(same(whole.cohorts[name], state.cohorts[name]) for name in whole.cohorts)


def test_a_full_disk_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, began(plan()))
    state = run(tmp_path / "other")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            save(tmp_path, state)
    assert load(tmp_path).done == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [FILE]


def test_a_damaged_or_missing_state_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="sotto round list"):
        load(tmp_path)
    save(tmp_path, began(plan()))
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)
