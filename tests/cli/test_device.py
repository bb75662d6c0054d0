"""`sotto device`: a person imports, sees, exports, prunes and deletes what their device keeps; nobody else sees it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assistant.cli.device import app
from federation.device.records import Impression
from federation.device.store import STORE_PATH, EventStore
from retrieval.bundled import open_catalogue
from retrieval.item import Item

SECRET = "I cried at the ending with Katharina"
FILMS = [Item(id="alien-1979", title="Alien", year=1979), Item(id="amelie-2001", title="Amélie", year=2001)]


@pytest.fixture
def home(own_home: Path) -> Path:
    with open_catalogue(own_home) as catalogue:
        catalogue.replace(FILMS)
    return own_home


@pytest.fixture
def filled(home: Path) -> Path:
    with EventStore.at_home(home) as store:
        store.add_turn("c", "user", SECRET, at=1e9)
        store.add_impression(Impression(1e9, {"about": SECRET}, ("alien-1979",), ("alien-1979",), "r1"))
        store.add_verdict("liked", item="alien-1979", impression="r1", at=1e9)
    return home


def sotto(*arguments: object, stdin: str | None = None) -> Result:
    result: Result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answer(*arguments: object) -> Any:
    result = sotto(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def written(folder: Path, *rows: object) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


class TestImport:
    def test_a_history_is_taken_in_once(self, home, tmp_path):
        path = written(tmp_path, {"title": "Alien (1979)", "rating": 5, "at": 7}, {"title": "Heat"}, "{")
        result = answer("import", path)
        assert {name: result[name] for name in ("events", "new", "bad", "unknown")} == {
            "events": 1, "new": 1, "bad": 1, "unknown": 1,
        }  # fmt: skip
        assert result["bad_rows"][0]["line"] == 3
        assert result["unknown_rows"] == [{"line": 2, "reason": "Heat is not in the catalogue"}]
        assert answer("import", path)["new"] == 0
        assert answer("status")["counts"]["events"] == 1

    def test_what_is_left_out_goes_to_standard_error(self, home, tmp_path):
        result = sotto("import", written(tmp_path, {"title": "Alien"}, "{", *[{"title": "Heat"}] * 30))
        assert result.stdout == "Imported 1 events, 1 of them new.\n"
        assert "line 2: is not JSON" in result.stderr
        assert "line 3: Heat is not in the catalogue" in result.stderr
        assert "... and 10 more of these" in result.stderr

    def test_strict_takes_nothing_where_a_row_is_bad(self, home, tmp_path):
        result = sotto("import", "--strict", written(tmp_path, {"title": "Alien"}, "{"))
        assert (result.exit_code, result.stdout) == (1, "")
        assert "line 2" in result.stderr
        assert "--strict: nothing was imported" in result.stderr
        assert answer("status")["counts"]["events"] == 0

    def test_movielens_needs_to_know_whose(self, home, tmp_path):
        (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Alien (1979),Horror\n")
        (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,30\n2,1,1.0,40\n")
        assert "--user" in sotto("import", tmp_path).stderr
        assert answer("import", tmp_path, "--user", "2")["events"] == 1
        (row,) = list(map(json.loads, sotto("export").stdout.splitlines()))[1:]
        assert row == {"kind": "event", "at": 40.0, "item": "alien-1979", "verdict": "disliked"}

    def test_a_file_that_is_none_is_told(self, home, tmp_path):
        result = sotto("import", written(tmp_path))
        assert (result.exit_code, "no row that can be read" in result.stderr) == (1, True)
        assert sotto("import", tmp_path / "absent").exit_code == 2


class TestExport:
    def test_another_device_takes_in_all_of_it(self, filled, tmp_path):
        out, other = tmp_path / "mine.jsonl", tmp_path / "other"
        assert answer("export", "--out", out) == {"records": 3, "path": str(out)}
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert sotto("export").stdout == out.read_text("utf-8")
        assert answer("import", out, "--home", other) == {"records": 3}
        assert sotto("export", "--home", other).stdout == out.read_text("utf-8")
        assert answer("import", out, "--home", other) == {"records": 0}

    def test_nothing_is_written_over(self, filled, tmp_path):
        (tmp_path / "mine.jsonl").write_text("dear")
        result = sotto("export", "--out", tmp_path / "mine.jsonl")
        assert (result.exit_code, "nothing is written over" in result.stderr) == (1, True)
        assert (tmp_path / "mine.jsonl").read_text() == "dear"

    def test_a_folder_that_is_not_there_is_told(self, filled, tmp_path):
        result = sotto("export", "--out", tmp_path / "absent" / "mine.jsonl")
        assert result.exit_code == 1
        assert result.stderr == f"sotto: {tmp_path / 'absent' / 'mine.jsonl'}: No such file or directory.\n"

    def test_an_export_that_fails_leaves_no_half_of_a_file(self, filled, tmp_path, monkeypatch):
        def breaks(self):
            yield {"kind": "sotto device export", "version": 1}
            raise OSError("the cable is out")

        monkeypatch.setattr(EventStore, "export", breaks)
        assert "the cable is out" in sotto("export", "--out", tmp_path / "mine.jsonl").stderr
        assert not (tmp_path / "mine.jsonl").exists()

    def test_an_export_that_was_cut_is_refused_whole(self, filled, tmp_path):
        lines = sotto("export").stdout
        path = written(tmp_path, lines[:-20])
        result = sotto("import", path, "--home", tmp_path / "other")
        assert (result.exit_code, "line 4" in result.stderr) == (1, True)
        assert SECRET not in result.stderr
        assert not any(answer("status", "--home", tmp_path / "other")["counts"].values())


class TestPrune:
    def test_it_deletes_the_oldest(self, filled):
        assert answer("prune", "--turns", 0)["turns"] == 1
        assert sotto("prune", "--days", 30).stdout.startswith("Deleted 0 events, 1 verdicts, 1 impressions")
        assert not any(answer("status")["counts"].values())

    def test_it_must_be_told_what_to_keep(self, filled):
        result = sotto("prune")
        assert result.exit_code == 2
        assert answer("status")["counts"]["turns"] == 1


class TestDelete:
    def test_it_asks_first(self, filled):
        assert sotto("delete", stdin="n\n").exit_code == 1
        assert sotto("delete").exit_code == 1
        assert answer("status")["counts"]["turns"] == 1
        result = sotto("delete", stdin="y\n")
        assert result.exit_code == 0
        assert not any(answer("status")["counts"].values())

    def test_no_byte_of_it_is_left_in_the_folder_of_all_state(self, filled):
        assert answer("delete", "--yes")["turns"] == 1
        left = b"".join(path.read_bytes() for path in (filled / "device").rglob("*"))
        assert b"Katharina" not in left
        assert b"alien-1979" not in left


def test_status_tells_how_much_and_never_what(filled):
    table, found = sotto("status"), answer("status")
    assert found["counts"] == {"events": 0, "verdicts": 1, "impressions": 1, "conversations": 1, "turns": 1}
    assert "2001-09-09" in table.stdout
    for text in (table.stdout, json.dumps(found)):
        assert SECRET not in text
        assert "alien" not in text


@pytest.mark.parametrize("command", [["status"], ["export"], ["prune", "--turns", "0"]])
def test_a_store_that_cannot_be_used_is_a_clear_error(home, command):
    path = home / STORE_PATH
    path.parent.mkdir()
    path.write_text(SECRET * 200)
    result = sotto(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is damaged and cannot be read" in result.stderr
    assert SECRET not in result.stderr


def test_it_starts_without_heavy_libraries(home):
    code = (
        "import sys; from typer.testing import CliRunner; from assistant.cli.device import app; "
        "assert CliRunner().invoke(app, ['status']).exit_code == 0; "
        "print(sorted({'torch', 'flwr', 'mlflow', 'vllm', 'peft', 'faiss', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
