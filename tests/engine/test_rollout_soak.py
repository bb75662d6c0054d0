"""No reply fails or mixes two releases while they come and go, a replica dies, servers are killed and begin anew."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.rollout_soak import Report, Soak, replicas


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_releases_come_and_go_under_streams_and_a_replica_dies(tmp_path: Path) -> None:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    async with replicas(tmp_path, 2) as processes:
        soak = Soak(tmp_path, [process.url for process in processes], releases=4, streams=4)
        report = await soak.run(27.0, processes[1], lambda so_far: bool(so_far.faults) or much(so_far))
    assert report.faults == []


def much(report: Report) -> bool:
    """Whether enough came and went, which takes a slow machine longer."""
    return (
        report.outcomes["right"] > 30
        and report.rollouts > 3
        and report.restarts > 1
        and report.kills > 0
        and len(report.releases) > 2
    )
