"""Columns that were stored beside an index are those that the catalogue would give, without a look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import column_files
from retrieval.columns import FIELDS, Columns, Stored
from retrieval.index import VectorIndex
from retrieval.item import Item
from retrieval.search import Library
from retrieval.wish import Wish
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS, film


class ReadCatalogue(MemoryCatalogue):
    """Counts the items that were read one after the other."""

    read = 0

    def __iter__(self) -> Iterator[Item]:
        for item in super().__iter__():
            self.read += 1
            yield item

    @property
    def digest(self) -> str:
        before = self.read
        digest = super().digest
        self.read = before
        return digest


def opened(catalogue: MemoryCatalogue, folder: Path) -> Library:
    return Library(catalogue, HashEncoder(), folder / "index")


def found(library: Library) -> list[list[tuple[str, float]]]:
    """The ids and scores that ``library`` finds under every kind of constraint."""
    names = sorted({name for item in FILMS for name in item.names})
    wishes = [
        Wish(),
        Wish(genres=("horror",)),
        Wish(not_moods=("scary",)),
        Wish(year_from=1970, year_to=1985),
        *(Wish(people=(name,)) for name in names),
    ]
    return [[(one.item.id, one.score) for one in library.search(wish, k=50)] for wish in wishes]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(FILMS), max_size=8, unique_by=lambda item: item.id),
    st.lists(st.sampled_from(FILMS), max_size=8, unique_by=lambda item: item.id),
)
def test_stored_then_added_to_is_the_same_as_read_at_once(first: list[Item], then: list[Item]) -> None:
    whole, part = Columns(), Columns()
    for row, item in enumerate([*first, *then]):
        whole.put(row, item)
    for row, item in enumerate(first):
        part.put(row, item)
    part = Columns(len(first) + len(then), part.stored())
    for row, item in enumerate(then, len(first)):
        part.put(row, item)
    ours, theirs = part.stored(), whole.stored()
    np.testing.assert_array_equal(ours.years, theirs.years)
    np.testing.assert_array_equal(ours.popularity, theirs.popularity)
    for facet in FIELDS:
        assert set(ours.values[facet]) == set(theirs.values[facet])
        for value in ours.values[facet]:
            np.testing.assert_array_equal(ours.held(facet, value), theirs.held(facet, value))


def test_write_then_load_is_the_identity(tmp_path: Path) -> None:
    columns = Columns()
    for row, item in enumerate(FILMS):
        columns.put(row, item)
    for stored in (columns.stored(), Columns().stored(), Stored()):
        for name, write in column_files.writers(stored).items():
            write(tmp_path / name)
        loaded = column_files.load(tmp_path)
        assert loaded.values == stored.values
        for name in ("years", "popularity", "starts", "rows"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(stored, name))


def test_a_second_opening_reads_no_item_and_finds_the_same(tmp_path: Path) -> None:
    first = opened(ReadCatalogue(FILMS), tmp_path)
    catalogue = ReadCatalogue(FILMS)
    second = opened(catalogue, tmp_path)
    assert catalogue.read == 0
    assert found(second) == found(first)


def test_what_was_changed_since_is_there_at_the_next_opening(tmp_path: Path) -> None:
    catalogue = ReadCatalogue(FILMS)
    library = opened(catalogue, tmp_path)
    before = (tmp_path / "index" / "facet_rows.npy").stat().st_ino
    changed = FILMS[0].model_copy(update={"genres": ("western",), "year": 1955, "popularity": 0.5})
    library.put([changed, film("new", "New", 1980, genres=("horror",))])
    library.remove([FILMS[1].id])
    assert (tmp_path / "index" / "facet_rows.npy").stat().st_ino == before, "what is stored is linked, not written"
    catalogue.read = 0
    again = opened(catalogue, tmp_path)
    assert catalogue.read == 0
    assert found(again) == found(library)
    fresh = opened(MemoryCatalogue(catalogue), tmp_path / "fresh")
    assert [{item for item, _ in each} for each in found(again)] == [
        {item for item, _ in each} for each in found(fresh)
    ]


def test_facets_that_another_process_changed_are_read_though_the_text_is_the_same(tmp_path: Path) -> None:
    catalogue = MemoryCatalogue(FILMS)
    opened(catalogue, tmp_path)
    famous = FILMS[0].model_copy(update={"popularity": 1e6})
    catalogue.put([famous])
    library = opened(catalogue, tmp_path)
    assert library.encoder.encoded == []
    assert library.search(Wish(), k=1)[0].item.id == famous.id
    assert opened(catalogue, tmp_path).search(Wish(), k=1)[0].item.id == famous.id


@pytest.mark.parametrize("name", column_files.FILES)
@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_damaged_file_is_made_again_from_the_catalogue_and_nothing_is_encoded(
    tmp_path: Path, name: str, fault: str
) -> None:
    first = opened(MemoryCatalogue(FILMS), tmp_path)
    path = tmp_path / "index" / name
    data = path.read_bytes()
    path.unlink()
    if fault == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    library = opened(MemoryCatalogue(FILMS), tmp_path)
    assert library.encoder.encoded == []
    assert found(library) == found(first)
    assert path.read_bytes() == data


def test_an_index_without_columns_gets_them(tmp_path: Path) -> None:
    catalogue = MemoryCatalogue(FILMS)
    library = opened(catalogue, tmp_path)
    index = library.index
    index.saved, index.beside = {}, {}
    index.save(tmp_path / "index")
    assert not set(column_files.FILES) & VectorIndex.load(tmp_path / "index").saved.keys()
    assert found(opened(catalogue, tmp_path)) == found(library)
    assert set(column_files.FILES) <= VectorIndex.load(tmp_path / "index").saved.keys()
