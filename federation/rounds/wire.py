"""What travels between server and devices, as Flower's records. Whatever comes in is checked; nothing is unpickled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from federation.rounds.trainer import TrainConfig, TrainReply
from federation.tensors import Part, Tensors, part

METRICS = ("loss", "ndcg", "base_loss", "base_ndcg", "activity", "seconds")
MOST = {"ndcg": 1.0, "base_ndcg": 1.0}
"""What a metric may be at most; `MOST_NUMBER` where it is not named. The least is 0."""

MOST_NUMBER = 1e9
MOST_BYTES = 1 << 30
"""What the arrays of one message may hold."""

REFUSED = 100
"""The code of the error that a device answers with whose owner's limits do not allow training; Flower's are below."""

_CONFIG, _COHORT, _UPDATE, _METRICS, _REPLY = "config", "cohort.", "update", "metrics", "reply"
_NUMBERS = ("number", "seed", "steps", "batch")
_REALS = ("scale", "learning_rate", "proximal", "seconds")
_NUMPY = "numpy.ndarray"
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
    if not isinstance(cohort, str) or cohort not in set(cohorts):
        raise WireError("the reply is about no cohort of this round")
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 0:
        raise WireError("the number of examples is none")
    metrics = _get(content.metric_records, _METRICS)
    if metrics.keys() != set(METRICS):
        raise WireError("the metrics are others than those asked for")
    numbers = {name: _number(metrics[name], name) for name in METRICS}
    if wrong := [name for name in METRICS if not 0.0 <= numbers[name] <= MOST.get(name, MOST_NUMBER)]:
        raise WireError(f"{wrong[0]!r} is out of bounds")
    return TrainReply(cohort, _tensors(_get(content.array_records, _UPDATE)), examples, numbers)


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
        except ValueError as error:
            raise WireError(f"the tensor {name[:100]!r} is none of an adapter's") from error
        values = _matrix(array)
        if values is None:
            raise WireError(f"the tensor {name[:100]!r} is no float32 matrix")
        if not np.isfinite(values).all():
            raise WireError(f"the tensor {name[:100]!r} holds numbers that are not finite")
        found[name] = values
    return found


def _matrix(array: Array) -> NDArray[np.float32] | None:
    """The matrix, where ``array`` is to the byte what numpy writes of a float32 one of its shape.

    NumPy's own reader is not asked: by its header a file can be an archive, or as large as it likes.
    """
    if array.stype != _NUMPY or array.dtype != "float32" or len(array.shape) != 2 or min(array.shape) < 0:
        return None
    header = BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": tuple(map(int, array.shape))}
    np.lib.format.write_array_header_1_0(header, layout)  # type: ignore[no-untyped-call]
    expected, data = header.getvalue(), array.data
    if len(data) != len(expected) + 4 * math.prod(array.shape) or not data.startswith(expected):
        return None
    return np.frombuffer(data, "<f4", offset=len(expected)).reshape(array.shape).astype(np.float32)


def _get(records: Mapping[str, Any], name: str) -> Any:
    if name not in records:
        raise WireError(f"there is no {name!r} in it")
    return records[name]


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WireError(f"{name!r} is no finite number")
    return float(value)
