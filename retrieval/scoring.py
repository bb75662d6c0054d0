"""How well items fit a wish: the parts of a candidate's score, as pure functions on arrays.

A score is a weighted sum of six parts, each shown to whoever asks why:

- ``text``: cosine to the wish's words (topic, genres, moods, what was said);
- ``like``: likeness to what was liked, the nearest one counting more than the average;
- ``kin``: what the nearest liked item shares of genres, moods and people;
- ``dislike``: likeness to the nearest thing disliked, below zero;
- ``mood``: the share of the wished moods that the item has;
- ``popularity``: the share of the catalogue that is less popular, a mild prior.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from retrieval.ann import FloatArray, IntArray
from retrieval.columns import Columns
from retrieval.item import Item
from retrieval.wish import Wish

NEAREST_SHARE = 0.6
"""The part of ``like`` that is the nearest liked item's; the rest is the average."""

KINSHIP = (0.6, 0.2, 0.2)
"""The parts that shared genres, moods and people have in ``kin``."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of each part. ``facets`` is that of ``text`` when its words are facet values, which filter as well."""

    text: float = 1.0
    facets: float = 0.35
    like: float = 1.0
    kin: float = 0.25
    dislike: float = 0.5
    mood: float = 0.15
    popularity: float = 0.08


def query_text(wish: Wish, text: str = "") -> str:
    """The words of a wish: what is embedded to find items by. Empty when there are none."""
    facets = ", ".join((*wish.moods, *wish.genres))
    kind = wish.kind if facets and wish.kind else ""
    return ". ".join(part for part in (f"{facets} {kind}".strip(), wish.about, text.strip()) if part)


def kinship(item: Item, liked: Iterable[Item]) -> float:
    """The most that ``item`` shares with one of ``liked``, 0..1: the Jaccard indices of their facets, weighted."""
    return max((_shared(item, other) for other in liked), default=0.0)


@dataclass(frozen=True, slots=True)
class Query:
    """A wish as vectors: ``words`` (d,) of its text, ``liked`` and ``disliked`` (m, d) of the items it names.

    ``spoken`` says whether the words are more than facet values.
    """

    words: FloatArray | None
    spoken: bool
    liked: FloatArray
    disliked: FloatArray


def components(
    wish: Wish, query: Query, rows: IntArray, vectors: FloatArray, columns: Columns, weights: Weights
) -> dict[str, FloatArray]:
    """The weighted parts of the scores of ``rows``, each float32 (n,), but for ``kin``; ``vectors`` (n, d) are theirs.

    Parts that have nothing to go by are left out.
    """
    parts: dict[str, FloatArray] = {}
    if query.words is not None:
        parts["text"] = (weights.text if query.spoken else weights.facets) * (vectors @ query.words)
    if len(query.liked):
        alike = vectors @ query.liked.T
        parts["like"] = weights.like * (NEAREST_SHARE * alike.max(axis=1) + (1 - NEAREST_SHARE) * alike.mean(axis=1))
    if len(query.disliked):
        parts["dislike"] = -weights.dislike * np.maximum(0, (vectors @ query.disliked.T).max(axis=1))
    if wish.moods:
        held = np.sum([columns.holds("moods", mood, rows) for mood in wish.moods], axis=0)
        parts["mood"] = (weights.mood / len(wish.moods) * held).astype(np.float32)
    parts["popularity"] = weights.popularity * columns.fame(rows)
    return parts


def total(parts: dict[str, FloatArray]) -> FloatArray:
    """The scores: the sum of their parts, float32 (n,)."""
    scores: FloatArray = np.stack(list(parts.values())).sum(axis=0, dtype=np.float32)
    return scores


def _shared(one: Item, other: Item) -> float:
    pairs = ((one.genres, other.genres), (one.moods, other.moods), (one.names, other.names))
    shares = (len(set(ours) & set(theirs)) / max(1, len({*ours, *theirs})) for ours, theirs in pairs)
    return sum(share * weight for share, weight in zip(shares, KINSHIP, strict=True))
