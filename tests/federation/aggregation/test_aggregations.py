"""Every algorithm against its closed form: order does not matter, and bad updates and combinations are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from federation.aggregation import registry
from federation.aggregation.base import Aggregate
from federation.aggregation.krum import scores
from federation.aggregation.norm_bounding import clipped, norm_of
from federation.aggregation.products import products
from federation.aggregation.registry import NAMES, Incompatible, check, create, fewest, options
from federation.aggregation.stack_svd import factors
from federation.tensors import Tensors
from tests.federation.aggregation.making import INTO, MODULES, OUT, RANK, adapter, change

LINEAR = ("ffa-lora", "rolora", "fedit", "fed-sb", "soft-prompt")
DEVICES = 7


def run(name: str, updates: Sequence[Tensors], weights: Sequence[int], number: int = 1, **options: object) -> Aggregate:
    """The result of one round over ``updates``."""
    collector = create(name, **options).begin(adapter(core=name == "fed-sb"), number)
    for at, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        collector.add(f"device {at}", update, weight)
    return collector.finish()


def updates_for(name: str, count: int = DEVICES, number: int = 1, scale: float = 1.0) -> list[Tensors]:
    parts = create(name).trained(number)
    return [change(adapter(core=name == "fed-sb"), parts, seed, scale) for seed in range(count)]


@pytest.mark.parametrize("name", NAMES)
@given(order=st.permutations(range(DEVICES)), number=st.sampled_from([1, 2]))
def test_the_order_in_which_updates_arrive_changes_no_bit(name: str, order: list[int], number: int):
    updates, weights = updates_for(name, number=number), range(1, DEVICES + 1)
    one = create(name).begin(adapter(core=name == "fed-sb"), number)
    two = create(name).begin(adapter(core=name == "fed-sb"), number)
    for at in range(DEVICES):
        one.add(str(at), updates[at], weights[at])
    for at in order:
        two.add(str(at), updates[at], weights[at])
    first, second = one.finish(), two.finish()
    assert first.tensors.keys() == second.tensors.keys()
    assert all(np.array_equal(first.tensors[tensor], second.tensors[tensor]) for tensor in first.tensors)
    assert (first.residual, first.rejected) == (second.residual, second.rejected)


@pytest.mark.parametrize("name", LINEAR)
@given(weights=st.lists(st.integers(1, 20), min_size=1, max_size=DEVICES))
def test_the_linear_ones_add_the_weighted_mean(name: str, weights: list[int]):
    updates = updates_for(name, len(weights))
    found = run(name, updates, weights).tensors
    for tensor, before in adapter(core=name == "fed-sb").items():
        changes = [update[tensor] for update in updates if tensor in update]
        mean = np.average(changes, axis=0, weights=weights) if changes else 0.0
        np.testing.assert_allclose(found[tensor], before + mean, atol=1e-5)
        assert found[tensor].dtype == np.float32
        if not changes:
            assert np.array_equal(found[tensor], before)


@pytest.mark.parametrize(("name", "number"), [("ffa-lora", 1), ("rolora", 1), ("rolora", 2)])
def test_with_one_factor_frozen_the_mean_of_the_products_is_the_product_of_the_means(name: str, number: int):
    updates = updates_for(name, number=number)
    found = run(name, updates, [1] * DEVICES, number)
    assert found.residual == 0.0
    mean = _mean_products(updates)
    for module, product in products(found.tensors).items():
        np.testing.assert_allclose(product, mean[module], atol=1e-4)


def test_fedit_reports_how_far_it_is_from_the_mean_of_the_products():
    updates = updates_for("fedit")
    found = run("fedit", updates, [1] * DEVICES)
    mean, own = _mean_products(updates), products(found.tensors)
    apart = sum(((mean[module] - own[module]) ** 2).sum() for module in MODULES) ** 0.5
    whole = sum((mean[module] ** 2).sum() for module in MODULES) ** 0.5
    assert found.residual == pytest.approx(apart / whole, rel=1e-4)
    assert found.residual > 0.1
    assert run("fedit", updates[:1], [1]).residual == pytest.approx(0.0, abs=1e-6)


def test_stacking_is_the_mean_of_the_products_cut_to_the_best_of_its_rank():
    updates = updates_for("stack-svd")
    found = run("stack-svd", updates, [1] * DEVICES)
    mean, own = _mean_products(updates), products(found.tensors)
    missed = 0.0
    for module in MODULES:
        values = np.linalg.svd(mean[module], compute_uv=False)
        apart = ((mean[module] - own[module]) ** 2).sum()
        assert apart == pytest.approx((values[RANK:] ** 2).sum(), rel=1e-3)
        missed += apart
    whole = sum((mean[module] ** 2).sum() for module in MODULES)
    assert found.residual == pytest.approx((missed / whole) ** 0.5, rel=1e-3)


def test_devices_of_several_ranks_are_stacked_exactly_where_the_rank_suffices():
    current = adapter(rank=RANK)
    collector, expected = create("stack-svd").begin(current, 1), {module: np.zeros((OUT, INTO)) for module in MODULES}
    for seed, rank in enumerate((1, 2, 1)):
        update = change(current, frozenset({"A", "B", "prompt"}), seed)
        for module in MODULES:
            a, b = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
            update[a], update[b] = -current[a][:rank] * (seed != 1), -current[b][:, :rank] * (seed != 1)
            after = (current[b][:, :rank] + update[b]).astype(float) @ (current[a][:rank] + update[a])
            expected[module] += after / 3
        collector.add(str(seed), update, 1)
    found = collector.finish()
    for module, product in products(found.tensors).items():
        np.testing.assert_allclose(product, expected[module], atol=1e-4)
    assert found.residual < 1e-5


@given(st.integers(0, 1000), st.integers(1, 6))
def test_factors_of_enough_rank_give_the_product_back(seed: int, rank: int):
    draw = np.random.default_rng(seed)
    product = draw.normal(size=(OUT, rank)) @ draw.normal(size=(rank, INTO))
    a, b = factors(product, rank)
    assert (a.shape, b.shape) == ((rank, INTO), (OUT, rank))
    np.testing.assert_allclose(b @ a, product, atol=1e-4)


def test_median_and_trimmed_mean_are_those_of_numpy_and_scipy():
    updates = updates_for("median", 9)
    for name, share in (("median", None), ("trimmed-mean", 0.25)):
        found = run(name, updates, [5] * 9, **({} if share is None else {"share": share})).tensors
        for tensor in updates[0]:
            rows = np.stack([update[tensor] for update in updates]).astype(float)
            expected = np.median(rows, axis=0) if share is None else trim_mean(rows, share, axis=0)
            np.testing.assert_allclose(found[tensor] - adapter()[tensor], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "krum", "norm-bounding"])
def test_a_few_liars_move_the_robust_ones_little(name: str):
    honest = updates_for(name, 12, scale=0.1)
    liars = [{tensor: array * 0 + 80.0 for tensor, array in honest[0].items()}] * 2
    options = {"trimmed-mean": {"share": 0.2}, "krum": {"liars": 2, "keep": 5}, "norm-bounding": {"norm": 0.5}}
    clean = run(name, honest, [1] * 12, **options.get(name, {})).tensors
    lied = run(name, [*honest, *liars], [1] * 14, **options.get(name, {}))
    plain = run("ffa-lora", [*honest, *liars], [1] * 14).tensors
    moved = {tensor: np.abs(lied.tensors[tensor] - clean[tensor]).max() for tensor in honest[0]}
    assert max(moved.values()) < 0.25
    assert max(np.abs(plain[tensor] - clean[tensor]).max() for tensor in honest[0]) > 10
    assert name != "krum" or {"device 12", "device 13"} <= set(lied.rejected)


def test_krum_s_scores_are_sums_of_the_nearest_squared_distances():
    rows = np.array([[0.0], [1.0], [3.0], [4.0], [50.0]])
    # n - f - 2 = 2 nearest others, with one liar among five.
    assert list(scores(rows, 1)) == [1 + 9, 1 + 4, 1 + 4, 1 + 9, 46**2 + 47**2]


@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.floats(0.01, 10.0))
def test_no_update_exceeds_the_bound_and_small_ones_stay(seed: int, scale: float, norm: float):
    update = change(adapter(), frozenset({"B", "prompt"}), seed, scale)
    found = clipped(update, norm)
    assert norm_of(found) <= norm * (1 + 1e-5)
    assert norm_of(update) > norm or found is update


@pytest.mark.parametrize("name", NAMES)
def test_no_change_changes_nothing_but_an_svd_s_factors(name: str):
    current = adapter(core=name == "fed-sb")
    updates = [{tensor: array * 0 for tensor, array in update.items()} for update in updates_for(name)]
    found = run(name, updates, [1] * DEVICES)
    for module, product in products(found.tensors).items():
        np.testing.assert_allclose(product, products(current)[module], atol=1e-4)
    assert found.residual == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "nan", "huge", "integers"])
def test_an_update_that_does_not_fit_is_refused_by_the_tensor_s_name(name: str, fault: str):
    update = dict(updates_for(name)[0])
    tensor = sorted(update)[-1]
    if fault == "missing":
        del update[tensor]
    elif fault == "unknown":
        update["m0.lora_X.weight" if name == "soft-prompt" else "m9.lora_B.weight"] = update[tensor]
    else:
        bad = {"shape": np.zeros((1, 1)), "nan": update[tensor] * np.nan, "huge": update[tensor] * 0 + 2000.0}
        update[tensor] = bad.get(fault, np.zeros(update[tensor].shape, dtype=int))
    with pytest.raises(ValueError, match=r"lora_|soft_prompt"):
        create(name).begin(adapter(core=name == "fed-sb"), 1).add("device", update, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_round_without_updates_is_refused(name: str):
    with pytest.raises(ValueError, match="update"):
        create(name).begin(adapter(core=name == "fed-sb"), 1).finish()


def test_krum_needs_as_many_updates_as_its_proof():
    with pytest.raises(ValueError, match="needs 7"):
        run("krum", updates_for("krum", 6), [1] * 6, liars=2)


@pytest.mark.parametrize(
    ("name", "wanted", "instead"),
    [
        ("stack-svd", {"secure_aggregation": True}, "ffa-lora"),
        ("median", {"secure_aggregation": True}, "ffa-lora"),
        ("norm-bounding", {"secure_aggregation": True}, "clipped on the devices"),
        ("trimmed-mean", {"secure_aggregation": True, "robust": True}, "Choose one of them"),
        ("norm-bounding", {"secure_aggregation": True, "robust": True}, "Choose one of them"),
        ("ffa-lora", {"secure_aggregation": True, "robust": True}, "Choose one of them"),
        ("krum", {"devices": 4}, r"liars=1.*needs 5 devices"),
        ("krum", {"noise": True}, "norm-bounding"),
        ("ffa-lora", {"mixed_ranks": True}, "stack-svd"),
        ("fedit", {"robust": True}, "trimmed-mean"),
        ("stack-svd", {"optimizer": "fedadam"}, "fedavg"),
    ],
)
def test_a_refused_combination_explains_itself(name: str, wanted: dict[str, object], instead: str):
    with pytest.raises(Incompatible, match=instead):
        check(create(name), **wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_every_refusal_has_its_reason(name: str):
    compatibility = create(name).compatibility
    for field in ("secure_aggregation", "noise", "mixed_ranks", "robust"):
        assert getattr(compatibility, field) or compatibility.why[field]
    check(create(name))


def test_unknown_names_and_options_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="ffa-lora, rolora"):
        create("fedprox")
    with pytest.raises(ValueError, match="liars"):
        create("krum", attackers=1)
    assert registry.DEFAULT == "ffa-lora"


@pytest.mark.parametrize(
    ("name", "option", "values", "said"),
    [
        ("trimmed-mean", "share", (0.5, -0.1, 1), "share is a finite number of 0 or more and below 0.5"),
        ("krum", "liars", (-1, 0.5), "liars is a whole number of 0 or more"),
        ("krum", "keep", (0, 1.5), "keep is a whole number of 1 or more"),
        ("norm-bounding", "norm", (0.0, -1, float("inf")), "norm is a finite number above 0"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_option(name: str, option: str, values: Any, said: str):
    for value in (*values, float("nan"), "1", None, True, [1]):
        with pytest.raises(ValueError, match=said):
            create(name, **{option: value})


@pytest.mark.parametrize(
    ("liars", "keep", "needed"), [(0, 1, 3), (1, 1, 5), (2, 4, 7), (1, 9, 9)], ids=["none", "one", "two", "many kept"]
)
def test_krum_names_how_many_devices_it_needs(liars: int, keep: int, needed: int):
    krum = create("krum", liars=liars, keep=keep)
    assert fewest(krum) == needed
    check(krum, devices=needed)
    with pytest.raises(Incompatible, match=f"{needed} devices in a round and {needed - 1} are sampled"):
        check(krum, devices=needed - 1)


def test_cores_are_not_averaged_where_there_are_none():
    with pytest.raises(ValueError, match="these weights have none.*choose ffa-lora"):
        create("fed-sb").begin(adapter(core=False), 1)


def test_the_documentation_says_what_goes_with_what():
    document = Path(__file__).parents[3].joinpath("docs", "federation.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| `([a-z-]+)`(?: \(default\))? \|(?:[^|]*\|){2}([^|]*)\|[^|]*\|$", document, re.MULTILINE)
    )
    assert set(rows) == set(NAMES)
    for name, goes_with in rows.items():
        compatibility = create(name).compatibility
        assert ("secure aggregation" in goes_with) == compatibility.secure_aggregation, name
        assert ("noise" in goes_with) == compatibility.noise, name
        assert ("mixed ranks" in goes_with) == compatibility.mixed_ranks, name
        assert all(f"`{option}`" in document for option in options(name))


def _mean_products(updates: Sequence[Tensors]) -> dict[str, np.ndarray]:
    current = adapter()
    found = {module: np.zeros((OUT, INTO)) for module in MODULES}
    for update in updates:
        after = {name: array.astype(float) + update.get(name, 0.0) for name, array in current.items()}
        for module in MODULES:
            product = after[f"{module}.lora_B.weight"] @ after[f"{module}.lora_A.weight"]
            found[module] += product / len(updates)
    return found


@pytest.mark.parametrize("name", ["fedit", "stack-svd"])
def test_of_a_refused_update_nothing_counts(name: str):
    updates = updates_for(name)
    huge = {tensor: array * 0 + 900.0 for tensor, array in updates[0].items()}
    collector = create(name).begin(adapter(), 1)
    for at, update in enumerate(updates):
        collector.add(str(at), update, 1)
        with pytest.raises(ValueError, match="product"):
            collector.add("liar", huge, 1)
    found, clean = collector.finish(), run(name, updates, [1] * DEVICES)
    assert all(np.array_equal(found.tensors[tensor], clean.tensors[tensor]) for tensor in clean.tensors)


def test_a_rank_without_a_change_can_still_learn():
    current = {name: array * ("lora_B" not in name) for name, array in adapter().items()}
    collector = create("stack-svd").begin(current, 1)
    collector.add("device", {name: array * 0 for name, array in current.items()}, 1)
    for name, array in collector.finish().tensors.items():
        assert "lora_A" not in name or (np.abs(array).sum(axis=1) > 0).all()
