"""The shared weights of features, learned by rounds of averaged gradients: a softmax regression on held-out events.

A device's loss is the cross-entropy of its validation item among itself and sampled items, under softmax(features ·
weights). It sends its loss and gradient, whose norm features bound; the server averages them and takes the step that
L-BFGS makes of the averages. Knows features and nothing of what they mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

__all__ = ["cross_fitted", "device_gradient", "fit"]

FOLDS = 5
_ROUNDS = 60

Weights = NDArray[np.float64]


def device_gradient(candidates: NDArray[np.float32], weights: Weights) -> tuple[float, Weights]:
    """The loss, in nats, and its gradient for one device: ``candidates`` (n, columns), the right one first."""
    logs = log_softmax(candidates @ weights)
    return -float(logs[0]), np.exp(logs) @ candidates - candidates[0]


def fit(devices: NDArray[np.float32], ridge: float, rounds: int = _ROUNDS) -> Weights:
    """The weights (columns,) of lowest mean loss over ``devices`` (devices, n, columns) plus ``ridge`` ‖weights‖²."""

    def averaged(weights: Weights) -> tuple[float, Weights]:
        # The mean of `device_gradient` over devices, all at once.
        logs = log_softmax(devices @ weights.astype(np.float32), axis=1)
        gradients = np.einsum("dn,dnc->dc", np.exp(logs), devices) - devices[:, 0]
        loss = -float(logs[:, 0].mean()) + ridge * float(weights @ weights)
        return loss, gradients.mean(axis=0).astype(np.float64) + 2 * ridge * weights

    found = minimize(averaged, np.zeros(devices.shape[2]), jac=True, method="L-BFGS-B", options={"maxfun": rounds})
    weights: Weights = found.x
    return weights


def cross_fitted(devices: NDArray[np.float32], ridge: float, seed: int) -> list[tuple[NDArray[np.int64], Weights]]:
    """For each of five folds of devices, drawn by ``seed``, the devices in it and the weights that all others fit."""
    folds = np.array_split(np.random.default_rng(seed).permutation(len(devices)), FOLDS)
    return [(fold, fit(np.delete(devices, fold, axis=0), ridge)) for fold in folds]
