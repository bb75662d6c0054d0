"""The four levels of personalisation on one task, each with what the one before it has and more.

- base: the content of items alone, equally weighted; nothing is learned from anybody
- global: and the popularity of items; weights are shared and learned over all devices
- cohort: and the popularity of items in the cohort that the device chose
- personal: and the device's own history on the shared item-item links, and its own levels (dual: shared and personal)

The weights are fitted on validation items, so validation figures are cross-fitted: each device is ranked by weights
that it had no part in. Test items are only ever ranked. Knows how the parts fit and nothing of their formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.collaborative.cohorts import form
from federation.collaborative.content import Content
from federation.collaborative.features import BASE, COLUMNS, GLOBAL, features
from federation.collaborative.models import Shared, solve
from federation.collaborative.statistics import Sums, Vocabulary, contribution, counts
from federation.collaborative.weights import cross_fitted, fit
from federation.evaluation.metrics import measure
from federation.evaluation.protocol import Held, Task
from federation.evaluation.scorers import Matrix

__all__ = ["LEVELS", "Level", "all_features", "learn", "level_scorers"]

LEVELS = ("base", "global", "cohort", "personal")
RIDGES = (1e-3, 1e-2, 1e-1)
_COHORTS = 8
_SAMPLED = 300

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """A level's scorers: ``validation`` to choose by, cross-fitted where weights were fitted, and ``test``."""

    validation: Matrix
    test: Matrix

    def of(self, held: Held) -> Matrix:
        """The scorer to measure ``held`` items with."""
        return self.validation if held == "validation" else self.test


def learn(task: Task) -> Shared:
    """What the federation sums up over the training items of all devices, and solves."""
    totals = np.sum([counts(history, len(task.items)) for history in task.train], axis=0)
    vocabulary = Vocabulary.of(totals)
    sums = Sums(len(vocabulary.numbers))
    for history in task.train:
        sums.add(contribution(history, vocabulary))
    return solve(sums, totals, vocabulary)


def all_features(task: Task, shared: Shared, content: Content) -> Array:
    """Every device's features of every item: float32 (people, items, columns)."""
    found = np.empty((len(task.people), len(task.items), len(COLUMNS)), dtype=np.float32)
    for person, history in enumerate(task.train):
        found[person] = features(history, shared, content)
    return found


def level_scorers(task: Task, known: Array, seed: int, cohorts: int = _COHORTS) -> Mapping[str, Level]:
    """The levels, by name; ``known`` is of `all_features`. ``seed`` draws cohorts' starts, samples and folds."""
    own = _cohort_features(task, cohorts, seed)
    places = {name: COLUMNS.index(name) for name in COLUMNS}
    base = Matrix(known[..., [places[name] for name in BASE]].sum(axis=2))
    drawn = _sampled(task, seed)
    everything = list(range(len(COLUMNS)))
    shared = [places[name] for name in GLOBAL]
    return {
        "base": Level(base, base),
        "global": _fitted(task, [known], shared, drawn, seed),
        "cohort": _fitted(task, [known, own], shared, drawn, seed),
        "personal": _fitted(task, [known, own], everything, drawn, seed),
    }


def _cohort_features(task: Task, cohorts: int, seed: int) -> Array:
    """The log probability of each item in the person's cohort (people, items, 1), at mean 0 and deviation 1."""
    found = form(task.train, len(task.items), cohorts, seed)
    logs = found.logs - found.logs.mean(axis=1, keepdims=True)
    logs /= np.maximum(logs.std(axis=1, keepdims=True), 1e-9)
    chosen: Array = logs[found.members, :, None].astype(np.float32)
    return chosen


def _sampled(task: Task, seed: int) -> NDArray[np.int64]:
    """Each person's validation item and items sampled beside it, the test item as likely as any: (people, n)."""
    rng = np.random.default_rng([seed, 1])
    rows = []
    fewest_unmet = len(task.items) - 1 - max(len(known) for known in task.train)
    count = min(_SAMPLED, fewest_unmet)
    for person, right in enumerate(task.validation):
        open_to = np.ones(len(task.items), dtype=bool)
        open_to[task.train[person]] = False
        open_to[right] = False
        rows.append(np.concatenate(([right], rng.choice(np.flatnonzero(open_to), count, replace=False))))
    return np.array(rows)


def _fitted(task: Task, parts: Sequence[Array], columns: list[int], drawn: NDArray[np.int64], seed: int) -> Level:
    """A level whose first part is cut to ``columns``, under the ridge that ranks cross-fitted validation items best."""
    people = np.arange(len(task.people))
    cut = [parts[0][..., columns], *parts[1:]]
    candidates = np.concatenate([part[people[:, None], drawn] for part in cut], axis=2)
    best, chosen, ridge = -1.0, None, RIDGES[0]
    for one in RIDGES:
        values = np.empty(parts[0].shape[:2], dtype=np.float32)
        for fold, weights in cross_fitted(candidates, one, seed):
            values[fold] = _weighed([part[fold] for part in cut], weights)
        ndcg = measure(task, Matrix(values), seed, "validation")["sampled"].ndcg
        if ndcg > best:
            best, chosen, ridge = ndcg, values, one
    if chosen is None:
        raise ValueError("no ridge was tried")
    return Level(Matrix(chosen), Matrix(_weighed(cut, fit(candidates, ridge))))


def _weighed(parts: Sequence[Array], weights: NDArray[np.float64]) -> Array:
    together = np.zeros(parts[0].shape[:2], dtype=np.float32)
    start = 0
    for part in parts:
        width = part.shape[2]
        together += part @ weights[start : start + width].astype(np.float32)
        start += width
    return together
