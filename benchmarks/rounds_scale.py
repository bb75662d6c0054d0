"""Rounds of many devices in one process, and the same work by Flower's own FedAvg: seconds a round, peak memory.

python -m benchmarks.rounds_scale

Each measurement runs in a fresh process. The devices are synthetic: what is measured is everything around training.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Row, write

OPTIONS: dict[str, Any] = {"rank": 8, "modules": 12, "tokens": 4}


def ours(devices: int, rounds: int) -> list[float]:
    """The seconds of each round through `federation.rounds`."""
    from federation.rounds.carriers.inprocess import InProcessGrid
    from federation.rounds.client_app import make
    from federation.rounds.coordinator import GLOBAL, State
    from federation.rounds.plan import Plan
    from federation.rounds.server_app import serve
    from federation.rounds.synthetic import trainer

    plan = Plan(rounds=rounds, sampled=devices, rank=OPTIONS["rank"], soft_prompt=OPTIONS["tokens"], steps=1)
    state = State(plan, {GLOBAL: trainer(**OPTIONS).initial(0)})
    grid = InProcessGrid(make("synthetic", OPTIONS), [str(at) for at in range(devices)])
    with tempfile.TemporaryDirectory() as folder:
        return [float(one["seconds"]) for one in serve(grid, state, Path(folder)).summaries]


def flower_s(devices: int, rounds: int) -> list[float]:
    """The seconds of each round through Flower's FedAvg strategy, over the same grid and trainer."""
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp.strategy import FedAvg

    from federation.rounds import wire
    from federation.rounds.carriers.inprocess import InProcessGrid
    from federation.rounds.plan import Plan
    from federation.rounds.synthetic import trainer

    made, plan = trainer(**OPTIONS), Plan(rank=OPTIONS["rank"], steps=1)
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = next(iter(message.content.array_records.values()))
        start = {name: array.numpy() for name, array in arrays.items()}
        found = made.train(str(context.node_config["partition-id"]), {"global": start}, plan.training(1))
        after = {name: array + found.update.get(name, 0.0) for name, array in start.items()}
        content = RecordDict(
            {
                "arrays": wire.arrays(after),
                "metrics": MetricRecord({**found.metrics, "num-examples": found.examples}),
            }
        )
        return Message(content, reply_to=message)

    grid = InProcessGrid(app, [str(at) for at in range(devices)])
    times: list[float] = []
    arrays: ArrayRecord = wire.arrays(made.initial(0))
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=devices)
    for _ in range(rounds):
        started = time.perf_counter()
        found = strategy.start(grid, arrays, num_rounds=1, train_config=ConfigRecord({}))
        arrays = found.arrays
        times.append(time.perf_counter() - started)
    return times


WAYS = {"Sotto": ours, "Flower's FedAvg": flower_s}


def measured(way: str, devices: int, rounds: int) -> Row:
    """A row, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rounds_scale", "--inner", way]
    command += ["--devices", str(devices), "--rounds", str(rounds)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    return {
        "way": way,
        "devices": devices,
        "s a round": round(min(found["seconds"]), 2),
        "ms a device": round(1000 * min(found["seconds"]) / devices, 2),
        "peak memory, MB": round(found["memory"]),
        "of which before the rounds, MB": round(found["before"]),
    }


def _inner(way: str, devices: int, rounds: int) -> None:
    import federation.rounds.server_app  # noqa: F401  so that what is loaded counts as before

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = WAYS[way](devices, rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory": memory, "before": before}))


def main() -> None:
    """Runs it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--inner", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inner:
        _inner(given.inner, given.devices[0], given.rounds)
        return
    write(
        "rounds_scale",
        "python -m benchmarks.rounds_scale",
        [measured(way, devices, given.rounds) for devices in given.devices for way in WAYS],
        note="Adapters of rank 8 on 12 small modules; each device takes one synthetic step. The faster of "
        f"{given.rounds} rounds, in one process.",
    )


if __name__ == "__main__":
    main()
