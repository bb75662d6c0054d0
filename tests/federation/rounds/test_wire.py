"""What travels arrives as it was sent, and what is malformed or hostile is refused without a word of its content."""

from __future__ import annotations

import pickle
from io import BytesIO

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from federation.rounds import wire
from federation.rounds.trainer import TrainConfig, TrainReply
from tests.federation.rounds.making import same

COHORTS = {"global": {"m.lora_A.weight": np.ones((2, 3), np.float32), "soft_prompt": np.zeros((1, 4), np.float32)}}
METRICS = dict.fromkeys(wire.METRICS, 0.5)
finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    st.integers(1, 10**6),
    st.integers(0, 2**31 - 1),
    finite,
    st.sets(st.sampled_from(["A", "B", "core", "prompt"]), min_size=1),
)
def test_a_request_arrives_as_it_was_sent(number: int, seed: int, real: float, parts: set[str]):
    config = TrainConfig(number, seed, frozenset(parts), real, 3, 4, real, real, real)  # type: ignore[arg-type]
    cohorts, found = wire.read_request(wire.request(COHORTS, config))
    assert found == config
    assert cohorts.keys() == COHORTS.keys()
    assert same(cohorts["global"], COHORTS["global"])


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_a_reply_arrives_as_it_was_sent(examples: int, real: float):
    sent = TrainReply("global", COHORTS["global"], examples, dict.fromkeys(wire.METRICS, real))
    content = wire.reply(sent)
    found = wire.read_reply(content, ["global"])
    assert (found.cohort, found.examples, found.metrics) == (sent.cohort, sent.examples, sent.metrics)
    assert same(found.update, sent.update)
    assert wire.size(content) >= 4 * 10


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def spoiled(kind: str) -> RecordDict:
    """A reply with one thing wrong."""
    content = wire.reply(TrainReply("global", COHORTS["global"], 3, METRICS))
    if kind in ("update", "metrics", "reply"):
        del content[kind]
    elif kind == "cohort":
        content["reply"] = ConfigRecord({"cohort": "c9", "examples": 3})
    elif kind == "list of cohorts":
        content["reply"] = ConfigRecord({"cohort": ["global"], "examples": 3})
    elif kind == "endless loss":
        content["metrics"] = MetricRecord({**METRICS, "loss": 1e300})
    elif kind == "ndcg above 1":
        content["metrics"] = MetricRecord({**METRICS, "ndcg": 1.5})
    elif kind == "examples":
        content["reply"] = ConfigRecord({"cohort": "global", "examples": -1})
    elif kind == "nan metric":
        content["metrics"] = MetricRecord({**METRICS, "loss": float("nan")})
    elif kind == "other metric":
        content["metrics"] = MetricRecord({**METRICS, "title": 1.0})
    else:
        content["update"] = ArrayRecord({"m.lora_A.weight": _array(kind)})
    return content


def _array(kind: str) -> Array:
    if kind == "pickle":
        buffer = BytesIO()
        np.save(buffer, np.array([Harm()], dtype=object), allow_pickle=True)
        return Array("object", (1,), "numpy.ndarray", buffer.getvalue())
    if kind == "bare pickle":
        return Array("float32", (1, 1), "numpy.ndarray", pickle.dumps(Harm()))
    if kind == "torch":
        return Array("float32", (1, 1), "torch.tensor", b"")
    if kind == "archive":
        buffer = BytesIO()
        np.savez(buffer, np.ones((2, 3), np.float32))
        return Array("float32", (2, 3), "numpy.ndarray", buffer.getvalue())
    data = Array(np.ones((2, 3), np.float32)).data
    hostile = {
        "lying header": ((10**5, 10**5), data),
        "negative": ((-2, -3), data),
        "short": ((2, 3), data[:-1]),
        "long": ((2, 3), data + b"0"),
    }
    if kind in hostile:
        return Array("float32", hostile[kind][0], "numpy.ndarray", hostile[kind][1])
    made = {
        "nan": np.full((2, 3), np.nan, np.float32),
        "double": np.ones((2, 3)),
        "vector": np.ones(3, np.float32),
        "text": np.array([["a title"]]),
    }
    return Array(made[kind])


@pytest.mark.parametrize(
    "kind",
    [
        *("update", "metrics", "reply", "cohort", "examples", "nan metric", "other metric"),
        *("list of cohorts", "endless loss", "ndcg above 1", "archive", "lying header", "short", "long", "negative"),
        *("pickle", "bare pickle", "torch", "nan", "double", "vector", "text"),
    ],
)
def test_a_malformed_reply_is_refused(kind: str):
    with pytest.raises(wire.WireError) as refused:
        wire.read_reply(spoiled(kind), ["global"])
    assert "title" not in str(refused.value)


@pytest.mark.parametrize("kind", ["empty", "parts", "number", "more", "no weights", "other name"])
def test_a_malformed_request_is_refused(kind: str):
    config = TrainConfig(1, 0, frozenset({"B"}), 2.0, 3, 4, 0.1)
    content = wire.request(COHORTS, config)
    fields = dict(content["config"])
    if kind == "empty":
        content = RecordDict()
    elif kind == "parts":
        content["config"] = ConfigRecord({**fields, "parts": ["everything"]})
    elif kind == "number":
        content["config"] = ConfigRecord({**fields, "learning_rate": "much"})
    elif kind == "more":
        content["config"] = ConfigRecord({**fields, "upload": "history"})
    elif kind == "no weights":
        del content["cohort.global"]
    else:
        content["cohort.global"] = ArrayRecord({"conversation": Array(np.ones((1, 1), np.float32))})
    with pytest.raises(wire.WireError):
        wire.read_request(content)


def test_too_many_bytes_are_refused_unread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 10)
    with pytest.raises(wire.WireError, match="at most 10"):
        wire.read_reply(wire.reply(TrainReply("global", COHORTS["global"], 3, METRICS)), ["global"])
