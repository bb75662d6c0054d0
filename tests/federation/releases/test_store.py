"""A release's folder on this machine bears its digest, is never changed, and appears and goes whole."""

from __future__ import annotations

import stat

import pytest

from federation.releases.errors import FileChanged, ReleaseNotFound, ReleaseRefused, UnsafePath
from federation.releases.store import Store
from tests.federation.releases.making import make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_release_comes_in_under_its_digest_once(store, tmp_path):
    digest = make(tmp_path / "release").digest
    first, again = store.add(tmp_path / "release"), store.add(tmp_path / "release")
    assert first.folder == again.folder == store.root / digest
    assert store.digests() == [digest]
    assert digest in store
    assert [path.name for path in store.root.iterdir()] == [digest]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in first.folder.rglob("*") if path.is_file()}
    assert modes == {0o444}


def test_a_changed_folder_does_not_come_in(store, tmp_path):
    make(tmp_path / "release")
    with (tmp_path / "release" / "manifest.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ReleaseRefused):
        store.add(tmp_path / "release")
    assert store.digests() == []


def test_a_copy_that_was_changed_later_is_refused(store, tmp_path):
    make(tmp_path / "release")
    release = store.add(tmp_path / "release")
    path = release.adapter("global") / "adapter_model.safetensors"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(FileChanged):
        store.get(release.digest)
    with pytest.raises(FileChanged):
        store.add(tmp_path / "release")


@pytest.mark.parametrize("name", ["..", "../store", "/etc", "", "A" * 64])
def test_a_path_out_of_the_store_is_refused(store, name):
    with pytest.raises(UnsafePath):
        store.get(name)


def test_what_is_removed_is_gone_and_what_is_not_there_is_said(store, tmp_path):
    make(tmp_path / "release")
    digest = store.add(tmp_path / "release").digest
    store.remove(digest)
    store.remove(digest)
    assert list(store.root.iterdir()) == []
    with pytest.raises(ReleaseNotFound):
        store.get(digest)


def test_whoever_reads_a_release_puts_off_its_going(tmp_path):
    now = 1_800_000_000.0
    store = Store(tmp_path / "store", lambda: now)
    make(tmp_path / "release")
    digest = store.add(tmp_path / "release").digest
    now += 100
    assert Store(store.root, lambda: now).idle(digest) == 100
    store.get(digest)
    assert store.idle(digest) == 0
    store.remove(digest)
    store.touch(digest)
    assert store.idle(digest) == 0
