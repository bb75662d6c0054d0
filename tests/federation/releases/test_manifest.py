"""A manifest is its digest: the same content has the same, any other another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from federation.releases.errors import BadManifest
from federation.releases.manifest import Cohort, File, Manifest
from tests.federation.releases.making import BASE, LORA

FILE = File(path="adapters/global/adapter_model.safetensors", size=3, sha256="a" * 64)
NUMBERS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z][a-z0-9_.@]{0,39}", fullmatch=True)
VALUES = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
ROUNDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=3)


def manifest(**changes) -> Manifest:
    given = {"base": BASE, "lora": LORA, "cohorts": (Cohort(name="global", soft_prompt=0),), "files": (FILE,)}
    return Manifest(**{**given, **changes})


@given(ROUNDS, st.none() | st.just("c" * 64))
def test_writing_then_reading_is_the_identity(rounds, parent):
    written = manifest(rounds=tuple(rounds), parent=parent)
    read = Manifest.from_bytes(written.to_bytes())
    assert read == written
    assert read.digest == written.digest


def test_the_digest_stands_in_the_manifest_and_changes_with_it():
    one, other = manifest(), manifest(parent="c" * 64)
    assert json.loads(one.to_bytes())["digest"] == one.digest
    assert one.digest == manifest().digest
    assert one.digest != other.digest


@given(st.data())
def test_any_changed_byte_is_seen(data):
    written = manifest(rounds=({"ndcg": 0.25, "replied": 20},)).to_bytes()
    place = data.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadManifest):
        Manifest.from_bytes(bytes(changed))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b'"x"', b"\xff", b"{}", b"[" * 100_000, manifest().to_bytes() + b" "]
)
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(BadManifest):
        Manifest.from_bytes(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": ({"who": "ada@example.org"},)},
        {"rounds": ({"Ada Lovelace": 1},)},
        {"rounds": ({"ndcg": float("nan")},)},
        {"rounds": ({"each": list(range(5000))},)},
        {"cohorts": (Cohort(name="c0", soft_prompt=0),)},
        {"cohorts": (Cohort(name="global", soft_prompt=0),) * 2},
        {"parent": "../other"},
    ],
)
def test_a_manifest_holds_counts_and_a_global_cohort_only(changes):
    with pytest.raises((ValidationError, ValueError)):
        manifest(**changes)


@pytest.mark.parametrize("name", ["..", "c0/../../x", "ada", "", "c00000"])
def test_a_cohort_cannot_be_called_anything(name):
    with pytest.raises(ValidationError):
        Cohort(name=name, soft_prompt=0)
