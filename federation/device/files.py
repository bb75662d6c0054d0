"""Tensors that stay on the device, in files that only their owner may read: safetensors beside JSON.

The JSON file holds the digest of the tensors' file, whose name it is part of: it is replaced last and at once, so that
whoever is cut off in the middle leaves what was there before. Knows nothing of what the tensors are.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from federation.device.database import erase
from federation.releases.errors import ReleaseRefused
from federation.releases.weights import tensors_from_bytes, tensors_to_bytes
from federation.tensors import Tensors

__all__ = ["DamagedFile", "Kept", "TensorFile", "write_private"]


class DamagedFile(ValueError):
    """What is on the disk is not what was written: what, and what to do."""


class Kept(NamedTuple):
    """Tensors and what is known of them, as JSON holds it."""

    tensors: Tensors
    about: dict[str, Any]


class TensorFile:
    """Tensors under ``name`` in ``folder``, which is made where it is missing. For one process at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._json = folder / f"{name}.json"

    def save(self, tensors: Tensors, about: dict[str, Any]) -> None:
        """Keeps ``tensors``, float32, and ``about``, in place of what was kept before."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        data = tensors_to_bytes(tensors)
        digest = _digest(data, about)
        write_private(self._tensors(digest), data)
        write_private(self._json, json.dumps({"sha256": digest, "about": about}, sort_keys=True).encode())
        self._sweep(digest)

    def load(self) -> Kept | None:
        """What is kept, or None. DamagedFile where a byte of it was changed, or the files do not belong."""
        try:
            told = json.loads(self._json.read_bytes())
            digest, about = str(told["sha256"]), dict(told["about"])
            data = self._tensors(digest).read_bytes()
        except FileNotFoundError as missing:
            if not self._json.exists():
                return None
            raise self._damaged(f"its tensors are missing: {missing.filename}") from missing
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("it cannot be read") from error
        if _digest(data, about) != digest:
            raise self._damaged("it was changed: its digest is another")
        try:
            return Kept(tensors_from_bytes(data, self._name), about)
        except ReleaseRefused as error:
            raise self._damaged(str(error)) from error

    def delete(self) -> None:
        """Keeps nothing any more; what was kept is overwritten."""
        if self._json.exists():
            erase(self._json)
        self._sweep()

    def _damaged(self, how: str) -> DamagedFile:
        return DamagedFile(f"{self._json} is damaged, {how}. `sotto device tune` makes a new one.")

    def _tensors(self, digest: str) -> Path:
        return self._folder / f"{self._name}-{digest[:16]}.safetensors"

    def _sweep(self, digest: str | None = None) -> None:
        """Erases tensors of earlier times, and what a cut off write left."""
        wanted = None if digest is None else self._tensors(digest)
        for pattern in (f"{self._name}-*.safetensors", f".{self._name}*.part"):
            for path in self._folder.glob(pattern):
                if path != wanted:
                    erase(path)


def _digest(data: bytes, about: dict[str, Any]) -> str:
    """sha256 over the tensors and what is known of them."""
    return hashlib.sha256(data + json.dumps(about, sort_keys=True).encode()).hexdigest()


def write_private(path: Path, data: bytes) -> None:
    """Writes ``data`` for the owner's eyes only; ``path`` is there whole or as before."""
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
