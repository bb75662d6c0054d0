"""What is written is whole, the same each time, and what PEFT loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from federation.lora import LoraShape
from federation.releases.base import read_base
from federation.releases.errors import NotFinite, WrongShape
from federation.releases.package import write_release
from federation.releases.verify import verify
from federation.releases.weights import (
    ItemVectors,
    items_from_bytes,
    items_to_bytes,
    tensors_from_bytes,
    tensors_to_bytes,
)
from tests.engine.models import make_model
from tests.federation.releases.making import BASE, LORA, MODULES, make, weights

ARRAYS = npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-10, 10, width=32))


@given(st.dictionaries(st.sampled_from(["a", "b", "soft_prompt"]), ARRAYS, min_size=1))
def test_saving_then_loading_tensors_is_the_identity(tensors):
    read = tensors_from_bytes(tensors_to_bytes(tensors), "it")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)


@given(st.lists(st.text(), min_size=1, unique=True), st.integers(1, 4))
@settings(max_examples=50)
def test_saving_then_loading_items_is_the_identity(ids, width):
    vectors = np.arange(len(ids) * width, dtype=np.float32).reshape(len(ids), width)
    read = items_from_bytes(items_to_bytes(ItemVectors(tuple(ids), vectors)), "it")
    assert read.ids == tuple(ids)
    np.testing.assert_array_equal(read.vectors, vectors)


def test_the_same_weights_are_the_same_release(tmp_path):
    assert make(tmp_path / "one") == make(tmp_path / "two")
    assert make(tmp_path / "three", seed=1).digest != make(tmp_path / "four").digest
    assert make(tmp_path / "five", parent="c" * 64).digest != make(tmp_path / "six").digest


def test_nothing_is_left_of_a_release_that_cannot_be(tmp_path):
    bad = weights(0)
    bad["soft_prompt"][0, 0] = np.nan
    with pytest.raises(NotFinite):
        make(tmp_path / "release", cohorts={"global": bad})
    with pytest.raises(WrongShape):
        make(tmp_path / "release", cohorts={"global": weights(0, rank=3)})
    assert list(tmp_path.iterdir()) == []


def test_a_release_is_never_written_over(tmp_path):
    make(tmp_path / "release")
    with pytest.raises(FileExistsError, match="never written over"):
        make(tmp_path / "release", seed=1)


def test_a_core_between_the_factors_is_written_with_b(tmp_path):
    tensors = weights(0)
    draw = np.random.default_rng(1)
    cores = {f"{module}.lora_core.weight": draw.normal(size=(2, 2)).astype(np.float32) for module in MODULES}
    make(tmp_path / "release", cohorts={"global": {**tensors, **cores}})
    written = verify(tmp_path / "release").cohorts["global"]
    for module in MODULES:
        expected = tensors[f"{module}.lora_B.weight"] @ cores[f"{module}.lora_core.weight"]
        np.testing.assert_allclose(written[f"{module}.lora_B.weight"], expected, rtol=1e-6)
        assert f"{module}.lora_core.weight" not in written


def test_numpys_numbers_are_metadata_too(tmp_path):
    manifest = make(tmp_path / "release", rounds=[{"round": 1, "ndcg": float(np.float32(0.1)), "dropped": ["c1"]}])
    assert json.loads((tmp_path / "release" / "manifest.json").read_text())["rounds"] == list(manifest.rounds)


def test_peft_loads_it_and_computes_with_it(tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "model")
    base = read_base(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    draw = np.random.default_rng(0)
    tensors = {}
    for layer in range(2):
        for name, out in (("q_proj", 64), ("v_proj", 32)):
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{module}.lora_A.weight"] = draw.normal(size=(4, 64)).astype(np.float32)
            tensors[f"{module}.lora_B.weight"] = draw.normal(size=(out, 4)).astype(np.float32)
    write_release(tmp_path / "release", {"global": tensors}, LoraShape(4, 8.0), base)
    before = model.model.layers[1].self_attn.q_proj.weight.detach().clone()
    merged = PeftModel.from_pretrained(model, verify(tmp_path / "release").adapter("global")).merge_and_unload()
    change = merged.model.layers[1].self_attn.q_proj.weight.detach() - before
    module = "base_model.model.model.layers.1.self_attn.q_proj"
    expected = 2.0 * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
    np.testing.assert_allclose(change.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_shapes_that_are_no_lora_are_refused(tmp_path):
    with pytest.raises(WrongShape, match="has no LoRA"):
        write_release(tmp_path / "release", {"global": {}}, LORA, BASE)
