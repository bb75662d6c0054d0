"""Whether a release's folder is what its manifest says, to the byte, and may be served. Reads only; keeps nothing.

Each file is read once, without following links, and what was hashed is what is then looked at: first its digest, then
its header, then its numbers. Nothing is unpickled and no code is run.

Verifying shows that a folder is the release of a digest. Who made that release is for whoever told the digest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
from numpy.typing import NDArray

from federation.lora import TARGETS, LoraShape
from federation.releases import layout
from federation.releases.base import Served
from federation.releases.errors import (
    BadManifest,
    FileChanged,
    ModuleRefused,
    NormTooLarge,
    NotFinite,
    RankTooLarge,
    TooLarge,
    UnsafePath,
    WrongBase,
    WrongFiles,
    WrongShape,
)
from federation.releases.manifest import Manifest
from federation.releases.weights import ItemVectors, items_from_bytes, tensors_from_bytes
from federation.tensors import SOFT_PROMPT, Tensors, pairs, part

__all__ = ["Limits", "Release", "verify"]

_MANIFEST_BYTES = 16 << 20
_CHANGED = "Fetch or export the release again."


@dataclass(frozen=True)
class Limits:
    """What is taken. ``norm`` bounds each tensor's Frobenius norm, for item vectors each row's."""

    rank: int = 64
    modules: frozenset[str] = frozenset(TARGETS)
    total_bytes: int = 4 << 30
    cohorts: int = 256
    soft_prompt: int = 256
    norm: float = 1e3

    @classmethod
    def any(cls) -> Self:
        """As wide as a writer needs, who does not know what an engine serves."""
        return cls(rank=4096, modules=frozenset())


@dataclass(frozen=True)
class Release:
    """A verified release: its ``folder``, its ``manifest`` and its weights by cohort, all float32."""

    folder: Path
    manifest: Manifest
    cohorts: Mapping[str, Tensors]
    items: ItemVectors | None

    @property
    def digest(self) -> str:
        """Its name."""
        return self.manifest.digest

    def adapter(self, cohort: str) -> Path:
        """The absolute folder of the cohort's LoRA, as PEFT and vLLM load it."""
        return self.folder.absolute() / layout.adapter(cohort)

    def soft_prompt(self, cohort: str) -> NDArray[np.float32] | None:
        """The cohort's soft prompt, (tokens, hidden), where it has one."""
        return self.cohorts[cohort].get(SOFT_PROMPT)


def verify(
    folder: Path, limits: Limits | None = None, *, digest: str | None = None, served: Served | None = None
) -> Release:
    """The release in ``folder``, every byte of it as it was released.

    ``digest`` is the release it must be, ``served`` the base model it must fit. ReleaseRefused tells what is wrong: see
    `federation.releases.errors`.
    """
    limits = limits or Limits()
    _walk(folder, limits)
    manifest = _manifest(folder, digest)
    _permitted(manifest, limits, served)
    content = {file.path: _content(folder, file.path, file.size, file.sha256) for file in manifest.files}
    cohorts: dict[str, Tensors] = {}
    for cohort in manifest.cohorts:
        if content[layout.config_path(cohort.name)] != layout.adapter_config(manifest.lora, manifest.base):
            raise WrongShape(f"{layout.config_path(cohort.name)} is not the configuration of a {manifest.lora}.")
        tensors = tensors_from_bytes(content[layout.lora_path(cohort.name)], layout.lora_path(cohort.name))
        _check_lora(cohort.name, tensors, manifest.lora, served)
        if cohort.soft_prompt:
            path = layout.soft_prompt_path(cohort.name)
            prompt = tensors_from_bytes(content[path], path)
            _check_shapes(path, prompt, {SOFT_PROMPT: (cohort.soft_prompt, manifest.base.hidden_size)})
            tensors |= prompt
        for name, tensor in tensors.items():
            _check_numbers(f"{cohort.name}: {name}", tensor, limits)
        cohorts[cohort.name] = tensors
    if len({frozenset(_lora_names(tensors)) for tensors in cohorts.values()}) > 1:
        raise WrongShape("The cohorts' LoRA are on different modules.")
    return Release(folder, manifest, cohorts, _items(manifest, content.get(layout.ITEMS), limits))


def _walk(folder: Path, limits: Limits) -> None:
    """UnsafePath unless there are only plain files and folders, TooLarge when there are too many bytes of them."""
    total = 0
    for path, kind, size in _entries(folder):
        if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
            raise UnsafePath(f"{path} is a link or a special file; a release is plain files.")
        total += size
    if total > limits.total_bytes:
        raise TooLarge(f"The release has {total:,} bytes, at most {limits.total_bytes:,} are taken.")


