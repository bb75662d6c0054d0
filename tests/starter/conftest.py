"""A small world and corpus for tests of the starter's recipe."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.starter.corpus import Corpus, tokenizer_texts
from assistant.starter.tokenizer import train_tokenizer
from assistant.starter.world import World
from retrieval.bundled import bundled_items
from retrieval.item import Item


@pytest.fixture(scope="session")
def films() -> list[Item]:
    return list(bundled_items())


@pytest.fixture(scope="session")
def world(films: list[Item]) -> World:
    return World(films)


@pytest.fixture(scope="session")
def tokenizer(films: list[Item]) -> Any:
    return train_tokenizer(tokenizer_texts(films, 1, count=300), 1500)


@pytest.fixture(scope="session")
def corpus(tokenizer: Any, films: list[Item]) -> Corpus:
    return Corpus(tokenizer, films, seed=3)
