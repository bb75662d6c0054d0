"""Recommendation ids cannot be made up, and say nothing to whoever lacks the secret that they were not given."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import InvalidRequest
from assistant.rollout.receipts import MOST_AGE_DAYS, PREFIX, ROLES, Receipts

SECRET = bytes(range(32))
NOW = 1_800_000_000.0


def receipts(secret: bytes = SECRET, now: float = NOW) -> Receipts:
    return Receipts(secret, lambda: now)


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.sampled_from(ROLES), st.integers(0, 63))
def test_what_is_written_is_read(rollout, step, role, bucket):
    identity = receipts().write(rollout, step, role, bucket)
    found = receipts().read(identity)
    assert (found.rollout, found.step, found.role, found.bucket) == (rollout, step, role, bucket)
    assert identity != receipts().write(rollout, step, role, bucket)


@given(st.data())
def test_any_changed_character_is_refused(data):
    identity = receipts().write(3, 1, "canary", 7)
    at = data.draw(st.integers(0, len(identity) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != identity[at]))
    with pytest.raises(InvalidRequest, match="recommendation_id"):
        receipts().read(identity[:at] + other + identity[at + 1 :])


@given(st.text(max_size=80))
def test_any_text_is_refused(text):
    with pytest.raises(InvalidRequest):
        receipts().read(text)


def test_another_server_s_and_an_old_one_are_refused():
    identity = receipts().write(3, 1, "canary", 7)
    with pytest.raises(InvalidRequest, match="no recommendation_id of this server"):
        receipts(SECRET[::-1]).read(identity)
    with pytest.raises(InvalidRequest, match="days old"):
        receipts(now=NOW + (MOST_AGE_DAYS + 1) * 86400).read(identity)


def test_the_digest_is_not_the_id_and_needs_the_secret():
    identity = receipts().write(3, 1, "canary", 7)
    digest = receipts().digest(identity)
    raw = base64.urlsafe_b64decode(identity.removeprefix(PREFIX) + "=")
    assert digest not in identity
    assert digest not in raw.hex()
    assert digest != receipts(SECRET[::-1]).digest(identity)
