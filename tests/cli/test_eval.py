"""`sotto eval starter` says what it measured, where it cannot, and writes what it found."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from assistant.cli import eval as command
from assistant.errors import EngineUnavailable
from assistant.evaluation.gold import load_gold
from assistant.evaluation.report import Figure, Report

REPORT = Report(
    figures=(
        Figure("constraints", "Hard constraints held", "gold messages", 0.98, 120, 0.95, 1.0, 0.97),
        Figure("grounded", "Reply grounded", "gold messages", 0.9, 10, target=0.99),
    ),
    slots={"genres": {"precision": 1.0, "recall": 0.5, "f1": 0.667, "n": 4.0}},
    timings={"respond": {"p50": 0.5, "p95": 1.25, "n": 10.0}},
    failures=({"id": "u001", "measure": "grounded", "detail": "year 1986", "reply": "It is of 1986."},),
    seconds=61.0,
)


@pytest.fixture
def measured(monkeypatch):
    """What the measuring was asked for, with a fake in its place."""
    asked = {}

    async def measure(settings, url, gold, redial, concurrency, step):
        asked.update(settings=settings, url=url, gold=gold, redial=redial, concurrency=concurrency)
        step("messages", 1, 1)
        return REPORT

    monkeypatch.setattr(command, "_measure", measure)
    return asked


def invoke(*arguments):
    return CliRunner().invoke(command.app, ["starter", *arguments], env={"COLUMNS": "160"})


def test_the_table_shows_figures_beside_targets(measured):
    answer = invoke()
    assert answer.exit_code == 0
    assert "98.0 %" in answer.output
    assert "≥ 97.0 %" in answer.output
    assert "1 figures below target, 1 single failures" in answer.output
    assert measured["redial"] == ()
    assert len(measured["gold"].utterances) > 150


def test_the_set_for_choosing_rules_is_measured_when_asked_for(measured):
    assert invoke("--set", "development").exit_code == 0
    assert measured["gold"] == load_gold("development")


def test_json_is_for_machines_and_out_lists_every_failure(measured, tmp_path):
    out = tmp_path / "deep" / "eval.json"
    answer = invoke("--json", "--out", str(out), "--limit", "3", "--model", "some/model", "--url-engine", "http://x:1")
    assert json.loads(answer.stdout)["figures"][1]["reached"] is False
    assert json.loads(out.read_text())["failures"] == [dict(REPORT.failures[0])]
    assert len(measured["gold"].conversations) == 3
    assert (measured["settings"].model, measured["url"]) == ("some/model", "http://x:1")


def test_redial_turns_are_read_and_limited(measured, tmp_path):
    messages = [{"senderWorkerId": n % 2, "text": f"message {n}"} for n in range(20)]
    talk = {"conversationId": "1", "initiatorWorkerId": 0, "messages": messages, "movieMentions": []}
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(talk) + "\n")
    assert invoke("--redial", str(path), "--limit", "4").exit_code == 0
    assert len(measured["redial"]) == 4


def test_a_file_that_is_not_redial_is_a_clear_error(measured, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("[]\n")
    answer = invoke("--redial", str(path))
    assert answer.exit_code == 1
    assert "no ReDial dialogue" in answer.output


def test_no_engine_is_a_clear_error(monkeypatch):
    async def refuse(*_):
        raise EngineUnavailable("No engine answers at http://x:1.")

    monkeypatch.setattr(command, "_measure", refuse)
    answer = invoke("--url-engine", "http://x:1")
    assert answer.exit_code == 1
    assert "No engine answers at http://x:1." in answer.output
    assert "Traceback" not in answer.output
