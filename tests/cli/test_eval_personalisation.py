"""`sotto eval personalisation` prints a table or JSON, writes what it found and says what it cannot read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from assistant.cli.eval import app
from federation.evaluation.baselines import MissingLibrary
from federation.evaluation.metrics import Spread
from federation.evaluation.personalisation import MEASURES, Comparison, Row

HALF = Spread(0.7123, 0.0042)
FOUND = Comparison(
    people=3,
    items=200,
    vocabulary=150,
    seeds=(0, 1),
    rows=(
        Row("popularity", "baseline", dict.fromkeys(MEASURES, Spread(0.4, 0.01)), HALF),
        Row("personal", "level", dict.fromkeys(MEASURES, HALF), HALF),
    ),
    gains={"cohort to personal": Spread(0.1, 0.002)},
)


@pytest.fixture
def compared(monkeypatch):
    """What was asked for, with a fake in the comparison's place."""
    asked = {}

    def compare(population, seeds, progress):
        asked.update(population=population, seeds=list(seeds))
        progress("seeds", 1, 1)
        return FOUND

    monkeypatch.setattr("federation.evaluation.personalisation.compare", compare)
    monkeypatch.setattr("federation.device.population.read_population", lambda folder: folder)
    return asked


def invoke(*arguments):
    return CliRunner().invoke(app, ["personalisation", *map(str, arguments)], env={"COLUMNS": "200"})


def test_the_table_has_deviations_the_published_row_and_gains(compared, tmp_path):
    answer = invoke("--data", tmp_path, "--seeds", 2)
    assert answer.exit_code == 0, answer.output
    assert "71.23 ± 0.42" in answer.output
    assert "71.05" in answer.output
    assert "cohort to personal +10.00 ± 0.20" in answer.output
    assert compared == {"population": tmp_path, "seeds": [0, 1]}


def test_json_out_and_plot_hold_the_figures(compared, tmp_path):
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "deep" / "found.json", tmp_path / "deep" / "found.svg"
    answer = invoke("--data", tmp_path, "--json", "--out", out, "--plot", plot)
    assert json.loads(answer.stdout) == json.loads(out.read_text())
    assert json.loads(out.read_text())["rows"][1]["figures"]["HR@10"] == {"mean": 0.7123, "deviation": 0.0042}
    assert plot.read_text().startswith("<?xml")


def test_a_folder_of_something_else_is_said(tmp_path):
    answer = invoke("--data", tmp_path)
    assert answer.exit_code == 1
    assert "holds no population" in answer.output


def test_a_missing_library_is_said(monkeypatch, compared, tmp_path):
    def compare(*_):
        raise MissingLibrary("central matrix factorisation needs implicit: pip install implicit")

    monkeypatch.setattr("federation.evaluation.personalisation.compare", compare)
    answer = invoke("--data", tmp_path)
    assert answer.exit_code == 1
    assert "pip install implicit" in answer.output
