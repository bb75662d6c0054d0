from __future__ import annotations

from collections import Counter
from pathlib import Path

from retrieval.bundled import bundled_items, open_catalogue
from retrieval.item import Item
from retrieval.mapping import item_id


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
