"""Releases in a real MLflow: on SQLite and a folder, and behind its tracking server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from federation.releases.errors import RegistryUnavailable, ReleaseNotFound, ReleaseRefused
from federation.releases.registry import Registry, tracking
from tests.federation.releases.making import make


@pytest.fixture
def registry(tmp_path, with_mlflow):
    return Registry(with_mlflow(tmp_path / "home"))


def registered(registry: Registry, tmp_path: Path, seed: int = 0, **changes):
    folder = tmp_path / f"release-{seed}"
    make(folder, seed=seed, **changes)
    return registry.register(folder)


def test_an_empty_registry_has_no_releases(registry):
    assert registry.all() == []
    with pytest.raises(ReleaseNotFound, match="sotto release list"):
        registry.find("live")


def test_a_release_is_registered_once_and_keeps_its_number(registry, tmp_path):
    one = registered(registry, tmp_path)
    two = registered(registry, tmp_path, seed=1, parent=one.digest)
    assert (one.version, two.version, two.parent) == (1, 2, one.digest)
    assert registry.register(tmp_path / "release-0") == one
    assert registry.all() == [two, one]
    assert abs(one.created_at - time.time()) < 60


def test_a_release_goes_by_its_digest_number_or_alias(registry, tmp_path):
    one, two = registered(registry, tmp_path), registered(registry, tmp_path, seed=1)
    registry.set_alias("live", "v1")
    for reference in (one.digest, one.digest[:8], "v1", "live"):
        assert registry.find(reference).digest == one.digest
    registry.set_alias("live", two.digest)
    assert registry.find("live").digest == two.digest
    assert [one.aliases for one in registry.all()] == [("live",), ()]
    registry.drop_alias("live")
    for reference in ("live", "v3", one.digest[:3], ""):
        with pytest.raises(ReleaseNotFound):
            registry.find(reference)


def test_what_is_fetched_is_what_was_registered(registry, tmp_path):
    one = registered(registry, tmp_path)
    shutil.rmtree(registry.store.root)
    release = registry.fetch("v1")
    assert release.folder == registry.store.root / one.digest
    assert (release.folder / "manifest.json").read_bytes() == (tmp_path / "release-0" / "manifest.json").read_bytes()
    assert [path.name for path in registry.store.root.iterdir()] == [one.digest]


def test_what_was_changed_in_the_registry_is_refused_and_not_kept(registry, tmp_path):
    registered(registry, tmp_path)
    shutil.rmtree(registry.store.root)
    (path,) = (tmp_path / "home" / "mlflow" / "artifacts").rglob("adapters/global/adapter_model.safetensors")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ReleaseRefused, match="not as it was released"):
        registry.fetch("v1")
    assert list(registry.store.root.iterdir()) == []


def test_a_changed_folder_is_not_registered(registry, tmp_path):
    make(tmp_path / "release")
    (tmp_path / "release" / "adapters" / "global" / "soft_prompt.safetensors").write_bytes(b"x")
    with pytest.raises(ReleaseRefused):
        registry.register(tmp_path / "release")
    assert registry.all() == []


def test_names_are_kept_apart(registry, tmp_path):
    registered(registry, tmp_path)
    assert Registry(tmp_path / "home", name="another").all() == []


def test_a_registry_that_is_away_is_a_clear_error(tmp_path):
    with pytest.raises(RegistryUnavailable, match="SOTTO_MLFLOW_URI"):
        Registry(tmp_path, "http://127.0.0.1:9").all()


@pytest.fixture
def server(tmp_path, with_mlflow):
    """A real MLflow tracking server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", tracking(with_mlflow(tmp_path / "server"))[0]]
    command += ["--artifacts-destination", str(tmp_path / "server-artifacts")]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_two_machines_share_releases_through_a_tracking_server(server, tmp_path):
    maker, reader = Registry(tmp_path / "maker", server), Registry(tmp_path / "reader", server)
    one = registered(maker, tmp_path)
    maker.set_alias("live", one.digest)
    assert not (tmp_path / "maker" / "mlflow").exists()
    release = reader.fetch("live")
    assert release.digest == one.digest
    assert release.folder.is_relative_to(tmp_path / "reader")
    assert reader.register(release.folder).version == 1
