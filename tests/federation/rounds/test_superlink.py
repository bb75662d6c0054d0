"""A loopback deployment of Flower's own programs: TLS, node keys, a stranger, a node that dies in mid-round."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from federation.rounds.carriers.superlink import SuperLink, free_ports
from federation.rounds.checkpoint import load, save
from federation.rounds.coordinator import GLOBAL
from tests.federation.rounds.making import began, plan, same

PLAN = plan(rounds=2, sampled=3, fewest=2, deadline=25.0)
PATIENCE = 120.0


def until(is_so: Callable[[], bool], what: str) -> None:
    """Waits for ``is_so``, and fails where it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.1)


@pytest.mark.timeout(400)
def test_a_run_over_superlink_refuses_strangers_and_outlives_a_node(tmp_path: Path):
    folder = tmp_path / "run"
    save(folder, began(PLAN))
    # A socket's path has 107 bytes at most.
    with TemporaryDirectory(prefix="sotto-") as sockets, SuperLink(tmp_path / "link") as link:
        names = ("n0", "n1", "n2")
        keys = {name: link.new_key(name) for name in (*names, "stranger")}
        with ThreadPoolExecutor() as pool:
            assert len(set(pool.map(link.register, [keys[name] for name in names]))) == 3
        # One node asks a process that has its trainer loaded; the others load it for each message.
        own = link.start_resident("resident", Path(sockets) / "n0.sock", "synthetic", {"pause": 2.0})
        configs = {name: {"partition-id": name, **(own if name == "n0" else {})} for name in keys}
        started = {name: link.start_node(name, key, configs[name]) for name, key in keys.items()}
        until(lambda: all("SuperNode ID" in link.log(name) for name in names), "the nodes to join")
        link.submit(folder, "synthetic", {"pause": 2.0})
        assert started["stranger"].wait(PATIENCE) != 0
        assert "No SuperNode found with the given public key" in link.log("stranger")
        until(lambda: "ROUND 2]" in link.log("n2"), "the second round")
        os.killpg(started["n2"].pid, signal.SIGKILL)
        until(lambda: load(folder).finished, "the run to complete")
    first, second = load(folder).summaries
    assert (first["asked"], first["answered"], first["dropped"], first["failed"]) == (3, 3, 0, {})
    assert (second["asked"], second["answered"], second["dropped"], second["failed"]) == (3, 2, 1, {})
    assert second["loss"] < first["loss"]
    assert not same(load(folder).cohorts[GLOBAL], began(PLAN).cohorts[GLOBAL])


def test_free_ports_are_all_different():
    assert len(set(free_ports(20))) == 20
