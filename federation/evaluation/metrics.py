"""Measures of a ranking with one right item, of ranks that give no credit for ties. Knows nothing of models.

A rank is the number of other candidates that score at least as high as the held-out item: where all scores are equal,
it comes last. HR@10 is the share of ranks below 10; NDCG@10 is the mean of 1 / log2(rank + 2) over those, as there is
one right item and the ideal is 1; AUC is the mean share of other candidates that score lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from federation.evaluation.protocol import Held, Integers, Task

if TYPE_CHECKING:
    from federation.evaluation.scorers import Scorer

__all__ = ["DEPTH", "Figures", "Ranks", "Spread", "full_ranks", "measure", "sampled_ranks", "spread", "summed_up"]

DEPTH = 10


@dataclass(frozen=True)
class Ranks:
    """For each person, the rank of the held-out item from 0 and the number of candidates it is one of."""

    ranks: Integers
    candidates: Integers


@dataclass(frozen=True)
class Figures:
    """Shares from 0 to 1: HR@10, NDCG@10 and AUC over all people, and NDCG@10 of the worst decile.

    Deciles are of activity: people in order of the number of their training items, cut into ten parts as even as can
    be; the worst is the one of lowest mean NDCG@10.
    """

    hr: float
    ndcg: float
    auc: float
    worst_decile: float


@dataclass(frozen=True)
class Spread:
    """Mean and sample deviation over seeds; the deviation is 0 for one seed."""

    mean: float
    deviation: float


def sampled_ranks(task: Task, scorer: Scorer, negatives: Integers, held: Held) -> Ranks:
    """Ranks among ``negatives`` (people, count) and the held-out item."""
    return _ranks(task, scorer, list(negatives), held)


def full_ranks(task: Task, scorer: Scorer, held: Held) -> Ranks:
    """Ranks among all candidates of the protocol."""
    target = task.held(held)
    others = []
    for person in range(len(task.people)):
        candidates = task.candidates(person, held)
        others.append(candidates[candidates != target[person]])
    return _ranks(task, scorer, others, held)


def summed_up(ranks: Ranks, activity: Integers | None = None) -> Figures:
    """The figures of ``ranks``; without ``activity`` (people,) the worst decile is that of people as they come."""
    gains = _gains(ranks.ranks)
    order = np.argsort(activity, kind="stable") if activity is not None else np.arange(len(gains))
    deciles = [part for part in np.array_split(gains[order], 10) if len(part)]
    others = ranks.candidates - 1
    below = np.divide(others - ranks.ranks, others, out=np.zeros(len(others)), where=others > 0)
    return Figures(
        hr=float(np.mean(ranks.ranks < DEPTH)),
        ndcg=float(gains.mean()),
        auc=float(below.mean()),
        worst_decile=float(min(part.mean() for part in deciles)),
    )


def measure(task: Task, scorer: Scorer, seed: int, held: Held = "test") -> dict[str, Figures]:
    """The figures ``sampled`` (99 negatives drawn by ``seed``) and ``full``."""
    activity = np.array([len(known) for known in task.train])
    sampled = sampled_ranks(task, scorer, task.negatives(seed), held)
    return {
        "sampled": summed_up(sampled, activity),
        "full": summed_up(full_ranks(task, scorer, held), activity),
    }


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of one figure over seeds; ValueError of none."""
    if not values:
        raise ValueError("no seeds were measured")
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), deviation)


def _ranks(task: Task, scorer: Scorer, others: Sequence[Integers], held: Held) -> Ranks:
    target = task.held(held)
    found = np.empty(len(others), dtype=np.int64)
    for person, one in enumerate(others):
        scores = scorer.scores(person, np.concatenate(([target[person]], one)))
        if not np.isfinite(scores).all():
            raise ValueError(f"the scores for {task.people[person]} are not finite")
        found[person] = np.count_nonzero(scores[1:] >= scores[0])
    return Ranks(found, np.array([len(one) + 1 for one in others]))


def _gains(ranks: Integers) -> NDArray[np.float64]:
    return np.where(ranks < DEPTH, 1 / np.log2(ranks + 2.0), 0.0)
