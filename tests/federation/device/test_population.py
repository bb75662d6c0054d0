"""People with histories are read from MovieLens' folders, in time order, with Sotto's own names of genres."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from federation.device.base import Event, split
from federation.device.population import (
    Population,
    PopulationError,
    Title,
    devices,
    read_population,
    read_title,
    verdict,
)

RATINGS = "userId,movieId,rating,timestamp\n10,1,4.5,20\n10,3,2.0,10\n9,2,3.0,5\n"
MOVIES = (
    'movieId,title,genres\n1,"Matrix, The (1999)",Action|Sci-Fi|IMAX\n2,Alien (1979),Horror\n'
    "3,Nothing,(no genres listed)\n4,Laura (1944),Film-Noir|Children|Children's\n"
)


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    (tmp_path / "ratings.csv").write_text(RATINGS, "utf-8")
    (tmp_path / "movies.csv").write_text(MOVIES, "utf-8")
    return tmp_path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nChildren's|2\n\n", "latin-1")
    flags = "|01-Jan-1995||http://x|0|1|1"
    (tmp_path / "u.item").write_text(f"1|Misérables, Les (1995){flags}\n", "latin-1")
    (tmp_path / "u.data").write_text("7\t1\t3\t99\n", "latin-1")
    return tmp_path


def test_the_latest_format_is_read(latest):
    found = read_population(latest)
    matrix = found.items["ml-1"]
    assert (matrix.title, matrix.year, matrix.genres) == ("The Matrix", 1999, ("action", "science fiction"))
    assert (found.items["ml-3"].year, found.items["ml-3"].genres) == (None, ())
    assert found.items["ml-4"].genres == ("film noir", "family")
    assert found.histories["10"] == (Event(10.0, "ml-3", "disliked"), Event(20.0, "ml-1", "liked"))
    assert devices(found, 5, seed=0) == []


def test_nothing_of_what_is_held_out_is_in_an_item(latest):
    assert {item.popularity for item in read_population(latest).items.values()} == {0.0}


def test_the_first_people_are_read_by_number(latest):
    assert list(read_population(latest).histories) == ["9", "10"]
    assert list(read_population(latest, most=1).histories) == ["9"]


@pytest.mark.parametrize("packed", [False, True])
def test_the_old_format_is_read(old, packed):
    if packed:
        (old / "u.data.gz").write_bytes(gzip.compress((old / "u.data").read_bytes()))
        (old / "u.data").unlink()
    found = read_population(old)
    assert (found.items["ml-1"].title, found.items["ml-1"].genres) == ("Les Misérables", ("action", "family"))
    assert found.histories == {"7": (Event(99.0, "ml-1", "seen"),)}


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Toy Story (1995)", Title("Toy Story", None, 1995)),
        ("Blind Side, The  (2009)", Title("The Blind Side", None, 2009)),
        ("Avventura, L' (1960)", Title("L'Avventura", None, 1960)),
        ("Paris, Texas (1984)", Title("Paris, Texas", None, 1984)),
        ("Play It Again, Sam (1972)", Title("Play It Again, Sam", None, 1972)),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)",
         Title("The City of Lost Children", "La Cité des enfants perdus", 1995)),
        ("Seven (a.k.a. Se7en) (1995)", Title("Seven", "Se7en", 1995)),
        ("Zombie (a.k.a. Zombie 2) (Zombi 2) (1979)", Title("Zombie", "Zombi 2", 1979)),
        ("(500) Days of Summer (2009)", Title("(500) Days of Summer", None, 2009)),
        ("Land Before Time III: The Time of the Great Giving (1995) (V)",
         Title("Land Before Time III: The Time of the Great Giving", None, 1995)),
        ("Death Note: Desu nôto (2006–2007)", Title("Death Note: Desu nôto", None, 2006)),
        ("Moonlight", Title("Moonlight", None, None)),
        ("1984 (1956)", Title("1984", None, 1956)),
        ("(1999)", Title("(1999)", None, None)),
    ],
)  # fmt: skip
def test_a_title_is_read_as_people_say_it(written, title):
    assert read_title(written) == title


def test_another_folder_is_refused_with_what_is_looked_for(tmp_path):
    with pytest.raises(PopulationError, match=r"ratings\.csv"):
        read_population(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,good,20\n", "line 2: it is not a person"),
        ("ratings.csv", "userId,movieId,rating\n1,1,4\n", "it needs userId, movieId, rating, timestamp"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,7,4,20\n", "ml-7, which is not among the films"),
        ("movies.csv", "movieId,title,genres\n1,,Action\n", "line 2: it is no film"),
        ("movies.csv", "movieId,title,genres\n1,Alien (1979)\n", "it needs movieId, title, genres"),
    ],
)
def test_a_line_out_of_order_is_named(latest, file, text, said):
    (latest / file).write_text(text, "utf-8")
    with pytest.raises(PopulationError, match=said):
        read_population(latest)


def test_a_missing_or_odd_file_is_named(latest, old):
    (latest / "movies.csv").unlink()
    with pytest.raises(PopulationError, match="movies.csv"):
        read_population(latest)
    (old / "ratings.csv").unlink()
    (old / "u.item").write_text("1|Alien (1979)|1|1\n", "latin-1")
    with pytest.raises(PopulationError, match="it has 4 cells"):
        read_population(old)


def test_ratings_are_verdicts():
    assert [verdict(rating) for rating in (0.5, 2.0, 2.5, 3.5, 4.0, 5.0)] == [
        *("disliked", "disliked", "seen", "seen", "liked", "liked")
    ]


def test_who_has_too_few_events_takes_no_part_and_more_devices_are_those_and_others():
    histories = {str(name): tuple(Event(float(at), "ml-1") for at in range(name)) for name in range(20)}
    population = Population({}, histories)
    assert sorted(devices(population, 100, seed=3), key=int) == [str(name) for name in range(5, 20)]
    few, more = devices(population, 4, seed=3), devices(population, 9, seed=3)
    assert set(few) < set(more)
    assert few != devices(population, 4, seed=4)


@pytest.mark.parametrize(
    ("name", "people", "items", "ratings"),
    [("ml-latest-small", 610, 9742, 100_836), ("ml-100k", 943, 1682, 100_000)],
)
def test_the_real_ones_are_whole(shared_data, name, people, items, ratings):
    found = read_population(shared_data / name)
    assert (len(found.histories), len(found.items)) == (people, items)
    assert sum(map(len, found.histories.values())) == ratings
    drawn = devices(found, 60, seed=0)
    assert len(set(drawn)) == 60
    assert drawn == devices(found, 60, seed=0) != devices(found, 60, seed=1)
    for person in drawn:
        parts = split(found.histories[person])
        assert (*parts.train, parts.validation, parts.test) == found.histories[person]
