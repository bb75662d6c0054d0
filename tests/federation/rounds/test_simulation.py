"""The same apps over Flower's simulation in Ray end with the weights that one process ends with."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from federation.rounds.checkpoint import load, save
from federation.rounds.coordinator import GLOBAL
from tests.federation.rounds.making import began, plan, run, same

ROOT = Path(__file__).parents[3]
# In a process of its own: Ray starts many, and warns of much.
SCRIPT = """
import sys
from pathlib import Path
from federation.rounds.carriers.simulation import simulate
from federation.rounds.server_app import make
simulate(make(Path(sys.argv[1])), "synthetic", {}, 6)
"""


@pytest.mark.timeout(300)
def test_ray_s_devices_end_with_the_same_weights_as_one_process(tmp_path: Path):
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    given = plan(rounds=2, sampled=4)
    save(tmp_path / "ray", began(given))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "ray")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    devices = [str(at) for at in range(6)]
    assert same(load(tmp_path / "ray").cohorts[GLOBAL], run(tmp_path / "one", given, devices).cohorts[GLOBAL])