def _entries(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """Everything in ``folder``, itself included, links not followed: path, mode, size in bytes."""
    try:
        top = folder.lstat()
        yield folder, top.st_mode, 0
        if not stat.S_ISDIR(top.st_mode):
            raise UnsafePath(f"{folder} is not a folder.")
        for parent, names, files in os.walk(folder):
            for name in (*names, *files):
                found = (Path(parent) / name).lstat()
                yield Path(parent) / name, found.st_mode, found.st_size if name in files else 0
    except OSError as error:
        raise WrongFiles(f"{folder} cannot be read: {error}.") from error


def _manifest(folder: Path, digest: str | None) -> Manifest:
    data = _read(folder, layout.MANIFEST, _MANIFEST_BYTES)
    if data is None:
        raise BadManifest(f"{folder} holds no {layout.MANIFEST} of a release.")
    manifest = Manifest.from_bytes(data)
    if digest not in {None, manifest.digest}:
        raise BadManifest(f"{folder} holds the release {manifest.digest}, not {digest}.")
    listed = {file.path for file in manifest.files}
    for path in listed:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
            raise UnsafePath(f"The manifest names {path!r}, which leads out of the release.")
    if odd := sorted(listed ^ layout.paths(manifest.cohorts, manifest.items)):
        raise WrongFiles(f"The manifest names other files than its cohorts have: {odd[0]}.")
    present = {path.relative_to(folder).as_posix() for path, kind, _ in _entries(folder) if stat.S_ISREG(kind)} - {
        layout.MANIFEST
    }
    if odd := sorted(listed ^ present):
        missing = "is missing" if odd[0] in listed else "is in no release"
        raise WrongFiles(f"{folder / odd[0]} {missing}. {_CHANGED}")
    return manifest


def _permitted(manifest: Manifest, limits: Limits, served: Served | None) -> None:
    """What can be told from the manifest alone."""
    if manifest.lora.rank > limits.rank:
        raise RankTooLarge(f"The LoRA has rank {manifest.lora.rank}, at most {limits.rank} is served.")
    if limits.modules and (odd := sorted(set(manifest.lora.targets) - limits.modules)):
        raise ModuleRefused(f"The LoRA changes {odd[0]}; served are {', '.join(sorted(limits.modules))}.")
    if len(manifest.cohorts) > limits.cohorts:
        raise TooLarge(f"The release has {len(manifest.cohorts)} cohorts, at most {limits.cohorts} are taken.")
    longest = max(manifest.soft_prompts.values())
    if longest > limits.soft_prompt:
        raise TooLarge(f"A soft prompt has {longest} tokens, at most {limits.soft_prompt} are taken.")
    if served is not None and (manifest.base.digest, manifest.base.hidden_size) != (
        served.model.digest,
        served.model.hidden_size,
    ):
        raise WrongBase(
            f"The release belongs to the base model {manifest.base.name} ({manifest.base.digest[:12]}), and "
            f"{served.model.name} ({served.model.digest[:12]}) is served. Serve that model, or train on this one."
        )


def _content(folder: Path, path: str, size: int, sha256: str) -> bytes:
    data = _read(folder, path, size)
    if data is None or len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise FileChanged(f"{folder / path} is not as it was released: its sha256 is another. {_CHANGED}")
    return data


def _read(folder: Path, path: str, most: int) -> bytes | None:
    """A plain file's bytes, None where it has more than ``most`` or is not there."""
    try:
        descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnsafePath(f"{folder / path} is a special file; a release is plain files.")
            data = file.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None


def _lora_names(tensors: Tensors) -> Iterator[str]:
    return (name for name in tensors if name != SOFT_PROMPT)


def _check_lora(cohort: str, tensors: Tensors, lora: LoraShape, served: Served | None) -> None:
    """Pairs of the right rank on permitted modules, and on the base model's where ``served`` tells them."""
    try:
        if odd := next((name for name in tensors if part(name) not in {"A", "B"}), None):
            raise WrongShape(f"{cohort}: {odd} is no factor of a LoRA.")
        found = list(pairs(tensors))
    except ValueError as error:
        raise WrongShape(f"{cohort}: {error}.") from error
    if not found:
        raise WrongShape(f"{cohort} has no LoRA.")
    for pair in found:
        if pair.module.rpartition(".")[2] not in lora.targets:
            raise ModuleRefused(f"{cohort}: {pair.module} is none of the modules {', '.join(lora.targets)}.")
        a, b = tensors[pair.a], tensors[pair.b]
        out, into = (len(b), a.shape[-1]) if served is None else served.modules.get(pair.module, (0, 0))
        if not out or not into:
            raise ModuleRefused(f"{cohort}: the base model has no module {pair.module}.")
        _check_shapes(cohort, {pair.a: a, pair.b: b}, {pair.a: (lora.rank, into), pair.b: (out, lora.rank)})


def _check_shapes(what: str, tensors: Tensors, wanted: Mapping[str, tuple[int, ...]]) -> None:
    if odd := sorted(tensors.keys() ^ wanted.keys()):
        raise WrongShape(f"{what}: {odd[0]} is {'missing' if odd[0] in wanted else 'not expected'}.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name]:
            raise WrongShape(f"{what}: {name} has the shape {tensor.shape} and must have {wanted[name]}.")


def _check_numbers(what: str, tensor: NDArray[np.float32], limits: Limits, *, rows: bool = False) -> None:
    if not np.isfinite(tensor).all():
        raise NotFinite(f"{what} holds numbers that are not finite.")
    squares = np.einsum("ij,ij->i", tensor, tensor, dtype=np.float64)
    norm = float(np.sqrt(squares.max() if rows else squares.sum()))
    if not norm <= limits.norm:
        raise NormTooLarge(f"{what} has the norm {norm:.4g}, at most {limits.norm:g} is taken.")


def _items(manifest: Manifest, data: bytes | None, limits: Limits) -> ItemVectors | None:
    if manifest.items is None or data is None:
        return None
    items = items_from_bytes(data, layout.ITEMS)
    _check_shapes(layout.ITEMS, {"vectors": items.vectors}, {"vectors": (manifest.items.count, manifest.items.width)})
    _check_numbers(layout.ITEMS, items.vectors, limits, rows=True)
    return items
