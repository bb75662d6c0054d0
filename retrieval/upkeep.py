"""Keeps the index in step with the catalogue: loads it, brings it up to date, or builds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from retrieval import column_files
from retrieval.ann import FloatArray, Kind
from retrieval.bundled import known_vectors
from retrieval.catalogue import Facets
from retrieval.columns import Columns
from retrieval.encoder import Encoder, Progress, item_text
from retrieval.index import StampArray, VectorIndex
from retrieval.index_files import IndexFault
from retrieval.item import Item

WantedKind = Kind | Literal["auto"]

_PAGE = 512


class ItemStore(Protocol):
    """What the library needs of a catalogue; see `retrieval.catalogue.Catalogue`."""

    @property
    def digest(self) -> str:
        """Changes with every change of an item."""
        ...

    @property
    def revision(self) -> int:
        """Grows with every change of an item."""
        ...

    @property
    def facets(self) -> Facets:
        """The values that occur: the vocabulary of a wish."""
        ...

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...
    def get(self, item_id: str) -> Item | None:
        """The item, or None."""
        ...

    def many(self, ids: Iterable[str]) -> list[Item]:
        """The items of ``ids`` in that order, missing ones left out."""
        ...

    def put(self, items: Iterable[Item]) -> object:
        """Adds or replaces items."""
        ...

    def remove(self, ids: Iterable[str]) -> object:
        """Removes items."""
        ...


def prepare(
    catalogue: ItemStore, encoder: Encoder, folder: Path, kind: WantedKind, progress: Progress | None
) -> tuple[VectorIndex, Columns]:
    """The index in ``folder`` as the catalogue is now, and the columns beside it.

    An index that is missing, damaged or another encoder's is built anew; one of an earlier state of the catalogue is
    brought up to date by encoding the items whose text has changed. A text that a bundled film has is never encoded.
    Columns that are missing or damaged are read from the catalogue; otherwise of the catalogue only what came since.
    """
    digest = catalogue.digest
    try:
        old = VectorIndex.load(folder, encoder_digest=encoder.digest)
    except (FileNotFoundError, IndexFault):
        old = None
    if old is not None and old.catalogue_digest == digest and not _misbuilt(old, kind):
        return old, _columns(catalogue, old, folder, progress)
    index = _updated(catalogue, encoder, old, kind, progress)
    index.catalogue_digest = digest
    # An item may have changed though its text, and so its row, has not.
    index.saved = {name: sha256 for name, sha256 in index.saved.items() if name not in column_files.FILES}
    index.save(folder)  # before the columns: to encode again is what takes long
    return index, _columns(catalogue, index, folder, progress)


def stamp(text: str) -> int:
    """64 bits of a hash of ``text``: tells whether a vector is still that of an item."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def text_vectors(texts: Sequence[str], stamps: StampArray, encoder: Encoder, progress: Progress | None) -> FloatArray:
    """The vectors of ``texts``, float32 (n, dim): the ones that came along where there are any, else encoded."""
    known = known_vectors(encoder.digest)
    marks = stamps.tolist()
    rest = [row for row, mark in enumerate(marks) if mark not in known]
    if len(rest) == len(texts):
        return encoder.encode(texts, progress)  # as it is: a copy of millions of vectors would take gigabytes
    vectors = np.empty((len(texts), encoder.dim), dtype=np.float32)
    if rest:
        vectors[rest] = encoder.encode([texts[row] for row in rest], progress)
    for row, mark in enumerate(marks):
        if mark in known:
            vectors[row] = known[mark]
    return vectors


def _columns(catalogue: ItemStore, index: VectorIndex, folder: Path, progress: Progress | None) -> Columns:
    """The columns of ``index``, as they lie in ``folder`` with it and with the rows that came since."""
    if not index.saved.keys() >= set(column_files.FILES):
        index.beside = column_files.writers(_read(catalogue, index, progress).stored())
        index.save(folder)
    stored = column_files.load(folder)
    index.beside = column_files.writers(stored)
    columns = Columns(len(index.ids), stored)
    columns.drop(np.flatnonzero(~index.alive))
    since = [index.ids[row] for row in range(len(stored.years), len(index.ids)) if index.alive[row]]
    for item in catalogue.many(since):
        if (row := index.row(item.id)) is not None:
            columns.put(row, item)
    return columns


def _read(catalogue: ItemStore, index: VectorIndex, progress: Progress | None) -> Columns:
    """The columns of ``index``, from every item of the catalogue."""
    columns = Columns(len(index.ids))
    for done, item in enumerate(catalogue, 1):
        if (row := index.row(item.id)) is not None:
            columns.put(row, item)
        if progress is not None and (done % _PAGE == 0 or done == len(index)):
            progress("reading the catalogue", done, len(index))
    return columns


def _updated(
    catalogue: ItemStore, encoder: Encoder, old: VectorIndex | None, kind: WantedKind, progress: Progress | None
) -> VectorIndex:
    """An index of the catalogue that keeps the vectors of ``old`` whose items' text is the same."""
    ids: list[str] = []
    stamps: list[int] = []
    changed: list[int] = []
    texts: list[str] = []
    for item in catalogue:
        text = item_text(item)
        row = None if old is None else old.row(item.id)
        ids.append(item.id)
        stamps.append(stamp(text))
        if old is None or row is None or int(old.stamps[row]) != stamps[-1]:
            changed.append(len(ids) - 1)
            texts.append(text)
    marks: StampArray = np.array(stamps, dtype=np.uint64)
    vectors = text_vectors(texts, marks[changed], encoder, progress)
    if old is not None:
        old.remove(set(old.ids) - set(ids))
        old.add([ids[place] for place in changed], vectors, marks[changed])
        if not _misbuilt(old, kind):
            return old
        vectors = old.vectors([row for item_id in ids if (row := old.row(item_id)) is not None])
    return VectorIndex.build(ids, vectors, kind, progress, stamps=marks, encoder_digest=encoder.digest)


def _misbuilt(index: VectorIndex, kind: WantedKind) -> bool:
    return index.needs_rebuild or kind not in {"auto", index.kind}
