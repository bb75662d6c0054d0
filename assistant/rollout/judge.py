"""Judges a canary beside its control, as often as one likes: a sequential test whose error does not grow with looking.

The difference of the arms is taken within each step of the rollout, since the canary's share changes between steps and
so might the day's mood, and the steps' differences are weighed together. Its variance comes from groups of callers
(`assistant.rollout.arms.BUCKETS`), because one person's verdicts resemble each other. The test is Robbins' normal
mixture, one-sided (Howard et al. 2021, https://arxiv.org/abs/1810.08240, section 3.2), on that estimate, as asymptotic
confidence sequences allow (Waudby-Smith et al. 2021, https://arxiv.org/abs/2103.06476).

Pure functions of counts; knows neither database nor traffic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from assistant.rollout.arms import ARMS, BUCKETS, Counted

Measure = Literal["acceptance", "errors", "latency"]
MEASURES: tuple[Measure, ...] = ("acceptance", "errors", "latency")
FEWEST_BUCKETS = 12
"""Groups of callers that each arm must have met in a step before the step counts: of fewer, no spread can be told."""


@dataclass(frozen=True)
class Count:
    """What one arm did for one group of callers in one step.

    ``shown`` are recommendations given, ``accepted`` those a verdict accepted, ``requests`` turns, ``errors`` those
    that failed, ``log_seconds`` the sum of the natural logarithm of the seconds each of the others took. Of a shadow,
    ``accepted`` are those whose first choice was the one that was shown.
    """

    step: int
    arm: Counted
    bucket: int
    shown: int = 0
    accepted: int = 0
    requests: int = 0
    errors: int = 0
    log_seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """How much harm is let pass, and how sure a judgement is.

    ``acceptance`` and ``errors`` are differences of rates, ``latency`` a relative one (0.2: a fifth slower). ``alpha``
    is the chance that a canary no worse than its limits is ever rolled back, all measures together. The ``scale`` of a
    measure is the harm that the test finds soonest.
    """

    acceptance: float = 0.0
    errors: float = 0.005
    latency: float = 0.2
    alpha: float = 0.05
    acceptance_scale: float = 0.05
    errors_scale: float = 0.02
    latency_scale: float = 0.3


@dataclass(frozen=True)
class Verdict:
    """What is known of one measure. ``harm`` is how much worse the canary is, in the measure's unit; None: unknown.

    ``p_value`` is always valid: the least since the rollout began may be taken. ``control`` and ``canary`` are the
    arms' own rates over all steps (latency: the geometric mean of the seconds).
    """

    measure: Measure
    control: float | None
    canary: float | None
    harm: float | None
    error: float | None
    p_value: float
    harmful: bool


def judge(counts: Iterable[Count], limits: Limits | None = None) -> tuple[Verdict, ...]:
    """A verdict on each of `MEASURES`."""
    limits = limits or Limits()
    rows = list(counts)
    return tuple(_verdict(measure, rows, limits) for measure in MEASURES)


def _verdict(measure: Measure, rows: Sequence[Count], limits: Limits) -> Verdict:
    estimate = _difference(measure, rows)
    control, canary = (_overall(measure, rows, arm) for arm in ("control", "canary"))
    if estimate is None:
        return Verdict(measure, control, canary, None, None, 1.0, harmful=False)
    harm, error = estimate
    margin = math.log1p(limits.latency) if measure == "latency" else getattr(limits, measure)
    p_value = always_valid_p(harm - margin, error, getattr(limits, f"{measure}_scale"))
    return Verdict(measure, control, canary, harm, error, p_value, harmful=p_value < limits.alpha / len(MEASURES))


def always_valid_p(harm: float, error: float, scale: float) -> float:
    """The p-value of "no harm" given an estimate of the ``harm``, its standard ``error`` and the mixture's ``scale``.

    The inverse of the mixture's likelihood ratio: with information I = 1/error² and the half-normal mixture of this
    scale τ over harms above 0, 2 (1 + τ²I)^-1/2 exp(τ²I²h² / 2(1 + τ²I)) Φ(τIh / (1 + τ²I)^1/2).
    """
    if error <= 0.0:
        return 1.0
    information = error**-2
    spread = 1.0 + scale**2 * information
    pull = scale * information * harm / math.sqrt(spread)
    log_ratio = math.log(2.0) - 0.5 * math.log(spread) + 0.5 * pull**2 + float(log_ndtr(pull))
    return math.exp(min(0.0, -log_ratio))


def _parts(measure: Measure, row: Count) -> tuple[float, int]:
    """Numerator and denominator of a rate whose growth is harm."""
    if measure == "acceptance":
        return -row.accepted, row.shown
    if measure == "errors":
        return row.errors, row.requests
    return row.log_seconds, row.requests - row.errors


def _overall(measure: Measure, rows: Iterable[Count], arm: str) -> float | None:
    parts = [_parts(measure, row) for row in rows if row.arm == arm]
    total = sum(size for _, size in parts)
    if not total:
        return None
    rate = sum(value for value, _ in parts) / total
    return {"acceptance": -rate, "errors": rate, "latency": math.exp(rate)}[measure]


class _Step(NamedTuple):
    """The difference of the arms in one step, each group of callers' pull on it (buckets,), and its least variance."""

    harm: float
    influence: NDArray[np.float64]
    floor: float


def _difference(measure: Measure, rows: Iterable[Count]) -> tuple[float, float] | None:
    """How much worse the canary is, and the standard error of that; None while too little is known."""
    sums: dict[int, dict[str, NDArray[np.float64]]] = {}
    for row in rows:
        if row.arm not in ARMS:
            continue
        arms = sums.setdefault(row.step, {arm: np.zeros((2, BUCKETS)) for arm in ARMS})
        arms[row.arm][:, row.bucket] += _parts(measure, row)
    steps = [step for arms in sums.values() if (step := _step(arms, is_rate=measure != "latency")) is not None]
    if not steps:
        return None
    precision = np.array([1.0 / max(float(step.influence @ step.influence), step.floor, 1e-12) for step in steps])
    weights = precision / precision.sum()
    harm = sum(weight * step.harm for weight, step in zip(weights, steps, strict=True))
    # A group of callers is in several steps: its pulls are added before they are squared.
    together = np.sum([weight * step.influence for weight, step in zip(weights, steps, strict=True)], axis=0)
    floor = sum(weight**2 * step.floor for weight, step in zip(weights, steps, strict=True))
    return float(harm), math.sqrt(max(float(together @ together), floor))


def _step(arms: Mapping[str, NDArray[np.float64]], *, is_rate: bool) -> _Step | None:
    """None while an arm has met fewer than `FEWEST_BUCKETS` groups.

    The pulls are of the linearised ratio estimator, with the small-sample factor of its groups. Groups that are all
    alike (no error yet) show no spread, so a rate's variance is at least the binomial one with one success and one
    failure added.
    """
    influence, rates, floor = np.zeros(BUCKETS), {}, 0.0
    for arm, sign in (("canary", 1.0), ("control", -1.0)):
        values, sizes = arms[arm]
        met, size = int(np.count_nonzero(sizes)), sizes.sum()
        if met < FEWEST_BUCKETS:
            return None
        rates[arm] = values.sum() / size
        influence += sign * (values - rates[arm] * sizes) / size * math.sqrt(met / (met - 1))
        if is_rate:
            smoothed = (abs(values.sum()) + 1.0) / (size + 2.0)
            floor += smoothed * (1.0 - smoothed) / size
    return _Step(rates["canary"] - rates["control"], influence, floor)
