import os
import stat
from pathlib import Path

import numpy as np
import pytest

from federation.device.files import DamagedFile, TensorFile

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5], np.float32)}


@pytest.fixture
def kept(tmp_path):
    found = TensorFile(tmp_path / "own", "pair")
    found.save(TENSORS, {"steps": 3})
    return found


def test_what_was_saved_is_loaded(kept):
    tensors, about = kept.load()
    assert about == {"steps": 3}
    assert tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(tensors[name], one) for name, one in TENSORS.items())


def test_nothing_is_loaded_where_nothing_was_saved(tmp_path):
    assert TensorFile(tmp_path, "pair").load() is None


def test_only_the_owner_may_read_it(tmp_path):
    before = os.umask(0)
    try:
        TensorFile(tmp_path / "own", "pair").save(TENSORS, {})
    finally:
        os.umask(before)
    folder = tmp_path / "own"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_later_save_replaces_an_earlier_one(kept, tmp_path):
    kept.save({"a": TENSORS["b"]}, {"steps": 4})
    assert kept.load().about == {"steps": 4}
    assert len(list((tmp_path / "own").iterdir())) == 2


def test_a_save_that_is_cut_off_leaves_what_was_there(kept, monkeypatch):
    replace = Path.replace

    def cut_off(self, target):
        if target.suffix == ".json":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            kept.save({"a": TENSORS["b"]}, {"steps": 4})
    assert kept.load().about == {"steps": 3}


def test_any_changed_byte_of_the_tensors_is_noticed(kept, tmp_path):
    (path,) = (tmp_path / "own").glob("*.safetensors")
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DamagedFile, match="changed"):
            kept.load()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "x", "about": 3}'])
def test_a_damaged_description_is_noticed(kept, tmp_path, text):
    (tmp_path / "own" / "pair.json").write_text(text)
    with pytest.raises(DamagedFile, match="cannot be read"):
        kept.load()


def test_missing_tensors_are_noticed(kept, tmp_path):
    next((tmp_path / "own").glob("*.safetensors")).unlink()
    with pytest.raises(DamagedFile, match="are missing"):
        kept.load()


def test_what_is_deleted_leaves_nothing(kept, tmp_path):
    link = tmp_path / "link"
    link.hardlink_to(next((tmp_path / "own").glob("*.safetensors")))
    kept.delete()
    assert not any(link.read_bytes())
    assert kept.load() is None
    assert not list((tmp_path / "own").iterdir())
