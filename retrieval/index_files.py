"""An index on disk: a folder that is replaced whole.

``meta.json`` names the encoder and the catalogue an index belongs to, and the size and sha256 of every other file. The
files of the main part (``ids.txt``, ``vectors.npy``, ``graph.faiss``), and those that others keep beside it, never
change once written: a later save of the same index links them. What changes is small: the tail, the stamps and the mask
of the living rows.
A save writes a sibling folder and renames it into place; a save that is cut off leaves the former index.
Nothing is pickled.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from retrieval import ann
from retrieval.ann import Kind
from retrieval.index import VectorIndex

FORMAT = 2
_META = "meta.json"
_IDS, _VECTORS, _GRAPH = "ids.txt", "vectors.npy", "graph.faiss"
_NEW_IDS, _TAIL, _STAMPS, _ALIVE = "tail_ids.txt", "tail.npy", "stamps.npy", "alive.npy"
_MAIN = frozenset({_IDS, _VECTORS, _GRAPH})
_CHANGING = frozenset({_NEW_IDS, _TAIL, _STAMPS, _ALIVE})
_REBUILD = "run `sotto catalogue index` to build it again"

AnyIndex = TypeVar("AnyIndex", bound=VectorIndex)


class IndexFault(RuntimeError):
    """An index on disk cannot be used."""


class IndexMismatch(IndexFault):
    """The index was made by another encoder, or from another catalogue."""


class IndexDamaged(IndexFault):
    """A file of the index is missing or is not the one that was written."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    kind: Kind
    dim: int
    encoder: str
    catalogue: str
    files: dict[str, _File]


def save(index: VectorIndex, folder: Path) -> None:
    """Writes ``index`` to ``folder``, replacing what is there only once every file is safely on disk."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    fresh.mkdir()
    try:
        files = {name: _place(name, write, fresh, folder, index) for name, write in _writers(index).items()}
        meta = _Meta(
            kind=index.kind,
            dim=index.dim,
            encoder=index.encoder_digest,
            catalogue=index.catalogue_digest,
            files=files,
        )
        (fresh / _META).write_text(meta.model_dump_json(indent=1), encoding="utf-8")
        _sync(fresh / _META)
        _sync(fresh)
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    index.saved = {name: file.sha256 for name, file in files.items() if name not in _CHANGING}


def load(
    cls: type[AnyIndex],
    folder: Path,
    *,
    mmap: bool,
    encoder_digest: str | None,
    catalogue_digest: str | None,
    verify: bool,
) -> AnyIndex:
    """See `VectorIndex.load`."""
    folder = folder.resolve()
    if not folder.exists() and _previous(folder).exists():
        _previous(folder).rename(folder)  # a save was cut off between its two renames
    meta = _read_meta(folder)
    _match(folder, "encoder", meta.encoder, encoder_digest)
    _match(folder, "catalogue", meta.catalogue, catalogue_digest)
    own = _MAIN | _CHANGING
    for name, file in meta.files.items():
        if name in own:
            _check(folder / name, file, verify=verify)
    # A plain array over the map: every slice of a `numpy.memmap` costs as much as the reading of a few vectors.
    vectors = np.asarray(np.load(folder / _VECTORS, mmap_mode="r" if mmap else None, allow_pickle=False))
    graph: Callable[[], object] = functools.partial(ann.build, "flat", vectors)
    if meta.kind != "flat":
        graph = functools.partial(ann.read, folder / _GRAPH, mmap=mmap)
    index = cls(
        _lines(folder / _IDS) + _lines(folder / _NEW_IDS),
        vectors,
        np.load(folder / _STAMPS, allow_pickle=False),
        kind=meta.kind,
        graph=graph,
        tail=np.load(folder / _TAIL, allow_pickle=False),
        alive=np.load(folder / _ALIVE, allow_pickle=False),
    )
    index.encoder_digest, index.catalogue_digest = meta.encoder, meta.catalogue
    if meta.kind != "flat":
        _ = index.graph  # opened now: a later save may replace the folder under this index
    # What stands beside the index can be made again from the catalogue, so a fault of it is no fault of the index.
    kept = {name: file for name, file in meta.files.items() if name not in _CHANGING}
    whole = (name for name in kept if name in own or _fault(folder / name, kept[name], verify=verify) is None)
    index.saved = {name: kept[name].sha256 for name in whole}
    return index


def _writers(index: VectorIndex) -> dict[str, Callable[[Path], None]]:
    main_ids, new_ids = index.ids[: index.main_rows], index.ids[index.main_rows :]
    writers: dict[str, Callable[[Path], None]] = {
        _IDS: lambda path: _write_lines(path, main_ids),
        _VECTORS: lambda path: np.save(path, index.main, allow_pickle=False),
        _NEW_IDS: lambda path: _write_lines(path, new_ids),
        _TAIL: lambda path: np.save(path, index.tail, allow_pickle=False),
        _STAMPS: lambda path: np.save(path, index.stamps, allow_pickle=False),
        _ALIVE: lambda path: np.save(path, index.alive, allow_pickle=False),
    }
    if index.kind != "flat":
        writers[_GRAPH] = lambda path: ann.write(index.graph, path)
    return {**writers, **index.beside}


def _place(name: str, write: Callable[[Path], None], fresh: Path, folder: Path, index: VectorIndex) -> _File:
    """Links the file of an earlier save of the same main part, or writes it."""
    path = fresh / name
    digest = index.saved.get(name)
    if digest is not None and _holds(folder, name, digest):
        try:
            os.link(folder / name, path)
        except OSError:
            shutil.copyfile(folder / name, path)
    else:
        write(path)
        digest = _sha256(path)
    _sync(path)
    return _File(bytes=path.stat().st_size, sha256=digest)


def _holds(folder: Path, name: str, digest: str) -> bool:
    try:
        file = _read_meta(folder).files.get(name)
    except (IndexFault, FileNotFoundError):
        return False
    return file is not None and file.sha256 == digest


def _swap(fresh: Path, folder: Path) -> None:
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    fresh.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _read_meta(folder: Path) -> _Meta:
    path = folder / _META
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {folder}: {_REBUILD}")
    try:
        meta = _Meta.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise IndexDamaged(f"{path} does not describe an index ({error.error_count()} faults): {_REBUILD}") from error
    if meta.format != FORMAT:
        raise IndexMismatch(f"{folder} is an index of format {meta.format}, this program reads {FORMAT}: {_REBUILD}")
    return meta


def _match(folder: Path, what: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise IndexMismatch(
            f"the index in {folder} belongs to the {what} {found[:12] or 'unknown'}, not to {wanted[:12]}: {_REBUILD}"
        )


def _check(path: Path, file: _File, *, verify: bool) -> None:
    if (fault := _fault(path, file, verify=verify)) is not None:
        raise IndexDamaged(f"{path} {fault}: {_REBUILD}")


def _fault(path: Path, file: _File, *, verify: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != file.bytes or (verify and _sha256(path) != file.sha256):
        return "has changed since it was written"
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
