"""A run of rounds in MLflow: its plan, its figures round by round, and plots. The only place here that knows MLflow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from federation.releases.registry import tracking
from federation.rounds.coordinator import State, Summary
from federation.rounds.session import Spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Metric

EXPERIMENT = "sotto-rounds"
_FIGURES = (
    *("loss", "ndcg", "base_loss", "base_ndcg", "residual", "update_norm"),
    *("answered", "dropped", "bytes_down", "bytes_up", "seconds"),
)
_BATCH = 1000
"""The most metrics that MLflow takes in one call."""


def track(home: Path, uri: str, spec: Spec, state: State, digest: str) -> str:
    """Writes the run to the MLflow of ``uri`` (see `federation.releases.registry.tracking`); returns its run's id."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Param

    address, artifacts = tracking(home, uri)
    client = MlflowClient(tracking_uri=address)
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT, artifacts)
    run = client.create_run(experiment, run_name=spec.name, tags={"sotto.release": digest}).info.run_id
    told = {**spec.plan.model_dump(), "trainer": spec.trainer, "devices": spec.devices}
    client.log_batch(run, params=[Param(name, str(value)) for name, value in told.items()])
    metrics = [metric for summary in state.summaries for metric in _metrics(summary)]
    # MLflow takes so many at a time, and far longer for each alone.
    for at in range(0, len(metrics), _BATCH):
        client.log_batch(run, metrics[at : at + _BATCH])
    client.log_figure(run, by_round(state), "by_round.png")
    client.log_figure(run, by_activity(state), "by_activity.png")
    client.set_terminated(run)
    return str(run)


def _metrics(summary: Summary) -> list[Metric]:
    from mlflow.entities import Metric

    figures = {name: float(summary[name]) for name in _FIGURES} | {"failed": float(sum(summary["failed"].values()))}
    now = int(time.time() * 1000)
    return [Metric(name, value, now, int(summary["round"])) for name, value in figures.items()]


def by_round(state: State) -> Figure:
    """Loss and NDCG of the validation events, round by round, beside the base model's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    rounds = [summary["round"] for summary in state.summaries]
    for axes, (name, title) in zip(figure.subplots(1, 2), (("loss", "loss, nats"), ("ndcg", "NDCG")), strict=True):
        axes.plot(rounds, [one[name] for one in state.summaries], marker="o", label="federated")
        axes.plot(rounds, [one[f"base_{name}"] for one in state.summaries], linestyle="--", label="base model")
        axes.set(xlabel="round", ylabel=title)
        axes.legend()
    return figure


def by_activity(state: State) -> Figure:
    """NDCG of the last round by tenth of the devices, the least active first, beside the base model's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    last = state.summaries[-1]
    tenths = list(range(1, 1 + len(last["ndcg_deciles"])))
    axes.bar([at - 0.2 for at in tenths], last["ndcg_deciles"], width=0.4, label="federated")
    axes.bar([at + 0.2 for at in tenths], last["base_ndcg_deciles"], width=0.4, label="base model")
    axes.set(xlabel="tenth of devices by activity, least active first", ylabel="NDCG", xticks=tenths)
    axes.legend()
    return figure
