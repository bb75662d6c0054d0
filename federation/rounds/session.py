"""A run of rounds in a folder of its own: what it is of, how far it has come, and the release that comes out.

``run.json`` says what the run is of and never changes; the state beside it moves on (`federation.rounds.checkpoint`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, JsonValue

from federation.releases.base import BaseModel
from federation.releases.package import write_release
from federation.releases.registry import Registered, Registry
from federation.releases.verify import Release
from federation.rounds.carriers.superlink import APP
from federation.rounds.checkpoint import FILE, CheckpointError, load, save
from federation.rounds.coordinator import GLOBAL, State, Summary
from federation.rounds.plan import Plan
from federation.rounds.server_app import Watcher, make, serve
from federation.rounds.trainers import resident

SPEC = "run.json"
Carrier = Literal["inprocess", "simulation", "superlink"]
_TIMES = frozenset({"seconds", "device_seconds"})


class Spec(pydantic.BaseModel):
    """What a run is of: ``trainer`` with its ``options`` (see `federation.rounds.trainers`), on ``devices`` devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    trainer: str
    options: dict[str, JsonValue]
    devices: Annotated[int, Field(ge=1)]
    carrier: Carrier
    base: BaseModel
    parent: str | None = None
    plan: Plan


class Starting(Protocol):
    """A trainer that knows where a run begins."""

    def initial(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """The weights of everyone before the first round."""
        ...


def begin(folder: Path, spec: Spec, parent: Release | None = None) -> None:
    """Keeps a run that has not begun in ``folder``; it goes on from ``parent`` where there is one.

    FileExistsError where there is a run already; ValueError where the parent's adapters have another shape, and
    where the aggregation finds nothing to train.
    """
    if (folder / SPEC).exists():
        raise FileExistsError(f"There is a run in {folder} already: resume it, or give this one another name.")
    trainer = cast("Starting", resident(spec.trainer, spec.options))
    cohorts: Mapping[str, Any] = {GLOBAL: trainer.initial(spec.plan.seed)}
    if parent is not None:
        expected = {name: array.shape for name, array in cohorts[GLOBAL].items()}
        for cohort, tensors in parent.cohorts.items():
            if {name: array.shape for name, array in tensors.items()} != expected:
                raise ValueError(
                    f"The adapters of {cohort} in {parent.digest[:12]} have another shape than this run's: "
                    "give its rank, alpha and soft prompt."
                )
        cohorts = dict(parent.cohorts)
    for tensors in cohorts.values():
        spec.plan.algorithm.begin(tensors, 1)  # which refuses weights that it cannot train
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    save(folder, State(spec.plan, dict(cohorts)))
    (folder / SPEC).write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Spec:
    """What the run in ``folder`` is of; CheckpointError where there is none."""
    try:
        return Spec.model_validate_json((folder / SPEC).read_text(encoding="utf-8"))
    except (OSError, pydantic.ValidationError) as error:
        raise CheckpointError(f"There is no run in {folder}: `sotto round list` shows those there are.") from error


def runs(root: Path) -> list[tuple[Spec, State]]:
    """The runs under ``root``, by name."""
    return [
        (read(path.parent), load(path.parent))
        for path in sorted(root.glob(f"*/{SPEC}"))
        if (path.parent / FILE).exists()
    ]


def go(folder: Path, watcher: Watcher | None = None) -> State:
    """Runs all rounds that the run in ``folder`` lacks, on its carrier. See `federation.rounds.server_app.serve`.

    ValueError where rounds are lacking that only a SuperLink can carry.
    """
    spec = read(folder)
    if spec.carrier == "superlink":
        state = load(folder)
        if not state.finished:
            raise ValueError(
                f"{state.done} of {spec.plan.rounds} rounds are over, and a SuperLink carries the others: "
                f"flwr run {APP} NAME -c 'folder=\"{folder}\"'"
            )
        return state
    if spec.carrier == "simulation":
        from federation.rounds.carriers.simulation import simulate

        simulate(make(folder, watcher), spec.trainer, spec.options, spec.devices)
        return load(folder)
    from federation.rounds.carriers.inprocess import InProcessGrid
    from federation.rounds.client_app import make as make_client

    devices = [str(at) for at in range(spec.devices)]
    return serve(InProcessGrid(make_client(spec.trainer, spec.options), devices), load(folder), folder, watcher)


def release(folder: Path, registry: Registry) -> Registered:
    """Registers what came out of the run in ``folder``. ValueError where it is not over."""
    spec, state = read(folder), load(folder)
    if not state.finished:
        raise ValueError(f"{state.done} of {spec.plan.rounds} rounds are over: `sotto round resume {spec.name}`.")
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        made = Path(draft) / "release"
        write_release(
            made, state.shipped(), spec.plan.lora, spec.base, [told(one) for one in state.summaries], spec.parent
        )
        return registry.register(made)


def told(summary: Summary) -> dict[str, Any]:
    """What a release says of a round: counts and figures, without what differs each time it is run."""
    kept = {name: value for name, value in summary.items() if name not in _TIMES}
    return {**kept, "failed": sum(summary["failed"].values())}
