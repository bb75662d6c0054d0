"""People with histories are read from MovieLens' folders, in time order, with Sotto's own names of genres."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.device.base import Event
from federation.device.population import PopulationError, devices, read_population, verdict
from tests.conftest import SHARED_DATA

RATINGS = "userId,movieId,rating,timestamp\n2,1,4.5,20\n2,3,2.0,10\n1,2,3.0,5\n"
MOVIES = (
    'movieId,title,genres\n1,"Matrix, The (1999)",Action|Sci-Fi\n2,Alien (1979),Horror\n3,Nothing,(no genres listed)\n'
)


def test_the_latest_format_is_read(tmp_path: Path):
    (tmp_path / "ratings.csv").write_text(RATINGS, "utf-8")
    (tmp_path / "movies.csv").write_text(MOVIES, "utf-8")
    found = read_population(tmp_path)
    matrix = found.items["ml-1"]
    assert (matrix.title, matrix.year, matrix.genres) == ("The Matrix", 1999, ("action", "science fiction"))
    assert (found.items["ml-3"].year, found.items["ml-3"].genres) == (None, ())
    assert found.histories["2"] == (Event(10.0, "ml-3", "disliked"), Event(20.0, "ml-1", "liked"))
    assert devices(found, 5, seed=0) == []


def test_the_old_format_is_read(tmp_path: Path):
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nChildren's|2\n\n", "latin-1")
    flags = "|01-Jan-1995||http://x|0|1|1"
    (tmp_path / "u.item").write_text(f"1|Misérables, Les (1995){flags}\n", "latin-1")
    (tmp_path / "u.data").write_text("7\t1\t3\t99\n", "latin-1")
    found = read_population(tmp_path)
    assert (found.items["ml-1"].title, found.items["ml-1"].genres) == ("Les Misérables", ("action", "family"))
    assert found.histories == {"7": (Event(99.0, "ml-1", "seen"),)}


def test_another_folder_is_refused_with_what_is_looked_for(tmp_path: Path):
    with pytest.raises(PopulationError, match=r"ratings\.csv"):
        read_population(tmp_path)


def test_ratings_are_verdicts():
    assert [verdict(rating) for rating in (0.5, 2.0, 2.5, 3.5, 4.0, 5.0)] == [
        *("disliked", "disliked", "seen", "seen", "liked", "liked")
    ]


@pytest.mark.parametrize(("name", "people", "items"), [("ml-latest-small", 610, 9742), ("ml-100k", 943, 1682)])
def test_the_real_ones_are_whole(name: str, people: int, items: int):
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    found = read_population(folder)
    assert (len(found.histories), len(found.items)) == (people, items)
    drawn = devices(found, 60, seed=0)
    assert len(set(drawn)) == 60
    assert drawn == devices(found, 60, seed=0) != devices(found, 60, seed=1)
    for person in drawn:
        times = [event.at for event in found.histories[person]]
        assert times == sorted(times)
