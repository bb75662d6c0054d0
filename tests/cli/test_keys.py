"""`sotto keys`: a key is shown once, listed without its secret, rotated with a grace, and revoked."""

from __future__ import annotations

import json
import re
import time

import pytest
from typer.testing import CliRunner

from assistant.access.keys import KeyStore, digest_of
from assistant.cli.keys import app
from assistant.settings import Settings
from assistant.state.database import Database

KEY = re.compile(r"sk-sotto-[0-9a-f]{12}-[A-Za-z0-9_-]{43}")


def run(*arguments: str):
    return CliRunner().invoke(app, arguments)


def made(*arguments: str) -> dict:
    return json.loads(run("create", "ada", "--json", *arguments).stdout)


def listed() -> list[dict]:
    return json.loads(run("list", "--json").stdout)


def test_a_key_alone_goes_to_standard_output():
    result = run("create", "ada's laptop")
    assert result.exit_code == 0
    assert KEY.fullmatch(result.stdout.strip())
    assert "not shown again" in result.stderr


def test_what_it_is_for_and_until_when_is_chosen():
    options = ["--scope", "items", "--scope", "metrics", "--expires", "30d"]
    key = made(*options, "--requests-per-minute", "5", "--tokens-per-minute", "0")
    assert KEY.fullmatch(key["key"])
    assert key["scopes"] == ["items", "metrics"]
    assert abs(key["expires_at"] - time.time() - 30 * 86400) < 60
    assert (key["requests_per_minute"], key["tokens_per_minute"], key["state"]) == (5, 0, "active")


def test_the_list_has_no_secret():
    key = made()
    table, as_json = run("list"), run("list", "--json")
    for text in (table.stdout, as_json.stdout):
        assert key["id"] in text
        assert key["key"].split("-", 3)[3] not in text
        assert digest_of(key["key"]) not in text


def test_an_empty_list_says_what_that_means():
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "its own machine only" in result.stderr


def test_rotating_gives_a_new_secret_to_the_same_key():
    old = made()
    new = json.loads(run("rotate", old["id"], "--grace", "90m", "--json").stdout)
    assert new["id"] == old["id"]
    assert new["key"] != old["key"]
    assert abs(new["previous_until"] - time.time() - 90 * 60) < 60
    assert [key["id"] for key in listed()] == [old["id"]]


def test_a_revoked_key_stays_listed_until_it_is_forgotten():
    key = made()
    assert run("revoke", key["id"]).exit_code == 0
    assert [one["state"] for one in listed()] == ["revoked"]
    assert run("revoke", key["id"], "--forget").exit_code == 0
    assert listed() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["create", "ada", "--scope", "root"], 1, "no scope root"),
        (["create", "ada", "--expires", "soon"], 2, "is not like"),
        (["rotate", "000000000000"], 1, "no key 000000000000"),
        (["revoke", "000000000000"], 1, "no key 000000000000"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(arguments, code, said):
    result = run(*arguments)
    assert (result.exit_code, said in result.stderr) == (code, True)
    assert listed() == []


def test_it_works_on_the_database_in_force(database_url, monkeypatch):
    monkeypatch.setenv("SOTTO_DATABASE_URL", database_url)
    key = made()
    with Database.of(Settings(database_url=database_url)) as database:
        assert [one.id for one in KeyStore(database).all()] == [key["id"]]


def test_a_database_that_is_away_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("SOTTO_DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:1/x")
    result = run("list")
    assert result.exit_code == 1
    assert "SOTTO_DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr
