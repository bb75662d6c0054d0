"""A run's whole state in one file, written anew after every round: whole or not at all.

``state.safetensors`` holds the weights and the optimizer's state as tensors, and the plan and the summaries in its
header. Whoever is killed at any point finds the state after the last round that ended; the round under way is asked
again, of the same devices with the same seeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from federation.rounds.coordinator import State
from federation.rounds.plan import Plan

FILE = "state.safetensors"
_COHORT, _OPTIMIZER, _SEPARATOR = "cohort", "optimizer", "/"


class CheckpointError(Exception):
    """A run's state cannot be read; the message says why and what to do."""


def save(folder: Path, state: State) -> None:
    """Keeps ``state`` in ``folder``, in the place of what was there. OSError, and the old state, on a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[np.generic]] = {}
    for cohort, weights in state.cohorts.items():
        tensors |= {_SEPARATOR.join((_COHORT, cohort, name)): array for name, array in weights.items()}
    for cohort, kept in state.optimizer.items():
        tensors |= {_SEPARATOR.join((_OPTIMIZER, cohort, name)): array for name, array in kept.items()}
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    header = {
        "plan": state.plan.model_dump_json(),
        "summaries": json.dumps(state.summaries),
        "sha256": _digest(ordered),
    }
    handle, draft = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(ordered, metadata=header))
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(folder / FILE)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def load(folder: Path) -> State:
    """The state kept in ``folder``; CheckpointError where there is none, or one that was damaged."""
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"There is no run in {folder}: `sotto round list` shows those there are.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no mapping
        if header["sha256"] != _digest({name: tensors[name] for name in sorted(tensors)}):
            raise CheckpointError(f"{path} was damaged: its weights are not those that were kept. Begin the run anew.")
        plan, summaries = Plan.model_validate_json(header["plan"]), json.loads(header["summaries"])
    except (SafetensorError, KeyError, ValueError, ValidationError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Begin the run anew.") from error
    state = State(plan, {}, {}, summaries)
    for name, array in tensors.items():
        kind, cohort, rest = name.split(_SEPARATOR, 2)
        (state.cohorts if kind == _COHORT else state.optimizer).setdefault(cohort, {})[rest] = array  # type: ignore[index]
    return state


def _digest(tensors: dict[str, NDArray[np.generic]]) -> str:
    found = hashlib.sha256()
    for name, array in tensors.items():
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
