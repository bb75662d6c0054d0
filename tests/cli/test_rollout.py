"""`sotto rollout` against a served admin API: what it asks, shows and refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from assistant.api.app import create_app
from assistant.cli.main import app as sotto
from assistant.settings import Settings
from tests.api.fakes import ALIEN, FakeEngine, FakeLibrary, ScriptedAssistant, new_key, served

DIGEST = "a" * 64


class Shell:
    """Runs `sotto rollout …` against a server, with its admin key in the environment."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def __call__(self, *arguments: str) -> Result:
        command = ["rollout", *arguments, "--url", self.url]
        return CliRunner().invoke(sotto, command, env={"SOTTO_API_KEY": self.key, "COLUMNS": "200"})


@pytest.fixture
def rollout(tmp_path: Path) -> Iterator[Shell]:
    api = create_app(Settings(home=tmp_path), ScriptedAssistant(), FakeLibrary(ALIEN), FakeEngine())
    key = new_key(api, "admin")
    with served(api) as url:
        yield Shell(url, key)


def test_a_release_is_taken_out_and_back(rollout: Shell):
    started = json.loads(rollout("start", DIGEST, "-m", "round 5", "--steps", "5,100", "--json").stdout)
    assert (started["share"], started["state"]) == (0.05, "running")
    shown = rollout("status").stdout
    assert DIGEST in shown
    assert "step 1 of 2" in shown
    assert "acceptance" in shown
    assert "paused" in rollout("pause", "-m", "lunch").stdout
    assert "running" in rollout("resume", "-m", "back").stdout
    assert "promoted" in rollout("promote", "-m", "sure").stdout
    assert json.loads(rollout("status", "--json").stdout)["live"] == DIGEST
    assert "the base model" in rollout("rollback", "-m", "no").stdout
    assert [one["state"] for one in json.loads(rollout("history", "--json").stdout)] == ["promoted", "promoted"]
    assert "round 5" in rollout("audit").stdout
    assert "aaaaaaaaaaaa" in rollout("history").stdout


def test_a_manual_canary_waits_for_a_person_at_each_step(rollout: Shell):
    rollout("start", DIGEST, "-m", "round 5", "--steps", "5,100", "--manual")
    assert "running, manual" in rollout("status").stdout
    assert "step 2 of 2" in rollout("advance", "-m", "no complaints").stdout
    assert "promoted" in rollout("advance", "-m", "none still").stdout
    assert json.loads(rollout("status", "--json").stdout)["live"] == DIGEST


def test_a_shadow_is_told_of_without_measures(rollout: Shell):
    assert "running, shadow" in rollout("start", DIGEST, "-m", "round 5", "--shadow").stdout
    shown = rollout("status").stdout
    assert "in the shadow: 0 turns, 0 errors" in shown
    assert "acceptance" not in shown
    assert "0 % of callers" in shown
    assert "is never shown" in rollout("promote", "-m", "sure").stderr


def test_watch_goes_on_until_the_rollout_has_ended(rollout: Shell, monkeypatch: pytest.MonkeyPatch):
    rollout("start", DIGEST, "-m", "round 5")
    monkeypatch.setattr("assistant.cli.rollout.time.sleep", lambda _: rollout("promote", "-m", "sure"))
    shown = rollout("watch").stdout
    assert f"live: {DIGEST}" in shown


def test_a_gate_that_takes_longer_than_one_waits_is_told_of(rollout: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assistant.cli.rollout._GATE_SECONDS", 0.2)
    monkeypatch.setattr("assistant.rollout.gate.Gate.pass_", lambda *_: time.sleep(1))
    late = rollout("start", DIGEST, "-m", "round 5")
    assert late.exit_code == 1
    assert "sotto rollout audit" in late.stderr


def test_a_rollback_whose_answer_is_lost_is_not_made_twice(rollout: Shell, monkeypatch: pytest.MonkeyPatch):
    for digest in (DIGEST, "b" * 64):
        rollout("start", digest, "-m", "round 5")
        rollout("promote", "-m", "sure")
    rollout("start", "c" * 64, "-m", "round 7")
    sent = httpx.Client.request
    keys: list[str] = []

    def lost(client: httpx.Client, *arguments: Any, **more: Any) -> httpx.Response:
        answer = sent(client, *arguments, **more)
        keys.append(more["headers"]["idempotency-key"])
        if len(keys) == 1:
            raise httpx.RemoteProtocolError("the server left")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(httpx.Client, "request", lost)
        assert "rolled_back" in rollout("rollback", "-m", "worse").stdout
    assert keys == [keys[0]] * 2
    assert json.loads(rollout("status", "--json").stdout)["live"] == "b" * 64


def test_watch_ends_where_nothing_is_under_way(rollout: Shell):
    assert "live: the base model" in rollout("watch").stdout


def test_who_has_no_key_is_told_which_one_it_takes(rollout: Shell):
    refused = Shell(rollout.url, "")("status")
    assert refused.exit_code == 1
    assert "--scope admin" in refused.stderr
    assert "SOTTO_API_KEY" in refused.stderr


def test_what_the_server_refuses_is_said(rollout: Shell):
    refused = rollout("promote", "-m", "sure")
    assert refused.exit_code == 1
    assert "No rollout is under way" in refused.stderr
    rollout.key = "sk-sotto-000000000000-" + "x" * 43
    assert rollout("status").exit_code == 1


def test_a_server_that_is_away_and_steps_that_are_none_are_said(rollout: Shell):
    assert rollout("start", DIGEST, "-m", "r", "--steps", "many").exit_code == 2
    rollout.url = "http://127.0.0.1:9"
    away = rollout("status")
    assert away.exit_code == 1
    assert "is `sotto up` running" in away.stderr
