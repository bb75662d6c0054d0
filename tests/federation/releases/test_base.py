"""A base model's digest covers its configuration and weights, and its modules are those of its files."""

from __future__ import annotations

import hashlib

import pytest

from federation.releases.base import BaseModel, base_digest, read_base, read_served
from federation.releases.errors import WrongBase
from tests.engine.models import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("base") / "tiny")


def test_the_digest_is_that_of_the_files_list(model):
    lines = "".join(
        f"{hashlib.sha256((model / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("config.json", "model.safetensors")
    )
    assert base_digest(model) == hashlib.sha256(lines.encode()).hexdigest()
    assert read_base(model, "a tiny one") == BaseModel(base_digest(model), 64, "a tiny one")


def test_other_weights_are_another_base(model, tmp_path):
    assert base_digest(make_model(tmp_path / "tiny", seed=1)) != base_digest(model)


def test_the_modules_that_lora_may_change_are_told_with_their_shapes(model):
    modules = read_served(model).modules
    assert modules["base_model.model.model.layers.1.self_attn.q_proj"] == (64, 64)
    assert modules["base_model.model.model.layers.0.self_attn.v_proj"] == (32, 64)
    assert len(modules) == 4


def test_what_is_no_model_is_refused(model, tmp_path):
    with pytest.raises(WrongBase, match=r"config\.json"):
        read_base(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WrongBase, match="width"):
        read_base(tmp_path)
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(WrongBase, match="safetensors"):
        read_base(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(WrongBase, match="no model's weights"):
        read_served(tmp_path)
    with pytest.raises(WrongBase, match="no module named k_proj2"):
        read_served(model, ["k_proj2"])
