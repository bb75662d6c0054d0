"""Two adapters are one, exactly; the personal one is its owner's alone, and whole or refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation.device.dual import (
    Ground,
    Personal,
    PersonalFiles,
    concatenated,
    concatenated_shape,
    write_adapter,
)
from federation.device.examples import choices
from federation.device.files import DamagedFile
from federation.device.tuner import Tuner
from federation.lora import LoraShape
from federation.releases.base import read_base
from federation.tensors import SOFT_PROMPT, Tensors
from tests.federation.device.making import ITEMS, history, random_like, tiny

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
SIZES = st.integers(1, 5)
SCALES = st.floats(0.25, 4.0)
SHARED, OWN = LoraShape(4, 8.0), LoraShape(3, 12.0)


def lora(seed: int, out: int, into: int, rank: int, tokens: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    found = {f"{MODULE}.lora_A.weight": draw.normal(size=(rank, into)).astype(np.float32)}
    found[f"{MODULE}.lora_B.weight"] = draw.normal(size=(out, rank)).astype(np.float32)
    if tokens:
        found[SOFT_PROMPT] = draw.normal(size=(tokens, 2)).astype(np.float32)
    return found


def change(tensors: Tensors, scale: float = 1.0) -> np.ndarray:
    b, a = tensors[f"{MODULE}.lora_B.weight"], tensors[f"{MODULE}.lora_A.weight"]
    return scale * b.astype(float) @ a.astype(float)


@given(SIZES, SIZES, SIZES, SIZES, SCALES, SCALES, st.integers(0, 2**32))
def test_what_the_concatenation_adds_is_the_sum_of_both(out, into, first, second, s1, s2, seed):
    shared, personal = lora(seed, out, into, first), lora(seed + 1, out, into, second)
    whole = concatenated(shared, personal, s1, s2)
    assert whole[f"{MODULE}.lora_A.weight"].shape == (first + second, into)
    assert whole[f"{MODULE}.lora_B.weight"].shape == (out, first + second)
    assert {one.dtype for one in whole.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(change(whole), change(shared, s1) + change(personal, s2), atol=1e-4)


@given(SIZES, SIZES, SCALES, st.integers(0, 2**32))
def test_a_core_is_taken_into_b(out, rank, scale, seed):
    shared, personal = lora(seed, out, 4, rank), lora(seed + 1, out, 4, rank)
    core = np.random.default_rng(seed + 2).normal(size=(rank, rank)).astype(np.float32)
    whole = concatenated({**shared, f"{MODULE}.lora_core.weight": core}, personal, scale, 1.0)
    b, a = shared[f"{MODULE}.lora_B.weight"], shared[f"{MODULE}.lora_A.weight"]
    np.testing.assert_allclose(change(whole), scale * b @ core @ a + change(personal), atol=1e-3)


@pytest.mark.parametrize(("first", "second"), [(2, 3), (0, 3), (2, 0), (0, 0)])
def test_soft_prompts_stand_one_after_the_other_the_shared_one_first(first: int, second: int):
    shared, personal = lora(0, 3, 4, 2, first), lora(1, 3, 4, 2, second)
    whole = concatenated(shared, personal, 1.0, 1.0)
    present = [one[SOFT_PROMPT] for one in (shared, personal) if SOFT_PROMPT in one]
    assert (SOFT_PROMPT in whole) == bool(present)
    if present:
        assert np.array_equal(whole[SOFT_PROMPT], np.concatenate(present))


def test_the_shape_has_both_ranks_and_a_scale_of_one():
    shape = concatenated_shape(SHARED, OWN)
    assert (shape.rank, shape.scale) == (7, 1.0)
    with pytest.raises(ValueError, match="do not concatenate"):
        concatenated_shape(SHARED, LoraShape(4, 8.0, ("q_proj",)))


def test_loras_on_different_modules_are_refused():
    other = {name.replace(MODULE, "elsewhere"): one for name, one in lora(0, 3, 4, 2).items()}
    with pytest.raises(ValueError, match="only one"):
        concatenated(lora(0, 3, 4, 2), other, 1.0, 1.0)


def pair(tensors: Tensors, ground: Ground | None = None) -> Personal:
    return Personal(tensors, OWN.alpha, ground or Ground("b" * 64, "d" * 64, "c0"), 5, 1.25, 1.5, 1.375)


def test_one_adapter_ranks_as_both_do_together_in_peft_too(tmp_path: Path):
    """Against PEFT itself: two adapters loaded under its own names, both active; and one that was written as files."""
    from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    folder = tiny(tmp_path)
    tuner = Tuner(folder, SHARED, 2)
    shared = random_like(tuner.initial(0), 1)
    tuner.put(shared)
    (example,) = choices(history()[:2], ITEMS, [0], negatives=5)
    alone = tuner.log_probabilities(example)
    tuner.stack(OWN, 3)
    personal = random_like(tuner.initial(0), 2)
    tuner.put(personal)
    np.testing.assert_array_equal(tuner.log_probabilities(example, depth=1), alone)
    both = tuner.log_probabilities(example)
    assert np.abs(both - alone).max() > 1e-2

    whole = Tuner(folder, concatenated_shape(SHARED, OWN), 5)
    whole.put(concatenated(shared, personal, SHARED.scale, OWN.scale))
    np.testing.assert_allclose(whole.log_probabilities(example), both, atol=1e-5)

    def ranked(model, soft: np.ndarray) -> np.ndarray:
        ids = torch.tensor([example.prompt(tuner.tokenizer)])
        embedded = model.get_input_embeddings()(ids)
        with torch.no_grad():
            logits = model(inputs_embeds=torch.cat([torch.as_tensor(soft)[None], embedded], 1)).logits[0, -1]
        return logits[tuner._labels[:6]].log_softmax(0).numpy()

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = [LoraConfig(r=one.rank, lora_alpha=one.alpha, target_modules=list(one.targets)) for one in (SHARED, OWN)]
    model = get_peft_model(base, settings[0], adapter_name="one")
    model.add_adapter("two", settings[1])
    for name, tensors in (("one", shared), ("two", personal)):
        weights = {key: torch.tensor(value) for key, value in tensors.items() if key != SOFT_PROMPT}
        assert not set_peft_model_state_dict(model, weights, adapter_name=name).unexpected_keys
    model.base_model.set_adapter(["one", "two"])
    np.testing.assert_allclose(
        ranked(model, np.concatenate([shared[SOFT_PROMPT], personal[SOFT_PROMPT]])), both, atol=1e-5
    )

    out = tmp_path / "written"
    assert write_adapter(out, pair(personal), read_base(folder), shared, SHARED).rank == 7
    fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(fresh, out)
    np.testing.assert_allclose(ranked(loaded, load_file(out / "soft_prompt.safetensors")[SOFT_PROMPT]), both, atol=1e-5)
    assert {path.stat().st_mode & 0o077 for path in [out, *out.iterdir()]} == {0}
    with pytest.raises(FileExistsError):
        write_adapter(out, pair(personal), read_base(folder))


class TestFiles:
    @pytest.mark.parametrize("ground", [Ground("b" * 64), Ground("b" * 64, "d" * 64, "c0")])
    def test_keep_the_pair(self, tmp_path: Path, ground: Ground):
        files, kept = PersonalFiles(tmp_path), pair(lora(0, 3, 4, 2, 2), ground)
        assert files.load() is None
        files.save(kept)
        loaded = PersonalFiles(tmp_path).load()
        assert loaded is not None
        assert dataclasses.replace(loaded, tensors={}) == dataclasses.replace(kept, tensors={})
        assert all(np.array_equal(loaded.tensors[name], one) for name, one in kept.tensors.items())
        assert (loaded.shape, loaded.tokens) == (LoraShape(2, OWN.alpha, ("q_proj",)), 2)

    def test_notice_a_changed_byte(self, tmp_path: Path):
        PersonalFiles(tmp_path).save(pair(lora(0, 3, 4, 2)))
        (path,) = tmp_path.glob("*.safetensors")
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(DamagedFile):
            PersonalFiles(tmp_path).load()

    def test_notice_a_changed_figure(self, tmp_path: Path):
        PersonalFiles(tmp_path).save(pair(lora(0, 3, 4, 2)))
        path = tmp_path / "pair.json"
        path.write_text(path.read_text().replace("1.25", "0.25"))
        with pytest.raises(DamagedFile, match="changed"):
            PersonalFiles(tmp_path).load()

    def test_forget_the_pair(self, tmp_path: Path):
        files = PersonalFiles(tmp_path / "own")
        assert not files.delete()
        files.save(pair(lora(0, 3, 4, 2)))
        assert files.delete()
        assert files.load() is None
        assert not list((tmp_path / "own").iterdir())
