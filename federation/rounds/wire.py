"""What travels between server and devices, as Flower's records. Whatever comes in is checked; nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from federation.rounds.trainer import TrainConfig, TrainReply
from federation.tensors import Part, Tensors, part

METRICS = ("loss", "ndcg", "base_loss", "base_ndcg", "activity", "seconds")
MOST_BYTES = 1 << 30
"""What the arrays of one message may hold."""

_CONFIG, _COHORT, _UPDATE, _METRICS, _REPLY = "config", "cohort.", "update", "metrics", "reply"
_NUMBERS = ("number", "seed", "steps", "batch")
_REALS = ("scale", "learning_rate", "proximal", "seconds")
_PARTS = frozenset({"A", "B", "core", "prompt"})


class WireError(ValueError):
    """A message is not what it should be; the text says what is wrong, and holds nothing of its content."""


def request(cohorts: Mapping[str, Tensors], config: TrainConfig) -> RecordDict:
    """What every device of a round is sent."""
    fields: dict[str, Any] = {name: getattr(config, name) for name in (*_NUMBERS, *_REALS)}
    fields["parts"] = sorted(config.parts)
    weights = {f"{_COHORT}{name}": arrays(tensors) for name, tensors in cohorts.items()}
    return RecordDict({_CONFIG: ConfigRecord(fields), **weights})


def read_request(content: RecordDict) -> tuple[dict[str, Tensors], TrainConfig]:
    """The cohorts' weights and the configuration; WireError where ``content`` holds neither."""
    fields = dict(_get(content.config_records, _CONFIG))
    parts = fields.pop("parts", None)
    if not isinstance(parts, list) or not parts or not _PARTS.issuperset(parts):
        raise WireError("the parts to train are none that there are")
    if wrong := sorted(fields.keys() ^ {*_NUMBERS, *_REALS}):
        raise WireError(f"the configuration has no {wrong[0]!r}, or should not")
    numbers = {name: _number(fields[name], name) for name in fields}
    whole: dict[str, Any] = {name: int(numbers[name]) for name in _NUMBERS}
    reals: dict[str, Any] = {name: numbers[name] for name in _REALS}
    config = TrainConfig(parts=frozenset(cast("list[Part]", parts)), **whole, **reals)
    names = [name for name in content.array_records if name.startswith(_COHORT)]
    if not names:
        raise WireError("there are no weights to begin with")
    return {name.removeprefix(_COHORT): _tensors(content.array_records[name]) for name in names}, config


def reply(found: TrainReply) -> RecordDict:
    """What a device sends back."""
    return RecordDict(
        {
            _UPDATE: arrays(found.update),
            _METRICS: MetricRecord({name: float(found.metrics[name]) for name in METRICS}),
            _REPLY: ConfigRecord({"cohort": found.cohort, "examples": found.examples}),
        }
    )


def read_reply(content: RecordDict, cohorts: Iterable[str]) -> TrainReply:
    """The reply, about one of ``cohorts``; WireError where ``content`` is none. Shapes are for the aggregation."""
    about = _get(content.config_records, _REPLY)
    cohort, examples = about.get("cohort"), about.get("examples")
    if cohort not in set(cohorts):
        raise WireError("the reply is about no cohort of this round")
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 0:
        raise WireError("the number of examples is none")
    metrics = _get(content.metric_records, _METRICS)
    if metrics.keys() != set(METRICS):
        raise WireError("the metrics are others than those asked for")
    numbers = {name: _number(metrics[name], name) for name in METRICS}
    return TrainReply(str(cohort), _tensors(_get(content.array_records, _UPDATE)), examples, numbers)


def size(content: RecordDict) -> int:
    """The bytes of the arrays in ``content``."""
    return sum(record.count_bytes() for record in content.array_records.values())


def arrays(tensors: Tensors) -> ArrayRecord:
    """``tensors`` as Flower carries them."""
    return ArrayRecord({name: Array(np.ascontiguousarray(array, np.float32)) for name, array in tensors.items()})


def _tensors(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    if record.count_bytes() > MOST_BYTES:
        raise WireError(f"the arrays hold {record.count_bytes():,} bytes; at most {MOST_BYTES:,} are taken")
    found = {}
    for name, array in record.items():
        try:
            part(name)
            values = array.numpy()
        except (ValueError, TypeError, EOFError, OSError, MemoryError) as error:
            raise WireError(f"the tensor {name[:100]!r} cannot be read") from error
        if values.dtype != np.float32 or values.ndim != 2:
            raise WireError(f"the tensor {name[:100]!r} is no float32 matrix")
        if not np.isfinite(values).all():
            raise WireError(f"the tensor {name[:100]!r} holds numbers that are not finite")
        found[name] = values
    return found


def _get(records: Mapping[str, Any], name: str) -> Any:
    if name not in records:
        raise WireError(f"there is no {name!r} in it")
    return records[name]


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WireError(f"{name!r} is no finite number")
    return float(value)
