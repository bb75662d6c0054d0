"""A wish that a client wrote, in the catalogue's own words: its ``sci-fi`` is the catalogue's ``science fiction``.

Only what no item holds is looked at, so a catalogue that calls its genre ``sci-fi`` keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from retrieval.folding import fold
from retrieval.lexicon import bare, phrases
from retrieval.wish import Wish

FACETS = {
    "genres": "genres",
    "not_genres": "genres",
    "moods": "moods",
    "not_moods": "moods",
    "countries": "countries",
    "languages": "languages",
}
"""The fields of a wish that hold facet values, with their facets."""

Held = Callable[[str, str], bool]
"""Whether any item holds a value in a facet; people are folded."""


def in_own_words(wish: Wish, held: Held, name_of: Callable[[str], str]) -> Wish:
    """``wish`` with each value that no item holds and that is a known way to say another as that other.

    ``name_of`` gives the full name that a part of one means, or what it was given.
    """
    own = {field: tuple(_own(facet, value, held) for value in getattr(wish, field)) for field, facet in FACETS.items()}
    for field in ("people", "not_people"):
        own[field] = tuple(name if held("people", fold(name)) else name_of(name) for name in getattr(wish, field))
    return wish.model_copy(update={field: tuple(dict.fromkeys(values)) for field, values in own.items()})


def _own(facet: str, value: str, held: Held) -> str:
    if held(facet, value):
        return value
    meant = _sayings(facet).get(bare(value), value)
    return meant if held(facet, meant) else value


@cache
def _sayings(facet: str) -> Mapping[str, str]:
    """The value that each known phrase means, where it means one alone."""
    meant: dict[str, set[str]] = {}
    for value, more in phrases(facet).items():
        for phrase in more:
            meant.setdefault(phrase, set()).add(value)
    return {phrase: next(iter(values)) for phrase, values in meant.items() if len(values) == 1}
