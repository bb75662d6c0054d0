from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assistant.cli.catalogue import app
from retrieval.bundled import bundled_items, open_catalogue
from retrieval.item import Item
from tests.retrieval.fakes import HashEncoder

FILMS = [
    Item(
        id="alien-1979",
        title="Alien",
        year=1979,
        genres=("science fiction", "horror"),
        people={"director": ("Ridley Scott",), "cast": ("Sigourney Weaver",)},
        description="A crew meets a stowaway.",
        popularity=5,
        attributes={"minutes": 117},
    ),
    Item(id="solaris-1972", title="Solaris", original_title="Солярис", year=1972, genres=("drama",), popularity=4),
    Item(id="solaris-2002", title="Solaris", year=2002, genres=("drama",), popularity=3),
    Item(id="amelie-2001", title="Amélie", year=2001, genres=("comedy",), moods=("charming",)),
]


def sotto(*arguments: str, stdin: str | None = None) -> Result:
    result: Result = CliRunner().invoke(app, list(arguments), input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answer(*arguments: str) -> Any:
    result = sotto(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def home(own_home: Path) -> Path:
    with open_catalogue(own_home) as catalogue:
        catalogue.replace(FILMS)
    return own_home


@pytest.fixture
def _hash_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.search.TextEncoder", HashEncoder)


def test_first_use_finds_the_bundled_films(own_home: Path) -> None:
    assert answer("stats")["items"] == len(list(bundled_items()))
    assert (own_home / "catalogue" / "catalogue.sqlite").is_file()


def test_import_replaces_and_append_adds(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("name,released,staff\nHeat,1995,Michael Mann\n,1996,\n")
    result = sotto("import", str(path), "--map", "title=name", "--map", "year=released", "--append")
    assert result.exit_code == 0
    assert result.stdout == "Imported 1 items, 1 bad rows left out; the catalogue holds 5.\n"
    assert "line 3: title is missing" in result.stderr
    assert "Columns kept as attributes: staff" in result.stderr
    report = answer("import", str(path), "--map", "title=name")
    assert report == {
        "imported": 1,
        "bad": 1,
        "items": 1,
        "attributes": {"released": 2, "staff": 1},
        "bad_rows": [{"line": 3, "reason": "title is missing"}],
    }


def test_a_strict_import_with_bad_rows_changes_nothing(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "films.txt"
    path.write_text('{"title": "Heat"}\n' + "{}\n" * 25)
    result = sotto("import", str(path), "--format", "jsonl", "--strict")
    assert result.exit_code == 1
    assert "line 2: title is missing\n" in result.stderr
    assert "... and 5 more bad rows" in result.stderr
    assert "25 bad rows and --strict: nothing was imported" in result.stderr
    assert answer("stats")["items"] == len(FILMS)


def test_an_interrupted_import_changes_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.importing.import_file", interrupted)
    result = sotto("import", str(tmp_path / "films.csv"))
    assert result.exit_code == 130
    assert "the catalogue is as it was" in result.stderr
    assert answer("stats")["items"] == len(FILMS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "films.csv", "--map", "title"], "not FIELD=COLUMN"),
        (["import", "films.csv", "--format", "xml"], "none of jsonl, csv, parquet"),
        (["search", "space", "--year", "soon"], "not like 1980-1989"),
        (["search", "space", "-k", "0"], "-k"),
        (["search", "space", "--genre", " "], "at least 1 character"),
        (["index", "--kind", "tree"], "none of auto, flat, ivf, ivfpq, hnsw"),
        (["add", "no-such-file.json"], "No such file"),
    ],
)
def test_a_wrong_command_line_exits_with_2(own_home: Path, arguments: list[str], message: str) -> None:
    result = sotto(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_what_cannot_be_done_exits_with_1(home: Path, tmp_path: Path) -> None:
    result = sotto("import", str(tmp_path / "none.csv"))
    assert result.exit_code == 1
    assert result.stderr.startswith("sotto: ")
    (tmp_path / "file").write_text("")
    result = sotto("stats", "--home", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert "choose another folder with --home" in result.stderr


@pytest.mark.parametrize(
    ("name", "item_id"),
    [
        ("alien-1979", "alien-1979"),
        ("ALIEN", "alien-1979"),
        ("amelie", "amelie-2001"),
        ("solaris", "solaris-1972"),
        ("Солярис", "solaris-1972"),
        ("Solaris (2002)", "solaris-2002"),
    ],
)
def test_an_item_is_shown_by_id_or_title(home: Path, name: str, item_id: str) -> None:
    assert answer("show", name)["id"] == item_id


def test_an_item_is_shown_as_a_table(home: Path) -> None:
    lines = [line.split(maxsplit=1) for line in sotto("show", "alien").stdout.splitlines()]
    assert ["director", "Ridley Scott"] in [[part.strip() for part in line] for line in lines]
    assert ["minutes", "117"] in [[part.strip() for part in line] for line in lines]
    assert ["genres", "science fiction, horror"] in [[part.strip() for part in line] for line in lines]


def test_a_mistyped_title_is_answered_by_its_likes(home: Path) -> None:
    result = sotto("show", "Sollaris")
    assert result.exit_code == 1
    assert "did you mean Solaris (1972) (solaris-1972)" in result.stderr


def test_stats_count_by_facet(home: Path) -> None:
    counts = answer("stats")
    assert counts["genres"] == {"drama": 2, "comedy": 1, "horror": 1, "science fiction": 1}
    assert counts["decades"] == {"1970": 2, "2000": 2}
    table = sotto("stats").stdout
    assert "drama 2, comedy 1" in table


def test_one_item_is_added_replaced_and_removed(home: Path, tmp_path: Path) -> None:
    assert sotto("add", "-", stdin='{"title": "Heat", "year": 1995}').stdout == "Added heat-1995: Heat (1995)\n"
    path = tmp_path / "heat.json"
    path.write_text('{"id": "heat-1995", "title": "Heat", "year": 1995, "genres": ["crime"]}')
    assert sotto("add", str(path)).stdout.startswith("Replaced heat-1995")
    assert answer("show", "heat")["genres"] == ["crime"]
    result = sotto("remove", "heat-1995", "none")
    assert result.exit_code == 1
    assert result.stdout == "Removed 1.\n"
    assert "not in the catalogue: none" in result.stderr
    assert answer("stats")["items"] == len(FILMS)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "is a JSON object"), ('{"year": 1}', "title is missing")]
)
def test_what_is_no_item_is_not_added(home: Path, text: str, message: str) -> None:
    result = sotto("add", "-", stdin=text)
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.usefixtures("_hash_encoder")
def test_search_holds_to_its_constraints(home: Path) -> None:
    found = answer("search", "stowaway", "--year", "1970s", "-k", "3")
    assert found["relaxed"] == []
    assert found["results"][0]["item"]["id"] == "alien-1979"
    assert {one["item"]["id"] for one in found["results"]} == {"alien-1979", "solaris-1972"}
    assert answer("search", "film", "--genre", "Horror")["results"][0]["item"]["title"] == "Alien"
    assert answer("search", "film", "--person", "sigourney weaver")["results"][0]["item"]["title"] == "Alien"
    assert [one["item"]["year"] for one in answer("search", "film", "--year", "2002-")["results"]] == [2002]
    assert {one["item"]["year"] for one in answer("search", "film", "--year=-1975")["results"]} == {1972}
    assert {one["item"]["year"] for one in answer("search", "film", "--year", "1979")["results"]} == {1979}


@pytest.mark.usefixtures("_hash_encoder")
def test_search_that_nothing_fits_says_what_it_loosened(home: Path) -> None:
    found = answer("search", "film", "--genre", "drama", "--year", "1990s")
    assert found["relaxed"]
    assert found["results"]
    result = sotto("search", "film", "--genre", "drama", "--year", "1990s")
    assert "Nothing fits exactly" in result.stderr
    assert "solaris-2002" in result.stdout


@pytest.mark.usefixtures("_hash_encoder")
def test_search_sees_an_item_that_was_added(home: Path) -> None:
    sotto("search", "film")
    sotto("add", "-", stdin='{"title": "Heat", "description": "zanzibar"}')
    assert answer("search", "zanzibar", "-k", "1")["results"][0]["item"]["id"] == "heat"
    assert sotto("index").stdout == "The index is flat and holds 5 items.\n"


@pytest.mark.usefixtures("_hash_encoder")
def test_an_empty_catalogue_answers_with_1(home: Path) -> None:
    sotto("remove", *(film.id for film in FILMS))
    result = sotto("search", "film")
    assert result.exit_code == 1
    assert "nothing in the catalogue fits" in result.stderr
