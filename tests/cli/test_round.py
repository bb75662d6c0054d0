"""`sotto round`: rounds run, are shown, go on after a stop, and end in a release and in MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistant.cli.main import app
from federation.releases.registry import Registry, tracking
from federation.rounds.carriers.inprocess import InProcessGrid
from federation.rounds.checkpoint import load
from federation.rounds.client_app import make
from federation.rounds.coordinator import GLOBAL
from federation.rounds.server_app import serve
from federation.rounds.session import read, told

SHORT = ["round", "run", "--synthetic", "--devices", "12", "--rounds", "3", "--name", "first"]


@pytest.fixture
def home(tmp_path: Path, with_mlflow: Callable[[Path], Path]) -> Path:
    """A home whose MLflow has its tables."""
    return with_mlflow(tmp_path / "home")


def sotto(home: Path, *words: str) -> str:
    """What a command that succeeds prints."""
    found = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(home: Path, *words: str) -> str:
    """What a command that fails complains of."""
    found = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert found.exit_code != 0
    return found.stderr


def test_a_run_ends_in_a_release_and_in_mlflow(home: Path):
    lines = [json.loads(line) for line in sotto(home, *SHORT, "--json").splitlines()]
    assert [line["round"] for line in lines[:-1]] == [1, 2, 3]
    assert lines[0]["loss"] > lines[2]["loss"]
    release = Registry(home).fetch(lines[-1]["release"])
    assert [summary["round"] for summary in release.manifest.rounds] == [1, 2, 3]
    assert release.manifest.rounds[0]["answered"] == 5
    assert set(release.cohorts) == {GLOBAL}

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking(home)[0])
    (run,) = client.search_runs([client.get_experiment_by_name("sotto-rounds").experiment_id])
    assert run.data.metrics["loss"] == pytest.approx(lines[2]["loss"])
    assert run.data.tags["sotto.release"] == release.digest
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"by_round.png", "by_activity.png"}
    assert "first" in sotto(home, "round", "list")
    shown = json.loads(sotto(home, "round", "show", "first", "--json"))
    assert shown["plan"]["rounds"] == len(shown["rounds"]) == 3
    assert "round 3/3: 5 of 5 devices" in sotto(home, "round", "show", "first")


def test_a_run_that_was_stopped_goes_on_to_the_same_release(home: Path, monkeypatch: pytest.MonkeyPatch):
    whole = json.loads(sotto(home, *SHORT[:-1], "whole", "--json").splitlines()[-1])["release"]
    pushed = InProcessGrid.push_messages

    def stop(grid: InProcessGrid, messages: object) -> object:
        if next(iter(messages)).metadata.group_id == "2":  # type: ignore[call-overload]
            raise KeyboardInterrupt
        return pushed(grid, messages)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(InProcessGrid, "push_messages", stop)
        assert "sotto round resume" in refused(home, *SHORT)
    assert "1 of 3" in sotto(home, "round", "list")
    assert json.loads(sotto(home, "round", "resume", "first", "--json").splitlines()[-1])["release"] == whole


def test_a_run_goes_on_from_a_release(home: Path):
    first = json.loads(sotto(home, *SHORT, "--json").splitlines()[-1])["release"]
    lines = sotto(home, *SHORT[:-1], "second", "--from", first[:12], "--json").splitlines()
    second = json.loads(lines[-1])["release"]
    assert Registry(home).find(second).parent == first
    assert (
        json.loads(lines[0])["loss"]
        < 0.9 * json.loads(sotto(home, "round", "show", "first", "--json"))["rounds"][0]["loss"]
    )
    assert "another shape" in refused(home, *SHORT[:-1], "third", "--from", first, "--rank", "3")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--aggregation", "fedprox"], "ffa-lora"),
        (["--aggregation", "stack-svd", "--optimizer", "fedadam"], "fedavg"),
        (["--set", "share"], "not like"),
        (["--set", "share=0.2"], "no option"),
        (["--aggregation", "krum", "--set", "liars=2"], "needs 7 devices in a round and 5 are sampled"),
        (["--aggregation", "trimmed-mean", "--set", 'share="all"'], "share is a finite number"),
        (["--optimizer", "fedadam", "--set", "optimizer.tau=0"], "tau is a finite number above 0"),
        (["--aggregation", "fed-sb"], "these weights have none"),
        (["--from", "nothing"], "No release"),
        (["--name", "../up"], "name"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(home: Path, words: list[str], fault: str):
    said = " ".join(refused(home, *SHORT, *words).split())
    assert fault in said
    assert "Value error" not in said


def test_a_name_is_not_used_twice_and_an_unknown_run_is_refused(home: Path):
    sotto(home, *SHORT)
    assert "already" in refused(home, *SHORT)
    assert "sotto round list" in refused(home, "round", "resume", "none")
    assert "--population" in refused(home, "round", "run")


def test_a_run_for_superlink_is_kept_and_released_once_it_was_carried(home: Path):
    kept = json.loads(sotto(home, *SHORT, "--carrier", "superlink", "--json"))
    folder = Path(kept["folder"])
    assert (kept["run"], load(folder).done) == ("first", 0)
    assert "flwr run" in refused(home, "round", "resume", "first")
    serve(InProcessGrid(make("synthetic", read(folder).options), ["a", "b", "c"]), load(folder), folder)
    release = json.loads(sotto(home, "round", "resume", "first", "--json"))["release"]
    assert len(Registry(home).fetch(release).manifest.rounds) == 3


def test_options_of_the_algorithms_are_passed_on(home: Path):
    words = ["--aggregation", "trimmed-mean", "--set", "share=0.25", "--optimizer", "fedadam"]
    sotto(home, *SHORT, *words, "--set", "optimizer.learning_rate=0.05")
    plan = json.loads(sotto(home, "round", "show", "first", "--json"))["plan"]
    assert (plan["aggregation_options"], plan["optimizer_options"]) == ({"share": 0.25}, {"learning_rate": 0.05})


def test_a_release_says_nothing_that_differs_from_run_to_run():
    summary = {"round": 1, "seconds": 3.2, "device_seconds": 0.1, "failed": {"broken off": 2, "malformed": 1}}
    assert told(summary) == {"round": 1, "failed": 3}


@pytest.fixture
def people(tmp_path: Path, shared_data: Path) -> Path:
    """The folder of a population: the first few people of ml-latest-small."""
    folder, whole = tmp_path / "people", shared_data / "ml-latest-small"
    folder.mkdir()
    shutil.copy(whole / "movies.csv", folder)
    with (whole / "ratings.csv").open(encoding="utf-8") as ratings:
        (folder / "ratings.csv").write_text("".join(islice(ratings, 1_000)), encoding="utf-8")
    return folder


@pytest.mark.timeout(600)
def test_real_people_s_histories_make_a_release(home: Path, people: Path):
    words = ["--population", str(people), "--devices", "2", "--rounds", "1", "--sampled", "1", "--steps", "1"]
    lines = sotto(home, "round", "run", *words, "--batch", "1", "--json").splitlines()
    release = Registry(home).fetch(json.loads(lines[-1])["release"])
    changed = [
        name for name, array in release.cohorts[GLOBAL].items() if name.endswith("lora_B.weight") and array.any()
    ]
    assert len(changed) == 12
