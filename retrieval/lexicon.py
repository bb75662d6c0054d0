"""How people say what a catalogue's facets hold: the hand-written bank in ``language/``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def read_bank(package: str, name: str) -> Mapping[str, Any]:
    """The bank ``language/NAME.yaml`` of ``package``, read once; not to be changed."""
    text = files(package).joinpath("language", f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both are safe


def lexicon() -> Mapping[str, Any]:
    """The whole bank: phrases by facet and value, decades, topics, and what gives up a part of a wish."""
    return read_bank("retrieval", "lexicon")


@cache
def phrases(facet: str) -> Mapping[str, tuple[str, ...]]:
    """How people say the values of ``facet``, lower case."""
    said: dict[str, list[str]] = {}
    for value, phrase in _sayings(facet, lexicon()):
        said.setdefault(value, []).append(bare(phrase))
    return {value: tuple(dict.fromkeys(filter(None, more))) for value, more in said.items()}


@cache
def clearing(part: str) -> tuple[str, ...]:
    """How people give up ``part`` of what they wished before, or all of it, lower case."""
    return tuple(phrase.lower() for phrase in lexicon()["clear"].get(part, ()))


def _sayings(facet: str, bank: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each value of ``facet`` with a phrase for it."""
    groups = {
        "genres": [bank["genre_nouns"], bank["genre_adjectives"], bank["genre_plural"]],
        "moods": [*_parts(bank["mood_phrases"]), bank["not_mood_phrases"]],
        "countries": _parts(bank["countries"]),
        "languages": [bank["languages"]],
    }[facet]
    for group in groups:
        for value, more in group.items():
            yield from ((value, phrase) for phrase in more or ())
    for combo in bank["combos"]:
        yield from ((value, combo["phrase"]) for value in combo.get(facet) or ())


def _parts(nested: Mapping[str, Mapping[str, Sequence[str]]]) -> list[dict[str, Sequence[str]]]:
    """``value -> part -> phrases`` as one mapping a part."""
    parts = sorted({part for forms in nested.values() for part in forms})
    return [{value: forms.get(part) or () for value, forms in nested.items()} for part in parts]


def bare(phrase: str) -> str:
    """``phrase`` without an article or a preposition in front, in lower case."""
    return re.sub(r"^(a|an|the|some|from|in|made in|out of|that|that's|with)\s+", "", phrase.lower()).strip()
