"""The shared weights come from averaged, bounded gradients, and cohorts from what devices choose."""

from __future__ import annotations

import numpy as np
from scipy.optimize import check_grad

from federation.collaborative.cohorts import SMALLEST, choose, form
from federation.collaborative.weights import cross_fitted, device_gradient, fit

RNG = np.random.default_rng(0)
DEVICES = RNG.normal(size=(50, 12, 3)).astype(np.float32)


def test_a_devices_gradient_is_that_of_its_loss():
    one = DEVICES[0].astype(np.float64)
    wrong = check_grad(
        lambda w: device_gradient(one, w)[0], lambda w: device_gradient(one, w)[1], np.array([0.3, -1.0, 0.5])
    )
    assert wrong < 1e-5


def test_a_devices_gradient_is_bounded_by_its_features():
    _, gradient = device_gradient(8 * np.sign(DEVICES[0]), np.array([100.0, -50.0, 3.0]))
    assert np.abs(gradient).max() <= 16


def test_at_the_fit_the_averaged_gradients_balance_the_ridge():
    weights = fit(DEVICES, ridge=0.1)
    mean = np.mean([device_gradient(one, weights)[1] for one in DEVICES], axis=0)
    assert np.allclose(mean + 2 * 0.1 * weights, 0, atol=1e-3)


def test_weights_find_the_feature_that_tells():
    devices = DEVICES.copy()
    devices[:, 0, 1] += 3
    weights = fit(devices, ridge=1e-3)
    assert weights[1] > 1
    assert weights[1] > 3 * np.abs(weights[[0, 2]]).max()


def test_no_device_is_ranked_by_weights_that_it_helped_to_fit():
    folds = cross_fitted(DEVICES, 0.1, seed=0)
    assert sorted(np.concatenate([fold for fold, _ in folds])) == list(range(50))
    fold, weights = folds[0]
    changed = DEVICES.copy()
    changed[fold] *= -3
    assert np.allclose(cross_fitted(changed, 0.1, seed=0)[0][1], weights)


def test_cohorts_find_two_tastes_and_devices_choose_their_own():
    rng = np.random.default_rng(1)
    histories = [rng.permutation(30)[:10] + 30 * (person % 2) for person in range(80)]
    found = form(histories, 60, 4, seed=0)
    by_taste = [set(found.members[taste::2]) for taste in (0, 1)]
    assert not by_taste[0] & by_taste[1]
    assert all(choose(one, found.logs) == member for one, member in zip(histories, found.members, strict=True))
    assert np.allclose(np.exp(found.logs).sum(axis=1), 1)


def test_a_cohort_of_too_few_devices_does_not_ship():
    histories = [np.arange(5) for _ in range(SMALLEST - 1)]
    found = form(histories, 10, 3, seed=0)
    assert len(found.logs) == 1
    assert set(found.members) == {0}
