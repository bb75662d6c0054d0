"""Releases in MLflow's model registry: the only place that knows MLflow, which it loads when it is used.

A release is a version of a registered model; its files are the artifacts of a run of its own. Versions are numbered
by MLflow and named by their digest, and are never changed; aliases say what is live. What comes out of MLflow is
believed only as far as the digest goes: `Registry.fetch` verifies every byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation.releases.errors import RegistryUnavailable, ReleaseError, ReleaseNotFound
from federation.releases.manifest import is_digest
from federation.releases.store import Store
from federation.releases.verify import Release

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["FOLDER", "Registered", "Registry", "tracking"]

FOLDER = "mlflow"
"""Where MLflow's SQLite file and its artifacts are in SOTTO_HOME."""

EXPERIMENT = "sotto-releases"
_ARTIFACTS = "release"
_DIGEST, _PARENT = "sotto.digest", "sotto.parent"
_SHORTEST = 6


@dataclass(frozen=True)
class Registered:
    """A release in the registry: its ``digest``, its number, when it was registered (seconds), what it is called."""

    digest: str
    version: int
    created_at: float
    aliases: tuple[str, ...]
    parent: str | None
    run: str


def tracking(home: Path, uri: str = "") -> tuple[str, str | None]:
    """The address of MLflow, and where a new experiment keeps its artifacts; None for what the server says.

    Without ``uri``, SQLite and a folder in ``home``.
    """
    if uri:
        return uri, None
    folder = home.expanduser().absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return f"sqlite:///{folder / 'mlflow.sqlite'}", (folder / "artifacts").as_uri()


class Registry:
    """The releases called ``name`` at the MLflow of ``uri`` (see `tracking`), with copies in ``home``/releases.

    Calls block. RegistryUnavailable from any of them where MLflow cannot do what is asked.
    """

    def __init__(self, home: Path, uri: str = "", name: str = "sotto") -> None:
        self.store = Store(home / "releases")
        self.name = name
        self._home, self._given = home, uri
        self._connected: MlflowClient | None = None
        self._artifacts: str | None = None

    def register(self, folder: Path) -> Registered:
        """Registers the release in ``folder``; the one that is there where it is registered already.

        ReleaseRefused where the folder holds no release, or one that was changed.
        """
        release = self.store.add(folder)
        if known := self._find(release.digest):
            return known
        with self._talking() as client:
            run = client.create_run(self._experiment(client), run_name=release.digest[:12]).info
            try:
                client.log_artifacts(run.run_id, str(release.folder), _ARTIFACTS)
            except BaseException:
                client.set_terminated(run.run_id, status="FAILED")
                raise
            client.set_terminated(run.run_id)
            self._ensure_model(client)
            tags = {_DIGEST: release.digest, _PARENT: release.manifest.parent or ""}
            version = client.create_model_version(self.name, f"{run.artifact_uri}/{_ARTIFACTS}", run.run_id, tags=tags)
            return _registered(version, {})

    def all(self) -> list[Registered]:
        """Every release, the latest first."""
        with self._talking() as client:
            found = client.search_registered_models(f"name = '{self.name}'")
            aliases: dict[str, Any] = found[0].aliases if found else {}
            versions: list[ModelVersion] = []
            token: str | None = None
            while True:
                page = client.search_model_versions(f"name = '{self.name}'", max_results=1000, page_token=token)
                versions += page
                token = page.token
                if not token:
                    break
        known = [_registered(version, aliases) for version in versions if is_digest(version.tags.get(_DIGEST, ""))]
        return sorted(known, key=lambda one: -one.version)

    def find(self, reference: str) -> Registered:
        """The release that is meant: a digest, the beginning of one, a number like ``v3``, or an alias.

        ReleaseNotFound where that is none, or more than one.
        """
        everything = self.all()
        number = int(reference[1:]) if reference[:1] == "v" and reference[1:].isdecimal() else None
        found = [one for one in everything if one.version == number or reference in one.aliases]
        if not found and len(reference) >= _SHORTEST:
            # A digest registered twice at once is one release.
            found = list({one.digest: one for one in everything if one.digest.startswith(reference)}.values())
        if len(found) == 1:
            return found[0]
        trouble = "More than one release goes" if found else "No release goes"
        raise ReleaseNotFound(f"{trouble} by {reference!r}: `sotto release list` shows them all.")

    def fetch(self, reference: str) -> Release:
        """The release in this machine's store, brought there if need be. ReleaseRefused where it was changed."""
        registered = self.find(reference)
        if registered.digest in self.store:
            return self.store.get(registered.digest)
        with self.store.draft() as draft, self._talking() as client:
            client.download_artifacts(registered.run, _ARTIFACTS, str(draft))
            return self.store.take(draft / _ARTIFACTS, registered.digest)

    def set_alias(self, alias: str, reference: str) -> None:
        """Calls the release ``alias``, and no other any more."""
        version = self.find(reference).version
        with self._talking() as client:
            client.set_registered_model_alias(self.name, alias, str(version))

    def drop_alias(self, alias: str) -> None:
        """No release is called ``alias`` any more."""
        with self._talking() as client:
            client.delete_registered_model_alias(self.name, alias)

    def _find(self, digest: str) -> Registered | None:
        return next((one for one in reversed(self.all()) if one.digest == digest), None)

    def _experiment(self, client: MlflowClient) -> str:
        known = client.get_experiment_by_name(EXPERIMENT)
        return str(known.experiment_id if known else client.create_experiment(EXPERIMENT, self._artifacts))

    def _ensure_model(self, client: MlflowClient) -> None:
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)

    @contextmanager
    def _talking(self) -> Iterator[MlflowClient]:
        """A client; whatever MLflow raises becomes RegistryUnavailable."""
        try:
            yield self._client()
        except ReleaseError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise RegistryUnavailable(f"The registry could not do it: {reason}. Check SOTTO_MLFLOW_URI.") from error

    def _client(self) -> MlflowClient:
        if self._connected is None:
            # Nothing here is reported to anyone, and a server that is away is said to be so within seconds.
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
            os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            from mlflow import MlflowClient

            uri, self._artifacts = tracking(self._home, self._given)
            self._connected = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return self._connected


def _registered(version: ModelVersion, aliases: dict[str, Any]) -> Registered:
    number = int(version.version)
    return Registered(
        digest=version.tags[_DIGEST],
        version=number,
        created_at=version.creation_timestamp / 1000,
        aliases=tuple(sorted(alias for alias, at in aliases.items() if int(at) == number)),
        parent=version.tags.get(_PARENT) or None,
        run=version.run_id or "",
    )
