"""The gate's checks of a release: its files and shapes, its weights' sizes, its privacy budget, and how it ranks.

How it ranks is measured by whoever has an engine and held-out events, and comes here as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from assistant.rollout.gate import Check, Finding
from federation.releases.base import Served
from federation.releases.errors import ReleaseError
from federation.releases.norms import spectral_norms
from federation.releases.store import Store
from federation.releases.verify import Limits

MOST_SPECTRAL = 10.0
"""How many times the median of its modules' spectral norms one module's may be."""

MOST_LOSS = 0.01
"""How much NDCG a release may lose against the live one before the gate closes, where chance allows to tell."""


MOST_BAD = 0.02
"""How large a share of grounded and sound replies a release may lose against the live one."""


@dataclass(frozen=True)
class Ranking:
    """How a release ranked held-out events: one value an event, all aligned. ``ndcg`` float64 (events,)."""

    ndcg: NDArray[np.float64]
    cohorts: tuple[str, ...]
    activity: NDArray[np.int64]


@dataclass(frozen=True)
class Talk:
    """Which replies of a release, by their turns' ids, were grounded and not degenerate."""

    good: Mapping[str, bool]


Evaluate = Callable[[str | None], Ranking]
"""The ranking of a release, None for the base model, always over the same events in the same order."""


def whole(store: Store, limits: Limits, served: Served, fetch: Callable[[str], object]) -> Check:
    """The release is what its manifest says and may be served: digests, base, rank, modules, finiteness, norms."""

    def check(release: str, live: str | None) -> Finding:
        try:
            if release not in store:
                fetch(release)
            found = store.get(release, limits, served)
        except ReleaseError as error:
            return Finding("files", passed=False, figures=str(error))
        return Finding("files", passed=True, figures=f"{len(found.cohorts)} cohorts, every digest right")

    return check


def even(store: Store, most: float = MOST_SPECTRAL) -> Check:
    """No module of any cohort stands out: its spectral norm is at most ``most`` times the median of all."""

    def check(release: str, live: str | None) -> Finding:
        found = store.get(release).cohorts.items()
        norms = {f"{cohort} {name}": norm for cohort, one in found for name, norm in spectral_norms(one).items()}
        median = float(np.median(list(norms.values()))) if norms else 0.0
        module, norm = max(norms.items(), key=lambda one: one[1], default=("none", 0.0))
        passed = norm <= most * median or norm == 0.0
        return Finding(
            "weights", passed=passed, figures=f"largest spectral norm {norm:.3g} ({module}), median {median:.3g}"
        )

    return check


def within_budget(store: Store, most_epsilon: float) -> Check:
    """The privacy that its rounds spent, where they account for it, is at most ``most_epsilon``."""

    def check(release: str, live: str | None) -> Finding:
        spent = [one["epsilon"] for one in store.get(release).manifest.rounds if one.get("epsilon") is not None]
        if not spent:
            return Finding("privacy budget", passed=True, figures="the release carries none")
        epsilon = max(float(str(value)) for value in spent)
        return Finding(
            "privacy budget", passed=epsilon <= most_epsilon, figures=f"ε {epsilon:.2f} of {most_epsilon:.2f}"
        )

    return check


def no_worse(evaluate: Evaluate, most_loss: float = MOST_LOSS, seed: int = 0) -> Check:
    """It ranks held-out events no worse than the live one: overall, in each cohort, for the least served tenth.

    By a paired bootstrap over events: it fails where the difference's 95 % interval lies below ``-most_loss``.
    """

    def check(release: str, live: str | None) -> Finding:
        after, before = evaluate(release), evaluate(live)
        groups = dict(_groups(after))
        told, passed = [], True
        for name, chosen in groups.items():
            difference = after.ndcg[chosen] - before.ndcg[chosen]
            low, high = interval(difference, seed)
            told.append(f"{name} {difference.mean():+.3f} ({low:+.3f} to {high:+.3f})")
            passed = passed and high >= -most_loss
        return Finding("ranking", passed=passed, figures=f"NDCG against the live one: {', '.join(told)}")

    return check


def talks_no_worse(evaluate: Callable[[str | None], Talk], most_loss: float = MOST_BAD, seed: int = 0) -> Check:
    """Its replies on the gold conversations are as often grounded and not degenerate as the live one's.

    By a paired bootstrap over turns, as in `no_worse`.
    """

    def check(release: str, live: str | None) -> Finding:
        after, before = evaluate(release).good, evaluate(live).good
        turns = sorted(after.keys() & before.keys())
        if not turns:
            return Finding("replies", passed=True, figures="no gold conversations were talked")
        pairs = np.array([(after[turn], before[turn]) for turn in turns], dtype=np.float64)
        low, high = interval(pairs[:, 0] - pairs[:, 1], seed)
        return Finding(
            "replies",
            passed=high >= -most_loss,
            figures=f"{100 * pairs[:, 0].mean():.1f} % of {len(turns)} grounded and not degenerate, the live one's "
            f"{100 * pairs[:, 1].mean():.1f} % ({100 * low:+.1f} to {100 * high:+.1f} points)",
        )

    return check


def interval(difference: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of paired ``difference`` (events,)."""
    if len(difference) < 2 or np.ptp(difference) == 0.0:
        mean = float(difference.mean()) if len(difference) else 0.0
        return mean, mean
    found = bootstrap((difference,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(seed))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _groups(ranking: Ranking) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "overall", np.ones(len(ranking.ndcg), dtype=bool)
    cohorts = np.array(ranking.cohorts)
    for cohort in sorted(set(ranking.cohorts)):
        yield cohort, cohorts == cohort
    if len(ranking.activity):
        yield "least active tenth", ranking.activity <= np.quantile(ranking.activity, 0.1)
