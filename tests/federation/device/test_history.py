"""A person's own history: rows become events on the catalogue's items, and what does not is named with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from federation.device.base import Event
from federation.device.history import HistoryError, TitleLinker, exported_rows, read_history
from federation.device.records import RecordError, header
from retrieval.bundled import bundled_items
from retrieval.item import Item
from retrieval.rows import BadRow, ImportFileError

FILMS = [
    Item(id="alien-1979", title="Alien", year=1979, popularity=5),
    Item(id="matrix-1999", title="The Matrix", year=1999, popularity=5),
    Item(id="solaris-1972", title="Solaris", original_title="Солярис", year=1972, popularity=4),
    Item(id="solaris-2002", title="Solaris", year=2002, popularity=3),
    Item(id="amelie-2001", title="Amélie", original_title="Le Fabuleux Destin d'Amélie Poulain", year=2001),
    Item(id="star-wars-1977", title="Star Wars", year=1977, popularity=5),
    Item(id="red-1994", title="Three Colors: Red", year=1994, popularity=3),
    Item(id="oliver-1968", title="Oliver!", year=1968),
    Item(id="haine-1995", title="La Haine", year=1995),
    Item(id="sweeney-2007", title="Sweeney Todd: The Demon Barber of Fleet Street", year=2007),
]


@pytest.fixture(scope="module")
def linker() -> TitleLinker:
    return TitleLinker(FILMS)


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


class TestLinking:
    @pytest.mark.parametrize(
        ("title", "year", "found"),
        [
            ("Alien", None, "alien-1979"),
            ("Alien (1979)", None, "alien-1979"),
            ("ALIEN", 1979, "alien-1979"),
            ("Alien (1980)", None, "alien-1979"),
            ("Alien (1986)", None, None),
            ("Aliens (1986)", None, None),
            ("Matrix, The (1999)", None, "matrix-1999"),
            ("The Matrix Reloaded (2003)", None, None),
            ("Solaris (2002)", None, "solaris-2002"),
            ("Solaris (Solyaris) (1972)", None, "solaris-1972"),
            ("Solaris", 2001, "solaris-2002"),
            ("Amelie", 2001, "amelie-2001"),
            ("Fabuleux Destin d'Amélie Poulain, Le (2001)", None, "amelie-2001"),
            ("Hate (Haine, La) (1995)", None, "haine-1995"),
            ("Star Wars: Episode IV - A New Hope (1977)", None, "star-wars-1977"),
            ("Star Wars: Episode V - The Empire Strikes Back (1980)", None, None),
            ("Three Colors: White (1994)", None, None),
            ("Oliver! (1968)", None, "oliver-1968"),
            ("Sweeney Todd (2007)", None, "sweeney-2007"),
            ("Sweeney Todd (2006)", None, None),
            ("Solarris (1972)", None, "solaris-1972"),
            ("Solarris (1973)", None, None),
            ("I watched Alien with friends", None, None),
            ("Alien (9999)", None, None),
            ("Alien" * 5000, 1979, None),
            ("", None, None),
        ],
    )
    def test_a_title_is_its_item_or_none(self, linker, title, year, found):
        assert linker.link(title, year) == found

    def test_every_bundled_film_is_found_by_its_label(self):
        films = list(bundled_items())
        linker = TitleLinker(films)
        missed = [film.label for film in films if linker.link(film.title, film.year) != film.id]
        assert len(missed) <= 15, missed


class TestRows:
    def test_a_row_says_what_when_and_how(self, linker, tmp_path):
        path = jsonl(
            tmp_path,
            {"title": "Alien (1979)", "rating": 4.5, "at": 100},
            {"title": "The Matrix", "year": 1999, "verdict": "disliked", "at": "1970-01-02T00:00:00Z"},
            {"item": "amelie-2001", "at": "1970-01-02"},
            {"title": "Solaris", "year": "1972", "rating": "2", "at": "1970-01-02T02:00:00+02:00"},
            {"title": "Oliver!", "rating": 3},
        )
        assert read_history(path, linker).events == [
            Event(100.0, "alien-1979", "liked"),
            Event(86_400.0, "matrix-1999", "disliked"),
            Event(86_400.0, "amelie-2001", "seen"),
            Event(86_400.0, "solaris-1972", "disliked"),
            Event(5.0, "oliver-1968", "seen"),
        ]

    def test_csv_and_packed_files_are_read_too(self, linker, tmp_path):
        path = tmp_path / "history.csv.gz"
        path.write_bytes(gzip.compress(b"title,rating,at\nAlien (1979),4,7\nSolaris (2002),,\n"))
        events = [Event(7.0, "alien-1979", "liked"), Event(3.0, "solaris-2002", "seen")]
        assert read_history(path, linker).events == events

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("{", "is not JSON"),
            ("[]", "is not a JSON object"),
            ({"rating": 3}, "neither a title nor an item"),
            ({"title": ["Alien"]}, "neither a title nor an item"),
            ({"title": "Alien", "rating": 7}, "rating is out of 5"),
            ({"title": "Alien", "rating": -1}, "rating is out of 5"),
            ({"title": "Alien", "rating": "good"}, "rating is no number"),
            ({"title": "Alien", "rating": True}, "rating is no number"),
            ({"title": "Alien", "rating": []}, "rating is no number"),
            ({"title": "Alien", "year": "nineteen"}, "year is no number"),
            ({"title": "Alien", "verdict": "loved"}, "verdict is liked, disliked, seen"),
            ({"title": "Alien", "at": "2024-13-01"}, "at is no date"),
            ({"title": "Alien", "at": 1_714_587_300_000}, "in milliseconds?"),
            ({"title": "Alien", "at": {}}, "at is no number"),
        ],
    )
    def test_a_bad_row_is_named_with_its_line(self, linker, tmp_path, row, reason):
        history = read_history(jsonl(tmp_path, {"title": "Alien"}, row, {"title": "Oliver!"}), linker)
        assert [event.item for event in history.events] == ["alien-1979", "oliver-1968"]
        (bad,) = history.bad.listed
        assert (bad.line, history.bad.count, history.unknown.count) == (2, 1, 0)
        assert reason in bad.reason

    def test_what_the_catalogue_lacks_is_no_bad_row(self, linker, tmp_path):
        history = read_history(jsonl(tmp_path, {"title": "Heat (1995)"}, {"item": "heat-1995"}), linker)
        assert history.unknown.listed == [
            BadRow(1, "Heat (1995) is not in the catalogue"),
            BadRow(2, "heat-1995 is not in the catalogue"),
        ]
        assert (history.events, history.bad.count) == ([], 0)

    def test_a_file_without_a_row_is_refused(self, linker, tmp_path):
        with pytest.raises(HistoryError, match="no row that can be read"):
            read_history(jsonl(tmp_path, "{"), linker)
        with pytest.raises(ImportFileError, match="does not say what it holds"):
            read_history(tmp_path / "history.doc", linker)
        with pytest.raises(ImportFileError, match="cannot be read"):
            read_history(tmp_path / "absent.jsonl", linker)

    def test_a_user_is_for_movielens(self, linker, tmp_path):
        with pytest.raises(HistoryError, match="does not tell people apart"):
            read_history(jsonl(tmp_path, {"title": "Alien"}), linker, user="1")


class TestMovieLens:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        movies = 'movieId,title,genres\n1,Alien (1979),Horror\n2,"Matrix, The (1999)",Action\n3,Heat (1995),Crime\n'
        (tmp_path / "movies.csv").write_text(movies)
        ratings = "userId,movieId,rating,timestamp\n1,1,4.0,30\n1,2,3.5,10\n1,3,5.0,20\n2,1,2.0,5\n1,9,2.0,5\n1,1,x,5\n"
        (tmp_path / "ratings.csv").write_text(ratings)
        return tmp_path

    @pytest.mark.parametrize("name", ["", "ratings.csv"])
    def test_one_users_ratings_are_read(self, linker, folder, name):
        history = read_history(folder / name, linker, user="1")
        assert history.events == [Event(30.0, "alien-1979", "liked"), Event(10.0, "matrix-1999", "seen")]
        assert history.unknown.listed == [BadRow(4, "Heat (1995) is not in the catalogue")]
        assert history.bad.listed == [BadRow(6, "movieId 9 is not in movies.csv"), BadRow(7, "rating is no number")]

    def test_whose_must_be_said_where_there_are_several(self, linker, folder):
        with pytest.raises(HistoryError, match="several people: say whose with --user"):
            read_history(folder, linker)
        with pytest.raises(HistoryError, match="no rating of the user 7"):
            read_history(folder, linker, user="7")

    def test_the_only_one_needs_no_name(self, linker, folder):
        (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n8,1,4.0,30\n")
        assert read_history(folder, linker).events == [Event(30.0, "alien-1979", "liked")]

    def test_titles_are_needed(self, linker, folder):
        (folder / "movies.csv").unlink()
        with pytest.raises(HistoryError, match="movies.csv is missing"):
            read_history(folder, linker, user="1")

    def test_a_real_history_is_linked(self, shared_data):
        history = read_history(shared_data / "ml-latest-small", TitleLinker(bundled_items()), user="1")
        assert len(history.events) + history.unknown.count == 232
        assert len(history.events) > 130
        assert history.bad.count == 0
        assert history.events[0].verdict == "liked"


class TestExports:
    def test_an_export_is_told_from_a_history(self, tmp_path):
        assert exported_rows(jsonl(tmp_path, {"title": "Alien"})) is None
        assert exported_rows(jsonl(tmp_path)) is None
        assert exported_rows(tmp_path / "ratings.csv") is None
        row = {"kind": "event", "at": 1.0, "item": "a", "verdict": "seen"}
        assert list(exported_rows(jsonl(tmp_path, header(), row))) == [header(), row]

    def test_one_of_a_newer_version_is_refused(self, tmp_path):
        with pytest.raises(RecordError, match="version 2"):
            exported_rows(jsonl(tmp_path, {**header(), "version": 2}))

    def test_a_line_that_is_cut_is_told(self, tmp_path):
        with pytest.raises(RecordError, match="line 2"):
            list(exported_rows(jsonl(tmp_path, header(), '{"kind": "ev')))
