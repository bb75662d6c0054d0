"""What is searched for again is not encoded again, and nobody can read what it was."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from retrieval.queries import QueryVectors
from retrieval.search import Library
from retrieval.wish import Wish
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS


def test_a_vector_is_the_encoders_own_and_made_once() -> None:
    encoder = HashEncoder()
    queries = QueryVectors(encoder)
    first, other, again = (queries.of(words) for words in ("slow horror", "funny western", "slow horror"))
    assert encoder.encoded == ["slow horror", "funny western"]
    assert np.array_equal(first, HashEncoder().encode(["slow horror"])[0])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_words_are_kept() -> None:
    queries = QueryVectors(HashEncoder())
    queries.of("xyzzy")
    assert b"xyzzy" not in pickle.dumps(dict(queries._known))


def test_a_wish_that_comes_again_is_not_encoded_again(tmp_path: Path) -> None:
    encoder = HashEncoder()
    library = Library(MemoryCatalogue(FILMS), encoder, tmp_path / "index")
    before = len(encoder.encoded)
    found = [library.search(Wish(genres=("horror",)), k=2, seed_exclude=seen) for seen in ((), ("alien",))]
    assert len(encoder.encoded) == before + 1
    assert found[0] != found[1]
