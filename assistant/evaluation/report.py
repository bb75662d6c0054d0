"""Figures with their targets and intervals from the results of a run.

An interval is the 95 % percentile bootstrap over turns (`scipy.stats.bootstrap`); where all turns agree, so that
resampling tells nothing, it is Wilson's for a proportion. Turns of one conversation are not independent: the intervals
of its measures are somewhat too narrow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from assistant.evaluation.judge import Part
from assistant.evaluation.run import Results
from assistant.evaluation.score import Counts, total

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 7
LEAST_TURNS = 20
"""Fewer values than this and a figure is shown without an interval."""

PARTS: Mapping[Part, str] = {
    "utterance": "messages",
    "conversation": "conversations",
    "redial": "ReDial turns",
}
MEASURES = {
    "answered": ("Turns answered by the engine", 1.0),
    "json_valid": ("Wish JSON valid as decoded", 1.0),
    "act": ("Act read rightly", None),
    "constraints": ("Hard constraints held by every item", 0.97),
    "grounded": ("Reply grounded in records or the person's words", 0.99),
    "speaks": ("Reply speaks of the items recommended", 0.99),
    "speaks_of_all": ("Reply speaks of every item recommended", None),
    "declines": ("Off topic or injection: nothing recommended, says what it is for", 1.0),
    "recommends": ("Recommends where, and only where, it should", None),
    "sound": ("Reply not degenerate", 0.99),
    "task": ("Kind of reply as expected", None),
    "wish_carried": ("Whole wish right after the turn", None),
    "right_item": ("Answer about the item that was meant", None),
    "nothing_twice": ("Nothing recommended twice", None),
    "no_fallback": ("Reply written by the model", None),
    "first_try": ("Reply accepted at the first try", None),
}


@dataclass(frozen=True)
class Figure:
    """A measured share, 0 to 1, over ``n`` values; ``low`` to ``high`` is its interval, ``target`` what is aimed at."""

    name: str
    title: str
    part: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    target: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the value is at the target or above; None where nothing is aimed at."""
        return None if self.target is None else self.value >= self.target


@dataclass(frozen=True)
class Report:
    """What a run came to. ``timings`` maps a stage to seconds at the median and the 95th percentile."""

    figures: tuple[Figure, ...]
    slots: dict[str, dict[str, float]]
    timings: dict[str, dict[str, float]]
    failures: tuple[dict[str, str], ...]
    seconds: float

    @property
    def missed(self) -> tuple[Figure, ...]:
        """The figures below their target."""
        return tuple(figure for figure in self.figures if figure.reached is False)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        figures = [{**asdict(figure), "reached": figure.reached} for figure in self.figures]
        return {**asdict(self), "figures": figures, "failures": list(self.failures)}


def report(results: Results) -> Report:
    """The figures of ``results``, with every failure listed beside the reply it concerns."""
    values: dict[tuple[str, Part], list[float]] = defaultdict(list)
    for score in results.scores:
        values[score.measure, score.part].append(score.value)
    figures = _slot_figures(results.slots)
    for name, (title, target) in MEASURES.items():
        for part, where in PARTS.items():
            if found := values.get((name, part)):
                figures.append(_share(name, title, where, found, target))
    if results.recalled:
        title = "Recall of the recommender's new titles that are in the catalogue"
        figures.append(_share("recall", title, PARTS["redial"], results.recalled, None))
    if results.openings:
        share = len(set(results.openings)) / len(results.openings)
        figures.append(
            Figure("openings", "Distinct openings (first four words)", "all replies", share, len(results.openings))
        )
    failures = tuple(
        {"id": score.id, "measure": score.measure, "detail": score.detail, "reply": results.replies.get(score.id, "")}
        for score in results.scores
        if score.value < 1
    )
    timings = {
        stage: {"p50": float(np.median(times)), "p95": float(np.percentile(times, 95)), "n": float(len(times))}
        for stage, times in results.timings.items()
    }
    return Report(tuple(figures), _by_field(results.slots), timings, failures, results.seconds)


def interval(values: Sequence[float] | FloatArray) -> tuple[float, float] | None:
    """The 95 % interval of the mean of ``values`` in 0..1; None for fewer than `LEAST_TURNS`."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) < LEAST_TURNS:
        return None
    if np.all(data == data[0]):
        return _wilson(int(data.sum()), len(data))
    found = stats.bootstrap(
        (data,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return float(found.low), float(found.high)


def f1_interval(counts: Sequence[Counts]) -> tuple[float, float] | None:
    """The 95 % interval of the micro-averaged F1, utterances being resampled."""
    if len(counts) < LEAST_TURNS:
        return None
    hits = np.array([one.hits for one in counts], dtype=np.float64)
    errors = np.array([one.extra + one.missed for one in counts], dtype=np.float64)
    if not errors.any() or not hits.any():
        units = int(hits.sum() + errors.sum())
        return _wilson(int(hits.sum()), units) if units else None

    def f1(right: FloatArray, wrong: FloatArray, axis: int) -> FloatArray:
        doubled = 2 * right.sum(axis=axis)
        whole = doubled + wrong.sum(axis=axis)
        shares: FloatArray = np.divide(doubled, whole, out=np.ones_like(whole), where=whole > 0)
        return shares

    found = stats.bootstrap(
        (hits, errors), f1, n_resamples=RESAMPLES, method="percentile", paired=True, vectorized=True,
        rng=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def _wilson(right: int, n: int) -> tuple[float, float]:
    found = stats.binomtest(right, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _share(name: str, title: str, part: str, values: Sequence[float], target: float | None) -> Figure:
    low, high = interval(values) or (None, None)
    return Figure(name, title, part, float(np.mean(values)), len(values), low, high, target)


def _slot_figures(slots: Mapping[str, Mapping[str, Counts]]) -> list[Figure]:
    if not slots:
        return []
    each = [total(fields.values()) for fields in slots.values()]
    whole = total(each)
    low, high = f1_interval(each) or (None, None)
    where, n = PARTS["utterance"], whole.hits + whole.missed
    return [
        Figure("slot_f1", "Slot F1 (micro, all fields)", where, whole.f1, n, low, high, 0.90),
        Figure("slot_precision", "Slot precision", where, whole.precision, whole.hits + whole.extra),
        Figure("slot_recall", "Slot recall", where, whole.recall, n),
    ]


def _by_field(slots: Mapping[str, Mapping[str, Counts]]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each field that was meant or read anywhere."""
    sums: dict[str, Counts] = defaultdict(Counts)
    for fields in slots.values():
        for name, counts in fields.items():
            sums[name] += counts
    return {
        name: {"precision": one.precision, "recall": one.recall, "f1": one.f1, "n": float(one.hits + one.missed)}
        for name, one in sums.items()
        if one != Counts()
    }
