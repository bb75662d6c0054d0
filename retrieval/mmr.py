"""Maximal marginal relevance: the head of a list is not the same thing many times (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from retrieval.ann import FloatArray
from retrieval.folding import numerals, tokens

SAME_SERIES = 0.9
"""How alike two parts of one series count, whatever their vectors say."""

_SUBTITLE = re.compile(r"\s*[:–—]\s|\s-\s")


def diversify(
    scores: FloatArray, vectors: FloatArray, series: Sequence[str], count: int, relevance: float = 0.7
) -> list[int]:
    """The places of at most ``count`` candidates, each best by ``relevance`` × score − (1 − ``relevance``) × likeness.

    ``scores`` (n,) are stretched to 0..1; ``vectors`` (n, d) are unit vectors; likeness is the largest cosine to
    anything chosen before, or `SAME_SERIES` to another of the same ``series``. The first place is the best score.
    """
    if not len(scores):
        return []
    spread = float(scores.max() - scores.min())
    relevant = (scores - scores.min()) / spread if spread > 0 else np.zeros_like(scores)
    names = np.array(series)
    likeness = np.zeros(len(scores), dtype=np.float32)
    left = np.ones(len(scores), dtype=np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(count, len(scores)):
        worth = np.where(left, relevance * relevant - (1 - relevance) * likeness, -np.inf)
        best = int(np.argmax(worth)) if chosen else int(np.argmax(scores))
        chosen.append(best)
        left[best] = False
        alike = vectors @ vectors[best]
        likeness = np.maximum(likeness, np.where(names == names[best], np.maximum(alike, SAME_SERIES), alike))
    return chosen


def series_name(title: str) -> str:
    """What the parts of a series have in common: ``Toy Story 2`` and ``Toy Story`` are both ``toy story``."""
    head = _SUBTITLE.split(title, maxsplit=1)[0]
    words = [token.form for token in numerals(tokens(head))]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    return " ".join(words)
