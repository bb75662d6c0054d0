"""The whole comparison: levels and baselines over seeds, as rows of figures. Knows no command line and no plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from federation.collaborative.content import content
from federation.device.population import Population
from federation.evaluation.baselines import BASELINES
from federation.evaluation.levels import LEVELS, all_features, learn, level_scorers
from federation.evaluation.metrics import Figures, Spread, measure, spread
from federation.evaluation.protocol import Task, build_task
from federation.evaluation.scorers import Scorer

__all__ = ["MEASURES", "PUBLISHED", "Comparison", "Row", "compare"]

Progress = Callable[[str, int, int], None]

MEASURES = ("HR@10 of 100", "NDCG@10 of 100", "worst decile", "HR@10", "NDCG@10", "AUC")
"""The first three among 99 negatives, the others over all candidates; shares from 0 to 1."""

PUBLISHED: Mapping[str, tuple[float, float]] = {"PFedRec on ML-100K (Zhang et al. 2023)": (0.7105, 0.4389)}
"""HR@10 and NDCG@10 among 99 negatives, as published, by another split of ties and other negatives."""


@dataclass(frozen=True)
class Row:
    """One way to rank: each of `MEASURES` over seeds, and NDCG@10 of validation items among 99 negatives."""

    name: str
    kind: str
    figures: Mapping[str, Spread]
    validation: Spread


@dataclass(frozen=True)
class Comparison:
    """``rows`` in order; ``gains`` are of NDCG@10 of 100, level to level, as differences of the same seed."""

    people: int
    items: int
    vocabulary: int
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    gains: Mapping[str, Spread]


def compare(population: Population, seeds: Sequence[int], progress: Progress) -> Comparison:
    """Measures every baseline and level; a seed draws negatives, starts, samples and folds, never the split.

    ValueError where ``population`` is too small to measure; `federation.evaluation.baselines.MissingLibrary` where the
    central baseline's library is not installed.
    """
    task = build_task(population.histories, population.items)
    progress("what devices sum up", 0, 2)
    shared = learn(task)
    progress("what devices sum up", 1, 2)
    known = all_features(task, shared, content(population.items, task.items))
    progress("what devices sum up", 2, 2)
    tests: dict[str, list[dict[str, Figures]]] = defaultdict(list)
    validations: dict[str, list[float]] = defaultdict(list)
    for done, seed in enumerate(seeds):
        progress("seeds", done, len(seeds))
        for name, baseline in BASELINES.items():
            scorer = baseline(task, seed)
            tests[name].append(measure(task, scorer, seed))
            validations[name].append(_validation(task, scorer, seed))
        for name, level in level_scorers(task, known, seed).items():
            tests[name].append(measure(task, level.test, seed))
            validations[name].append(_validation(task, level.validation, seed))
    progress("seeds", len(seeds), len(seeds))
    kinds = {**dict.fromkeys(BASELINES, "baseline"), **dict.fromkeys(LEVELS, "level")}
    rows = tuple(Row(name, kind, _spreads(tests[name]), spread(validations[name])) for name, kind in kinds.items())
    numbers = len(task.people), len(task.items), len(shared.vocabulary.numbers)
    return Comparison(*numbers, tuple(seeds), rows, _gains(tests))


def _validation(task: Task, scorer: Scorer, seed: int) -> float:
    return measure(task, scorer, seed, "validation")["sampled"].ndcg


def _spreads(found: Sequence[Mapping[str, Figures]]) -> dict[str, Spread]:
    columns = {
        "HR@10 of 100": [one["sampled"].hr for one in found],
        "NDCG@10 of 100": [one["sampled"].ndcg for one in found],
        "worst decile": [one["sampled"].worst_decile for one in found],
        "HR@10": [one["full"].hr for one in found],
        "NDCG@10": [one["full"].ndcg for one in found],
        "AUC": [one["full"].auc for one in found],
    }
    return {name: spread(values) for name, values in columns.items()}


def _gains(tests: Mapping[str, Sequence[Mapping[str, Figures]]]) -> dict[str, Spread]:
    gains = {}
    for before, after in pairwise(LEVELS):
        pairs = zip(tests[before], tests[after], strict=True)
        gains[f"{before} to {after}"] = spread([b["sampled"].ndcg - a["sampled"].ndcg for a, b in pairs])
    return gains
