"""`sotto device`: a history comes in, is shown, goes out whole, and is gone once deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assistant.cli.main import app

LINES = [
    {"title": "Alien", "year": 1979, "rating": 5, "at": 100},
    {"title": "The Thing", "at": 200, "verdict": "disliked"},
    {"title": "A film that nobody made", "at": 300},
    {"at": 400},
    {"title": "Alien", "year": 1979, "at": "yesterday"},
]


def sotto(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["device", *words, "--home", str(home)])


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES) + "nonsense\n", "utf-8")
    return path


def test_a_history_comes_in_and_goes_out_whole(tmp_path: Path, history: Path):
    found = sotto(tmp_path / "one", "import", str(history), "--json")
    told = json.loads(found.stdout)
    assert told["left out"] >= 4
    again = json.loads(sotto(tmp_path / "one", "import", str(history), "--json").stdout)
    assert again["new"] == 0
    out = tmp_path / "export.jsonl"
    assert sotto(tmp_path / "one", "export", "--out", str(out)).exit_code == 0
    assert json.loads(out.read_text("utf-8").splitlines()[0])["item"] == "alien-1979"
    assert sotto(tmp_path / "two", "import", str(out)).exit_code == 0
    assert sotto(tmp_path / "two", "export").stdout == out.read_text("utf-8")
    assert json.loads(sotto(tmp_path / "two", "status", "--json").stdout)["events"] == told["new"]


def test_rows_that_cannot_be_imported_are_named_and_strict_imports_nothing(tmp_path: Path, history: Path):
    found = sotto(tmp_path, "import", str(history), "--strict")
    assert found.exit_code == 1
    for row in (3, 4, 5, 6):
        assert f"row {row}: " in found.stderr
    assert json.loads(sotto(tmp_path, "status", "--json").stdout)["events"] == 0


def test_movielens_ratings_are_linked_by_title_and_year(tmp_path: Path):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Alien (1979),Horror\n", "utf-8")
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("userId,movieId,rating,timestamp\n3,1,4.5,10\n4,1,1.0,20\n", "utf-8")
    several = sotto(tmp_path / "home", "import", str(ratings))
    assert several.exit_code == 1
    assert "--user" in several.stderr
    assert sotto(tmp_path / "home", "import", str(ratings), "--user", "4").exit_code == 0
    (line,) = sotto(tmp_path / "home", "export").stdout.splitlines()
    assert json.loads(line) == {"kind": "event", "at": 20.0, "item": "alien-1979", "verdict": "disliked"}


def test_delete_asks_first(tmp_path: Path, history: Path):
    sotto(tmp_path, "import", str(history))
    assert CliRunner().invoke(app, ["device", "delete", "--home", str(tmp_path)], input="n\n").exit_code == 1
    assert json.loads(sotto(tmp_path, "status", "--json").stdout)["events"] > 0
    assert sotto(tmp_path, "delete", "--yes").exit_code == 0
    assert json.loads(sotto(tmp_path, "status", "--json").stdout)["events"] == 0


def test_prune_needs_to_be_told_what(tmp_path: Path, history: Path):
    sotto(tmp_path, "import", str(history))
    assert sotto(tmp_path, "prune").exit_code == 2
    assert "deleted" in sotto(tmp_path, "prune", "--most", "0").stdout
