"""Names as sequences of words, found in a text in spite of typos.

Every prefix of every name is remembered, so that from each word of a text a walk goes only as far as some name goes on:
the cost grows with the text's length, not with the number of names. A word of the text stands for itself and
for the words of names that are a typo away, which `Speller` finds by the trigrams they share.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

LONGEST = 14
"""Words of a name that are looked at."""

JOINED = 0.97
"""Likeness of names that differ in where words end only: ``spiderman`` and ``Spider-Man``."""

_LEAST_LIKENESS = 0.82
_STATES = 32
_NEAREST = 24
_SHORTEST_TYPO = 3
_TYPO_ANYWHERE = 4
_TYPO_IN_VOCABULARY = 5
_DEEP = 8
_TWO_TYPOS_FROM = 8
_OTHER_INITIAL = 0.02
_JOINED_FROM = 6


@dataclass(frozen=True, slots=True)
class Match:
    """Words ``start`` to ``end`` (exclusive) of a text are the name ``key``, with a likeness of 0..1."""

    start: int
    end: int
    key: str
    likeness: float


class Speller:
    """The words of names, found by misspellings: one edit from 3 letters on, two from 8 (optimal string alignment)."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._blocks: dict[str, list[str]] = {}
        self.near = functools.lru_cache(maxsize=32_768)(self._near)

    def __contains__(self, word: object) -> bool:
        return word in self._words

    def add(self, word: str) -> None:
        """Adds a word of a name."""
        if word in self._words:
            return
        self._words.add(word)
        if len(word) >= _SHORTEST_TYPO - 1 and not word.isdigit():
            for trigram in _trigrams(word):
                self._blocks.setdefault(f"{len(word)}{trigram}", []).append(word)
            self.near.cache_clear()

    def _near(self, word: str) -> tuple[str, ...]:
        """Words of names a typo away from ``word``, nearest first, ``word`` itself left out."""
        if word.isdigit() or len(word) < _SHORTEST_TYPO:
            return ()
        edits = 2 if len(word) >= _TWO_TYPOS_FROM and word not in self._words else 1
        lengths = range(len(word) - edits, len(word) + edits + 1)
        trigrams = _trigrams(word)
        pool = {other for size in lengths for part in trigrams for other in self._blocks.get(f"{size}{part}", ())}
        pool.discard(word)
        found = process.extract(word, sorted(pool), scorer=OSA.distance, score_cutoff=edits, limit=_NEAREST)
        return tuple(other for other, _, _ in found)


class NameIndex:
    """Names with a number each, ``ref``, and a weight that says how good a name it is of what it names."""

    def __init__(self) -> None:
        self.speller = Speller()
        self._refs: dict[str, dict[int, float]] = {}
        self._prefixes: set[int] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._refs

    def add(self, words: Sequence[str], ref: int, weight: float = 1.0) -> None:
        """Adds the name ``words``; of several weights the largest counts."""
        words = words[:LONGEST]
        key = " ".join(words)
        if not key:
            return
        refs = self._refs.setdefault(key, {})
        refs[ref] = max(weight, refs.get(ref, 0.0))
        for size in range(1, len(words) + 1):
            self._prefixes.add(hash(" ".join(words[:size])))
        for word in words:
            self.speller.add(word)

    def refs(self, key: str) -> dict[int, float]:
        """The refs of the name ``key``, with their weights."""
        return self._refs.get(key, {})

    def matches(self, words: Sequence[Sequence[str]], start: int, common: Container[str] = ()) -> list[Match]:
        """The names that begin at word ``start``; of each length the most alike ones.

        ``words`` holds the forms that each word of the text may have, the first being the one written. Words in
        ``common`` and short ones begin a name only as they are written: ordinary words are seldom misspelt names.
        """
        best: dict[int, list[Match]] = {}
        states = {"": (0, "")}
        for end in range(start, min(start + LONGEST, len(words))):
            states = self._step(states, words[end], common)
            for key, (edits, written) in states.items():
                if key in self._refs:
                    _keep(best, Match(start, end + 1, key, _likeness(key, written, edits)))
            if not states:
                break
        if start + 1 < len(words):
            joined = words[start][0] + words[start + 1][0]
            if len(joined) >= _JOINED_FROM and joined in self._refs:
                _keep(best, Match(start, start + 2, joined, JOINED))
        return [match for end in sorted(best) for match in best[end] if match.likeness >= _LEAST_LIKENESS]

    def _step(
        self, states: dict[str, tuple[int, str]], forms: Sequence[str], common: Container[str]
    ) -> dict[str, tuple[int, str]]:
        """Every prefix of a name that goes on with a word: the edits it took, and what was written."""
        options = [(form, form, 0) for form in forms]
        own = len(options)
        options += [(near, forms[0], 1) for near in self.speller.near(forms[0])]
        least = _TYPO_IN_VOCABULARY if forms[0] in self.speller else _TYPO_ANYWHERE
        plain = forms[0] in common or len(forms[0]) < least
        following: dict[str, tuple[int, str]] = {}
        for prefix, (edits, written) in states.items():
            for word, form, more in options[:own] if plain and len(prefix) < _DEEP else options:
                longer = f"{prefix} {word}" if prefix else word
                if hash(longer) in self._prefixes and (longer not in following or following[longer][0] > edits + more):
                    following[longer] = (edits + more, f"{written} {form}" if written else form)
        if len(following) > _STATES:
            following = dict(sorted(following.items(), key=lambda entry: (entry[1][0], entry[0]))[:_STATES])
        return following


def _likeness(key: str, written: str, edits: int) -> float:
    if not edits:
        return 1.0
    return min(0.99, fuzz.ratio(key, written) / 100) - (_OTHER_INITIAL if key[0] != written[0] else 0.0)


def _keep(best: dict[int, list[Match]], match: Match) -> None:
    rivals = best.setdefault(match.end, [])
    if not rivals or match.likeness > rivals[0].likeness:
        best[match.end] = [match]
    elif match.likeness == rivals[0].likeness:
        rivals.append(match)


def _trigrams(word: str) -> set[str]:
    padded = f"^{word}$"
    return {padded[place : place + 3] for place in range(len(padded) - 2)}
