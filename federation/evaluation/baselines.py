"""What personalised ranking is measured against: popularity, item-kNN, and matrix factorisation, central and federated.

Each is fitted on the training items alone and chosen, where it has options, by NDCG@10 of validation items among 99
negatives. Knows the task and nothing of the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from federation.evaluation.metrics import sampled_ranks, summed_up
from federation.evaluation.protocol import Task
from federation.evaluation.scorers import Matrix

__all__ = ["BASELINES", "MissingLibrary", "central_mf", "federated_mf", "interactions", "item_knn", "popularity"]

Array = NDArray[np.float32]

_NEIGHBOURS = (20, 50, 100, 200)
_ALS = tuple((factors, alpha) for factors in (16, 32, 64) for alpha in (2.0, 5.0))
_REGULARISATION = 5.0
_WIDTH = 32
_ROUNDS = 200
_LOOK = 20


class MissingLibrary(RuntimeError):
    """A baseline needs a library that is not installed."""


def interactions(task: Task) -> sparse.csr_array:
    """1 where a person trains with an item: float32 (people, items)."""
    rows = np.repeat(np.arange(len(task.people)), [len(known) for known in task.train])
    columns = np.concatenate(task.train)
    ones = np.ones(len(columns), dtype=np.float32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(task.people), len(task.items)))


def popularity(task: Task, seed: int) -> Matrix:
    """The number of people that train with an item; ``seed`` changes nothing."""
    totals = np.asarray(interactions(task).sum(axis=0), dtype=np.float32)
    return Matrix(np.broadcast_to(totals, (len(task.people), len(task.items))))


def item_knn(task: Task, seed: int) -> Matrix:
    """Cosine between items (Sarwar et al. 2001), each item's nearest neighbours summed over the person's items."""
    known = interactions(task)
    together = (known.T @ known).toarray()
    length = np.sqrt(np.maximum(np.diag(together), 1))
    cosine = together / length[:, None] / length[None, :]
    np.fill_diagonal(cosine, 0)
    order = np.argsort(-cosine, axis=0, kind="stable")

    def nearest(count: int) -> Matrix:
        kept = np.zeros_like(cosine)
        rows = order[:count]
        np.put_along_axis(kept, rows, np.take_along_axis(cosine, rows, axis=0), axis=0)
        return Matrix(known @ kept)

    return _best(task, seed, (nearest(count) for count in _NEIGHBOURS))


def central_mf(task: Task, seed: int) -> Matrix:
    """Implicit-feedback ALS (Hu et al. 2008) of the library implicit, over everybody's data in one place.

    MissingLibrary where implicit is not installed.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingLibrary("central matrix factorisation needs implicit: pip install implicit") from error
    known = sparse.csr_matrix(interactions(task))

    def fitted(factors: int, alpha: float) -> Matrix:
        model = AlternatingLeastSquares(
            factors=factors, regularization=_REGULARISATION, alpha=alpha, iterations=15, random_state=seed
        )
        model.fit(known, show_progress=False)
        return Matrix(np.asarray(model.user_factors @ model.item_factors.T, dtype=np.float32))

    with threadpool_limits(1, "blas"):  # as implicit asks for: its own threads are in the way of BLAS's
        return _best(task, seed, (fitted(*options) for options in _ALS))


def federated_mf(task: Task, seed: int) -> Matrix:
    """FedMF (Chai et al. 2020) for implicit feedback: a person's vector stays, item vectors' gradients are averaged.

    Binary cross-entropy with four negatives to each training item, drawn anew each round; held-out items may be drawn.
    Everybody takes part in each of 200 rounds. The server steps by Adam; so does each device on its own vector. The
    round of the best validation ranking is kept.
    """
    rng = np.random.default_rng([seed, 2])
    known = interactions(task)
    people = _Adam(rng.normal(0, 0.1, (len(task.people), _WIDTH)), 0.05)
    items = _Adam(rng.normal(0, 0.1, (len(task.items), _WIDTH)), 0.05)
    bias = _Adam(np.zeros((len(task.items), 1)), 0.05)

    def rounds() -> Iterable[Matrix]:
        for number in range(1, _ROUNDS + 1):
            rows, columns, right = _examples(known, rng)
            scores = np.einsum("nw,nw->n", people.values[rows], items.values[columns]) + bias.values[columns, 0]
            errors = sparse.csr_array((expit(scores) - right, (rows, columns)), shape=known.shape)
            examples = np.maximum(np.bincount(rows, minlength=known.shape[0]), 1)[:, None]
            shares = errors.multiply(1 / examples).tocsr()  # each device's mean over its examples
            for_items, for_people = shares.T @ people.values, shares @ items.values
            bias.step(np.asarray(shares.sum(axis=0))[:, None] / known.shape[0])
            items.step(for_items / known.shape[0])
            people.step(for_people)
            if number % _LOOK == 0:
                yield Matrix((people.values @ items.values.T + bias.values.T).astype(np.float32))

    return _best(task, seed, rounds())


BASELINES: Mapping[str, Callable[[Task, int], Matrix]] = {
    "popularity": popularity,
    "item-kNN": item_knn,
    "central MF (implicit)": central_mf,
    "FedMF": federated_mf,
}


class _Adam:
    """Parameters ``values`` and their Adam steps (Kingma and Ba 2015)."""

    def __init__(self, values: NDArray[np.float64], rate: float) -> None:
        self.values, self._rate, self._count = values, rate, 0
        self._mean, self._square = np.zeros_like(values), np.zeros_like(values)

    def step(self, gradient: NDArray[np.float64]) -> None:
        self._count += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean, square = self._mean / (1 - 0.9**self._count), self._square / (1 - 0.999**self._count)
        self.values = self.values - self._rate * mean / (np.sqrt(square) + 1e-8)


def _examples(
    known: sparse.csr_array, rng: np.random.Generator, negatives: int = 4
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """People, items and labels: each training item once, and for each some items that are none of the person's."""
    rows, columns = known.nonzero()
    wrong_rows = np.repeat(rows, negatives)
    wrong = rng.integers(known.shape[1], size=len(wrong_rows))
    met = np.isin(wrong_rows * known.shape[1] + wrong, rows * known.shape[1] + columns)
    wrong_rows, wrong = wrong_rows[~met], wrong[~met]
    right = np.concatenate([np.ones(len(rows)), np.zeros(len(wrong))])
    return np.concatenate([rows, wrong_rows]), np.concatenate([columns, wrong]), right


def _best(task: Task, seed: int, found: Iterable[Matrix]) -> Matrix:
    """The one that ranks validation items best, among negatives drawn by ``seed``."""
    negatives = task.negatives(seed)
    return max(found, key=lambda one: summed_up(sampled_ranks(task, one, negatives, "validation")).ndcg)
