"""API keys: what is stored of them, what they are good for, and for how long."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from assistant.access.keyring import ANONYMOUS_SCOPES, FRESH_SECONDS, Keyring
from assistant.access.keys import HOUR, SCOPES, KeyStore, digest_of, id_of
from assistant.access.loopback import is_loopback
from assistant.errors import InvalidRequest, NotFound, StateUnavailable, Unauthenticated
from assistant.settings import Settings
from assistant.state.database import Database


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database, clock) -> KeyStore:
    return KeyStore(database, clock)


@pytest.fixture
def ring(store, clock, monkeypatch) -> Keyring:
    """A keyring that reads the keys again at every request."""
    monkeypatch.setattr("assistant.access.keyring.FRESH_SECONDS", 0.0)
    return Keyring(store, Settings(), clock)


async def refusal(ring: Keyring, token: str | None, *, local: bool = True) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await ring.caller(token, local=local)
    return refused.value.code


def test_a_key_has_256_random_bits_and_is_stored_as_its_hash_alone(store, database):
    first, second = store.create("ada"), store.create("ada")
    assert re.fullmatch(r"sk-sotto-[0-9a-f]{12}-[A-Za-z0-9_-]{43}", first.token)
    assert first.token != second.token
    secret = first.token.split("-", 3)[3]
    with database.read() as session:
        stored = str(session.execute(text("SELECT * FROM api_keys")).all())
    assert secret not in stored
    assert digest_of(first.token) in stored
    assert secret not in str([asdict(key) for key in store.all()])


@given(st.text(max_size=80))
def test_what_is_no_key_has_no_id(text):
    assert id_of(text) is None


async def test_without_keys_this_machine_alone_is_answered(ring):
    caller = await ring.caller("anything", local=True)
    assert (caller.id, caller.scopes) == ("anonymous", ANONYMOUS_SCOPES)
    assert "admin" not in caller.scopes
    assert caller.requests_per_minute == Settings().anonymous_requests_per_minute
    assert await refusal(ring, "anything", local=False) == "no_keys_yet"


async def test_with_a_key_everybody_needs_one(ring, store):
    issued = store.create("ada", ["chat"], requests_per_minute=7)
    for local in (True, False):
        caller = await ring.caller(issued.token, local=local)
        assert (caller.id, caller.scopes) == (issued.key.id, {"chat"})
        assert await refusal(ring, None, local=local) == "missing_api_key"
        assert await refusal(ring, "", local=local) == "missing_api_key"
    assert (caller.requests_per_minute, caller.tokens_per_minute) == (7, Settings().tokens_per_minute)


async def test_a_key_that_is_off_by_anything_is_refused(ring, store):
    token = store.create("ada").token
    other = store.create("bob").token
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    mixed = token[:22] + other[22:]
    for wrong in (changed, mixed, token + "A", token[:-1], token.upper(), token.replace("-", "_"), "ü" * 65):
        assert await refusal(ring, wrong) == "invalid_api_key"


async def test_a_key_ends_when_it_was_to_end(ring, store, clock):
    token = store.create("ada", lifetime=60).token
    clock.now += 59
    assert await ring.caller(token, local=False)
    clock.now += 1
    assert await refusal(ring, token) == "expired_api_key"


async def test_after_a_rotation_the_old_secret_is_good_for_the_grace_alone(ring, store, clock):
    old = store.create("ada", ["items"], tokens_per_minute=9)
    new = store.rotate(old.key.id, grace=60)
    assert (new.key.id, new.key.scopes, new.key.tokens_per_minute) == (old.key.id, {"items"}, 9)
    clock.now += 59
    assert (await ring.caller(old.token, local=False)).id == (await ring.caller(new.token, local=False)).id
    clock.now += 1
    assert await refusal(ring, old.token) == "invalid_api_key"
    assert await ring.caller(new.token, local=False)


async def test_a_second_rotation_ends_the_oldest_secret(ring, store):
    first = store.create("ada")
    second = store.rotate(first.key.id, grace=60)
    third = store.rotate(first.key.id, grace=60)
    assert await refusal(ring, first.token) == "invalid_api_key"
    for good in (second, third):
        assert await ring.caller(good.token, local=False)


async def test_a_revoked_key_stays_revoked_and_the_door_shut(ring, store):
    issued = store.create("ada")
    assert await ring.caller(issued.token, local=False)
    store.revoke(issued.key.id)
    assert await refusal(ring, issued.token) == "revoked_api_key"
    assert await refusal(ring, None) == "missing_api_key"
    with pytest.raises(InvalidRequest, match="is revoked"):
        store.rotate(issued.key.id, grace=60)
    store.forget(issued.key.id)
    assert (await ring.caller(None, local=True)).id == "anonymous"


async def test_another_process_learns_of_a_revocation_within_seconds(database_url, clock, monkeypatch):
    settings = Settings(database_url=database_url)
    now = 0.0
    monkeypatch.setattr("assistant.access.keyring.time.monotonic", lambda: now)
    with Database.of(settings) as here, Database.of(settings) as there:
        issued = KeyStore(here, clock).create("ada")
        ring = Keyring(KeyStore(there, clock), settings, clock)
        await ring.caller(issued.token, local=False)
        await ring.caller(issued.token, local=False)
        KeyStore(here, clock).revoke(issued.key.id)
        now = FRESH_SECONDS
        assert await refusal(ring, issued.token) == "revoked_api_key"


async def test_requests_cost_no_query_each(store, clock, monkeypatch):
    token = store.create("ada").token
    ring = Keyring(store, Settings(), clock)
    await ring.caller(token, local=False)
    await ring.caller(token, local=False)
    monkeypatch.setattr(store, "all", pytest.fail)
    for attempt in range(50):
        await ring.caller(token, local=False)
        await refusal(ring, f"sk-sotto-{attempt:012x}-{'A' * 43}")


async def test_nobody_is_let_in_when_the_keys_cannot_be_read(ring, store, monkeypatch):
    token = store.create("ada").token
    await ring.caller(token, local=False)

    def broken() -> None:
        raise StateUnavailable("away")

    monkeypatch.setattr(store, "all", broken)
    for given_token in (token, None):
        with pytest.raises(StateUnavailable):
            await ring.caller(given_token, local=True)


async def test_the_last_use_is_known_to_the_hour(ring, store, clock):
    token = store.create("ada").token
    hour = clock.now // HOUR * HOUR
    assert store.all()[0].last_used_at is None
    for later, noted in ((0, hour), (1, hour), (HOUR, hour + HOUR)):
        clock.now += later
        await ring.caller(token, local=False)
        assert store.all()[0].last_used_at == noted


@pytest.mark.parametrize(
    ("name", "scopes", "param"),
    [
        *(("", SCOPES, "name"), (" ", SCOPES, "name"), ("x" * 101, SCOPES, "name"), ("a\nb", SCOPES, "name")),
        *(("ada", ["chat", "root"], "scopes"), ("ada", [], "scopes")),
    ],
)
def test_a_key_that_cannot_be_is_refused(store, name, scopes, param):
    with pytest.raises(InvalidRequest) as refused:
        store.create(name, scopes)
    assert refused.value.param == param
    assert store.all() == []


def test_an_unknown_id_is_said_to_be_unknown(store):
    for change in (store.revoke, lambda key_id: store.rotate(key_id, 0)):
        with pytest.raises(NotFound, match="no key 012345678901"):
            change("012345678901")


def test_a_scope_of_a_newer_version_opens_nothing(store, database):
    store.create("ada", ["chat"])
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET scopes = 'chat superuser'"))
    assert store.all()[0].scopes == {"chat"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost"])
def test_loopback_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.evil.example", ""])
def test_nothing_else_is_taken_for_it(host):
    assert not is_loopback(host)
