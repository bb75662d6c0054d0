"""Releases on this machine, each in a folder named by its digest: verified before it gets that name, never changed.

A folder is removed by `Store.remove` only, which is for whoever knows that no engine has it registered and that it
has been idle for long: other programs of this machine read it too. When it was last used is its folder's time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from federation.releases.base import Served
from federation.releases.errors import ReleaseNotFound, UnsafePath
from federation.releases.manifest import is_digest
from federation.releases.verify import Limits, Release, verify

__all__ = ["Store"]


class Store:
    """The releases under the folder ``root``. May be shared by processes."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root = root.expanduser().absolute()
        self._clock = clock

    def digests(self) -> list[str]:
        """What is here, in order of digests."""
        return sorted(path.name for path in self.root.glob("*") if is_digest(path.name))

    def path(self, digest: str) -> Path:
        """Where the release is or would be; UnsafePath for what is no digest."""
        if not is_digest(digest):
            raise UnsafePath(f"{digest!r} is no release's digest; folders outside {self.root} are not read.")
        return self.root / digest

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).is_dir()

    def get(self, digest: str, limits: Limits | None = None, served: Served | None = None) -> Release:
        """The release, verified anew: see `federation.releases.verify`. ReleaseNotFound where it is not here."""
        if digest not in self:
            raise ReleaseNotFound(f"The release {digest} is not in {self.root}.")
        self.touch(digest)
        return verify(self.path(digest), limits or Limits.any(), digest=digest, served=served)

    def touch(self, digest: str) -> None:
        """Notes that the release is in use now."""
        with suppress(OSError):  # gone, or another user's: then it is not this program that removes it
            os.utime(self.path(digest), (now := self._clock(), now))

    def idle(self, digest: str) -> float:
        """Seconds since any program of this machine used the release; 0 where it is not here."""
        with suppress(FileNotFoundError):
            return self._clock() - self.path(digest).stat().st_mtime
        return 0.0

    def add(self, folder: Path) -> Release:
        """Takes in a copy of the release in ``folder``, unless it is here already. ReleaseRefused where it is none."""
        digest = verify(folder, Limits.any()).digest
        with self.draft() as draft:
            shutil.copytree(folder, draft, symlinks=True, dirs_exist_ok=True)
            return self.take(draft, digest)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder on the store's own disk, gone afterwards unless `take` took it in."""
        self.root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft.", dir=self.root))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def take(self, draft: Path, digest: str) -> Release:
        """Verifies the release ``digest`` in ``draft`` and gives it its name. ReleaseRefused where it is another."""
        verify(draft, Limits.any(), digest=digest)
        for path in draft.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o444)
        draft.chmod(0o755)
        try:
            draft.rename(self.path(digest))
        except OSError:
            # Another process was first, or it is here already; then it is the same to the byte, or it is refused.
            if digest not in self:
                raise
        return self.get(digest)

    def remove(self, digest: str) -> None:
        """Removes the release from this machine, whole; nothing happens where it is not here."""
        if digest not in self:
            return
        with self.draft() as draft:
            # Out of its name at once: a reader sees all of it or nothing.
            self.path(digest).rename(draft / digest)
