"""What the server makes of the sums: item-item matrices and popularity, the shared part of the collaborative signal.

Knows sums over devices and nothing of any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh, svds

from federation.collaborative.statistics import Matrix, Sums, Vocabulary
from federation.evaluation.protocol import Integers
from federation.releases.weights import ItemVectors

__all__ = ["LINKS", "Shared", "ease", "factorised", "item_vectors", "solve", "spectral", "transitions"]

LINKS = ("ease", "near", "taste", "soon", "next", "later")
"""The item-item matrices; `solve` says which sum each comes from."""

_RIDGE = 100.0
_WIDTH = 32
_DOUBT = 10.0

Link = NDArray[np.float32]


@dataclass(frozen=True)
class Shared:
    """``links`` are float32 (kept, kept): entry (p, q) says how much a meeting of p speaks for q.

    ``popularity`` is float32 (items,): log(1 + devices that met the item), at mean 0 and deviation 1.
    """

    vocabulary: Vocabulary
    links: Mapping[str, Link]
    popularity: NDArray[np.float32]


def solve(sums: Sums, totals: Integers, vocabulary: Vocabulary) -> Shared:
    """``ease`` and ``taste`` of ``together``, ``near`` of ``near``, and the directed ones of their own sums."""
    links = {
        "ease": ease(sums.matrices["together"]),
        "near": ease(sums.matrices["near"]),
        "taste": spectral(sums.matrices["together"], totals[vocabulary.numbers]),
        **{kind: transitions(sums.matrices[kind]) for kind in ("soon", "next", "later")},
    }
    popularity = np.log1p(totals)
    popularity = (popularity - popularity.mean()) / max(float(popularity.std()), 1e-9)
    return Shared(vocabulary, links, popularity.astype(np.float32))


def ease(gram: Matrix, ridge: float = _RIDGE) -> Link:
    """The item-item weights of EASE (Steck 2019, equation 8), diagonal 0; ``gram`` is symmetric and not negative."""
    inverse = linalg.inv(gram + ridge * np.eye(len(gram)), assume_a="pos", overwrite_a=True, check_finite=False)
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    link: Link = weights.astype(np.float32)
    return link


def spectral(gram: Matrix, totals: Integers, width: int = _WIDTH) -> Link:
    """The projection on the ``width`` largest eigenvectors of ``gram``, its items damped by the root of ``totals``.

    PureSVD (Cremonesi et al. 2010) of the damped interactions, without the interactions: their right singular vectors
    are the eigenvectors of their gram matrix.
    """
    scale = np.maximum(totals, 1.0) ** -0.25
    damped = gram * scale[:, None] * scale[None, :]
    start = np.ones(len(damped))  # eigsh draws at random otherwise
    if width < len(damped) - 1:
        _, vectors = eigsh(damped, k=width, v0=start)
    else:
        vectors = np.linalg.eigh(damped)[1][:, -width:]
    link: Link = ((scale[:, None] * vectors) @ (vectors.T / scale[None, :])).astype(np.float32)
    return link


def transitions(sums: Matrix) -> Link:
    """``sums`` as shares of each row, shrunk towards 0 where there is little evidence."""
    link: Link = (sums / (sums.sum(axis=1, keepdims=True) + _DOUBT)).astype(np.float32)
    return link


def factorised(link: Link, width: int) -> tuple[Link, Link]:
    """Source and target vectors (kept, ``width``) whose products come closest to ``link`` of all of that rank."""
    operator = LinearOperator(link.shape, matvec=lambda x: link @ x, rmatvec=lambda x: link.T @ x, dtype=np.float32)
    left, values, right = svds(operator, k=width, v0=np.ones(len(link), dtype=np.float32))
    root = np.sqrt(np.maximum(values, 0))
    return left * root, (right * root[:, None]).T


def item_vectors(shared: Shared, items: tuple[str, ...], link: str, width: int) -> ItemVectors:
    """A link as a release carries it: for each item of the vocabulary its source vector, then its target vector.

    ``vectors`` is float32 (kept, 2 ``width``): item p speaks for q by vectors[p, :width] · vectors[q, width:].
    """
    source, target = factorised(shared.links[link], width)
    ids = tuple(items[number] for number in shared.vocabulary.numbers)
    return ItemVectors(ids, np.hstack([source, target]).astype(np.float32))
