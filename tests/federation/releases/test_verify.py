"""Every changed byte of a release is seen, and each thing that may not be served has its own refusal."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.releases import errors
from federation.releases.base import BaseModel, Served
from federation.releases.layout import ITEMS, MANIFEST
from federation.releases.verify import Limits, verify
from federation.releases.weights import tensors_to_bytes
from tests.federation.releases.making import BASE, HIDDEN, MODULES, forge, make, replace_file, weights
from tests.federation.releases.making import ITEMS as VECTORS

GLOBAL = "adapters/global/adapter_model.safetensors"
PROMPT = "adapters/global/soft_prompt.safetensors"
SERVED = Served(BASE, MODULES)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "release"
    make(folder)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "release"))


def lora(**changes) -> bytes:
    """The global cohort's LoRA with some tensors replaced; None leaves one out."""
    tensors = {**weights(0, tokens=0), **changes}
    return tensors_to_bytes({name: tensor for name, tensor in tensors.items() if tensor is not None})


def first(part: str) -> str:
    return f"{next(iter(MODULES))}.lora_{part}.weight"


def test_a_release_in_order_comes_back_as_it_was_written(pristine):
    release = verify(pristine, served=SERVED)
    assert set(release.cohorts) == {"global", "c0"}
    for name, tensor in weights(0).items():
        np.testing.assert_array_equal(release.cohorts["global"][name], tensor)
    assert "soft_prompt" not in release.cohorts["c0"]
    assert release.items.ids == VECTORS.ids
    np.testing.assert_array_equal(release.items.vectors, VECTORS.vectors)
    assert release.adapter("c0") == pristine.absolute() / "adapters" / "c0"
    assert verify(pristine, digest=release.digest).digest == release.digest


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_any_file_is_seen(pristine, data):
    path = data.draw(st.sampled_from(sorted(path for path in pristine.rglob("*") if path.is_file())))
    written = path.read_bytes()
    place = data.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        with pytest.raises(errors.ReleaseRefused):
            verify(pristine)
    finally:
        path.write_bytes(written)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_short_or_longer_is_seen(pristine, data):
    path = data.draw(st.sampled_from(sorted(path for path in pristine.rglob("*") if path.is_file())))
    written = path.read_bytes()
    path.write_bytes(data.draw(st.sampled_from([written[:-1], written[: len(written) // 2], b"", written + b"\0"])))
    try:
        with pytest.raises(errors.ReleaseRefused):
            verify(pristine)
    finally:
        path.write_bytes(written)


class TestPaths:
    def test_another_release_than_was_meant_is_refused(self, folder):
        with pytest.raises(errors.BadManifest, match="holds the release"):
            verify(folder, digest="a" * 64)

    def test_a_file_that_the_manifest_does_not_name_is_refused(self, folder):
        (folder / "adapters" / "global" / "adapter_model.bin").write_bytes(b"x")
        with pytest.raises(errors.WrongFiles, match=r"adapter_model\.bin is in no release"):
            verify(folder)

    def test_a_missing_file_is_named(self, folder):
        (folder / PROMPT).unlink()
        with pytest.raises(errors.WrongFiles, match=r"soft_prompt\.safetensors is missing"):
            verify(folder)

    def test_a_link_is_refused_even_to_the_right_bytes(self, folder, tmp_path):
        (folder / GLOBAL).rename(tmp_path / "elsewhere")
        (folder / GLOBAL).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(errors.UnsafePath, match="link"):
            verify(folder)

    def test_a_linked_folder_is_refused(self, folder, tmp_path):
        (folder / "adapters").rename(tmp_path / "elsewhere")
        (folder / "adapters").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(errors.UnsafePath, match="link"):
            verify(folder)
        (tmp_path / "linked").symlink_to(folder)
        with pytest.raises(errors.UnsafePath):
            verify(tmp_path / "linked")

    def test_a_pipe_is_refused_without_waiting_for_it(self, folder):
        (folder / PROMPT).unlink()
        os.mkfifo(folder / PROMPT)
        with pytest.raises(errors.UnsafePath, match="special file"):
            verify(folder)

    @pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "adapters/../../x"])
    def test_a_path_out_of_the_folder_is_refused(self, folder, path):
        def outside(content):
            content["files"][0]["path"] = path
            content["files"].sort(key=lambda file: file["path"])

        forge(folder, outside)
        with pytest.raises(errors.UnsafePath, match="leads out"):
            verify(folder)

    def test_a_folder_without_a_manifest_is_no_release(self, tmp_path):
        with pytest.raises(errors.BadManifest):
            verify(tmp_path)
        with pytest.raises(errors.WrongFiles):
            verify(tmp_path / "none")


class TestContent:
    """Forged releases: their digests are right, what they hold is not."""

    def test_a_pickle_in_disguise_is_never_unpickled(self, folder, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (Path(tmp_path / "exploded").touch, ())

        replace_file(folder, GLOBAL, pickle.dumps(Bomb()))
        with pytest.raises(errors.NotSafetensors, match=r"adapter_model\.safetensors is not safetensors"):
            verify(folder)
        assert not (tmp_path / "exploded").exists()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_not_finite_are_refused(self, folder, value):
        bad = weights(0)[first("B")].copy()
        bad[1, 1] = value
        replace_file(folder, GLOBAL, lora(**{first("B"): bad}))
        with pytest.raises(errors.NotFinite, match="lora_B"):
            verify(folder)

    def test_a_tensor_far_too_large_is_refused(self, folder):
        replace_file(folder, GLOBAL, lora(**{first("A"): weights(0)[first("A")] * 1e4}))
        with pytest.raises(errors.NormTooLarge, match="lora_A"):
            verify(folder)

    def test_another_base_model_is_refused(self, folder):
        other = Served(BaseModel("a" * 64, HIDDEN, "other"), MODULES)
        with pytest.raises(errors.WrongBase, match="Serve that model"):
            verify(folder, served=other)

    def test_an_oversized_rank_is_refused(self, folder):
        with pytest.raises(errors.RankTooLarge, match="rank 2, at most 1"):
            verify(folder, Limits(rank=1))

    def test_a_rank_that_the_manifest_hides_is_refused(self, folder):
        big = weights(0, rank=4, tokens=0)
        replace_file(folder, GLOBAL, tensors_to_bytes(big))
        with pytest.raises(errors.WrongShape, match="lora_A"):
            verify(folder)

    def test_modules_that_are_not_served_are_refused(self, folder):
        with pytest.raises(errors.ModuleRefused, match="changes v_proj"):
            verify(folder, Limits(modules=frozenset({"q_proj"})))

    def test_modules_beside_those_of_the_manifest_are_refused(self, folder):
        a, b = (f"base_model.model.model.embed_tokens.lora_{part}.weight" for part in "AB")
        extra = {a: np.ones((2, HIDDEN), np.float32), b: np.ones((HIDDEN, 2), np.float32)}
        replace_file(folder, GLOBAL, lora(**extra))
        with pytest.raises(errors.ModuleRefused, match="embed_tokens"):
            verify(folder)

    def test_modules_that_the_base_model_lacks_are_refused(self, folder):
        fewer = Served(BASE, {module: shape for module, shape in MODULES.items() if "layers.0" in module})
        with pytest.raises(errors.ModuleRefused, match=r"no module .*layers\.1"):
            verify(folder, served=fewer)

    def test_shapes_that_do_not_fit_the_base_model_are_refused(self, folder):
        wider = Served(BASE, {module: (out, into + 1) for module, (out, into) in MODULES.items()})
        with pytest.raises(errors.WrongShape, match="must have"):
            verify(folder, served=wider)

    def test_half_a_pair_is_refused(self, folder):
        replace_file(folder, GLOBAL, lora(**{first("B"): None}))
        with pytest.raises(errors.WrongShape, match="beside it"):
            verify(folder)

    def test_half_precision_is_refused(self, folder):
        from safetensors.numpy import save

        replace_file(folder, GLOBAL, save({name: t.astype(np.float16) for name, t in weights(0, tokens=0).items()}))
        with pytest.raises(errors.WrongShape, match="float32"):
            verify(folder)

    def test_a_soft_prompt_of_another_width_is_refused(self, folder):
        replace_file(folder, PROMPT, tensors_to_bytes({"soft_prompt": np.ones((3, HIDDEN + 1), np.float32)}))
        with pytest.raises(errors.WrongShape, match="soft_prompt"):
            verify(folder)

    def test_a_configuration_with_anything_else_in_it_is_refused(self, folder):
        path = "adapters/global/adapter_config.json"
        text = (folder / path).read_bytes()
        replace_file(folder, path, text.replace(b'"bias": "none"', b'"bias": "all"'))
        with pytest.raises(errors.WrongShape, match="not the configuration"):
            verify(folder)

    def test_items_that_are_none_are_refused(self, folder):
        replace_file(folder, ITEMS, tensors_to_bytes({"vectors": VECTORS.vectors}))
        with pytest.raises(errors.WrongShape, match="item vectors"):
            verify(folder)

    @pytest.mark.parametrize("limits", [Limits(total_bytes=100), Limits(cohorts=1), Limits(soft_prompt=2)])
    def test_more_than_is_taken_is_refused(self, folder, limits):
        with pytest.raises(errors.TooLarge):
            verify(folder, limits)

    def test_a_manifest_without_end_is_not_read(self, folder):
        with (folder / MANIFEST).open("ab") as file:
            file.truncate(20 << 20)
        with pytest.raises(errors.BadManifest):
            verify(folder)
