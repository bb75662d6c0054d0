"""`sotto release`: releases are listed, shown, compared, checked, taken out and brought in."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from assistant.cli.release import app
from federation.releases.layout import MANIFEST
from federation.releases.registry import Registry
from tests.engine.models import make_model
from tests.federation.releases.making import make


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def home(own_home, with_mlflow):
    """A home whose MLflow has its tables."""
    return with_mlflow(own_home)


@pytest.fixture
def two(tmp_path):
    """The digests of two releases that are registered, the second one made from the first."""
    first = make(tmp_path / "one").digest
    second = make(tmp_path / "two", seed=1, parent=first).digest
    for name in ("one", "two"):
        assert run("import", tmp_path / name).exit_code == 0
    return first, second


def test_no_releases_says_how_to_make_one():
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "sotto round run" in result.stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_the_list_has_the_latest_first_with_its_parent(two):
    found = json.loads(run("list", "--json").stdout)
    assert [one["digest"] for one in found] == [two[1], two[0]]
    assert [one["version"] for one in found] == [2, 1]
    assert found[0]["parent"] == two[0]
    assert two[0][:12] in run("list").stdout


def test_a_release_is_shown_by_any_of_its_names(two, own_home):
    Registry(own_home).set_alias("live", "v1")
    shown = [json.loads(run("show", name, "--json").stdout) for name in (two[0], two[0][:9], "v1", "live")]
    assert all(one == shown[0] for one in shown)
    assert shown[0]["aliases"] == ["live"]
    assert shown[0]["manifest"]["rounds"][0]["ndcg"] == 0.25
    text = run("show", "v1").stdout
    assert "rank 2, alpha 4, q_proj, v_proj" in text
    assert "global 3 tokens" in text


def test_two_releases_are_compared(two):
    found = json.loads(run("diff", "v1", "v2", "--json").stdout)
    assert found["facts"] == {"parent": [None, two[0]]}
    assert {one["cohort"] for one in found["moved"]} == {"global", "c0"}
    assert "layers.0.self_attn.q_proj" in run("diff", "v1", "v2").stdout


def test_an_exported_release_is_the_same_and_can_be_imported(two, tmp_path):
    assert json.loads(run("export", "v1", tmp_path / "out", "--json").stdout)["digest"] == two[0]
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (tmp_path / "one" / MANIFEST).read_bytes()
    assert json.loads(run("import", tmp_path / "out", "--json").stdout)["version"] == 1
    assert not list(tmp_path.glob(".draft*"))
    again = run("export", "v2", tmp_path / "out")
    assert again.exit_code == 1
    assert "nothing is written over" in again.stderr


def test_verify_takes_a_release_or_a_folder(two, tmp_path):
    assert json.loads(run("verify", "v2", "--json").stdout)["digest"] == two[1]
    assert "in order: 7 files" in run("verify", tmp_path / "one").stdout


def test_verify_says_what_is_wrong_and_leaves_with_1(tmp_path):
    make(tmp_path / "one")
    path = tmp_path / "one" / "adapters" / "c0" / "adapter_config.json"
    path.write_bytes(path.read_bytes().replace(b"4", b"5"))
    result = run("verify", tmp_path / "one")
    assert result.exit_code == 1
    assert "adapter_config.json is not as it was released" in result.stderr
    as_json = json.loads(run("verify", tmp_path / "one", "--json").stdout)
    assert (as_json["ok"], as_json["error"]) == (False, "FileChanged")


def test_a_folder_named_by_a_digest_must_be_that_release(tmp_path):
    make(tmp_path / "one")
    named = tmp_path / ("a" * 64)
    shutil.copytree(tmp_path / "one", named)
    for command in ("verify", "import"):
        result = run(command, named)
        assert result.exit_code == 1
        assert "holds the release" in result.stderr


def test_verify_holds_a_release_against_its_base_model(tmp_path):
    make(tmp_path / "one")
    result = run("verify", tmp_path / "one", "--base", make_model(tmp_path / "model"))
    assert result.exit_code == 1
    assert "belongs to the base model tiny" in result.stderr


@pytest.mark.parametrize("command", ["show", "verify", "export", "diff"])
def test_a_release_that_is_not_there_is_a_clear_error(command, tmp_path):
    more = {"export": [tmp_path / "out"], "diff": ["v8"]}
    result = run(command, "v9", *more.get(command, []))
    assert result.exit_code == 1
    assert "No release goes by 'v9'" in result.stderr


def test_a_tracking_server_that_is_away_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("SOTTO_MLFLOW_URI", "http://127.0.0.1:9")
    result = run("list")
    assert result.exit_code == 1
    assert "SOTTO_MLFLOW_URI" in result.stderr
