"""Makes listwise choices to teach the rank prompt: a wish, a history, candidates and how well each suits.

The target is a distribution over the candidates: the softmax of a relevance that adds up matching genres,
moods, topic and nearness to what was liked. Candidates are drawn the way retrieval draws them, so many share
the wished genre and the finer facets must decide.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assistant.starter.world import World
from retrieval.item import Item
from retrieval.wish import Wish

SHARPNESS = 1.6


@dataclass(frozen=True)
class ChoiceExample:
    """The arguments of `prompts.build.rank_messages`; what suits and the wanted distribution, float64 (candidates,)."""

    wish: Wish
    history: tuple[Item, ...]
    candidates: tuple[Item, ...]
    relevance: NDArray[np.float64]
    target: NDArray[np.float64]


class Chooser:
    """Draws choices. Deterministic in ``rng``."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng

    def example(self) -> ChoiceExample:
        """One choice among 2 to 20 candidates, mostly few: what decides is learned from many short lists."""
        rng = self.rng
        anchor = rng.choice(self.world.films)
        genres = (rng.choice(anchor.genres),) if anchor.genres and rng.random() < 0.6 else ()
        moods = (
            tuple(rng.sample(anchor.moods, min(len(anchor.moods), rng.choice((1, 1, 2))))) if rng.random() < 0.5 else ()
        )
        not_moods = (rng.choice(("violent", "scary", "sad", "slow", "dark")),) if rng.random() < 0.15 else ()
        about = rng.choice(anchor.keywords) if anchor.keywords and rng.random() < 0.3 else ""
        history = self._history(anchor) if rng.random() < 0.6 or not (genres or moods or about) else ()
        wish = Wish(
            genres=genres, moods=tuple(m for m in moods if m not in not_moods), not_moods=not_moods, about=about
        )
        count = rng.randint(2, 7) if rng.random() < 0.75 else rng.randint(8, 20)
        candidates = self._candidates(anchor, genres, count)
        scores = np.array([relevance(wish, history, item) for item in candidates])
        weights = np.exp(SHARPNESS * (scores - scores.max()))
        return ChoiceExample(wish, history, candidates, scores, weights / weights.sum())

    def _history(self, anchor: Item) -> tuple[Item, ...]:
        near = self.world.by_genre.get(anchor.genres[0], []) if anchor.genres else []
        count = self.rng.choice((1, 1, 2, 3, 4, 6, 8))
        return tuple(
            self.rng.choice(near) if near and self.rng.random() < 0.7 else self.rng.choice(self.world.films)
            for _ in range(count)
        )

    def _candidates(self, anchor: Item, genres: tuple[str, ...], count: int) -> tuple[Item, ...]:
        near = self.world.by_genre.get(genres[0] if genres else anchor.genres[0], []) if anchor.genres else []
        chosen: dict[str, Item] = {}
        if self.rng.random() < 0.5:
            chosen[anchor.title] = anchor
        while len(chosen) < count:
            item = self.rng.choice(near) if near and self.rng.random() < 0.6 else self.rng.choice(self.world.films)
            chosen.setdefault(item.title, item)
        candidates = list(chosen.values())
        self.rng.shuffle(candidates)
        return tuple(candidates)


def relevance(wish: Wish, history: tuple[Item, ...], item: Item) -> float:
    """How well ``item`` suits: 2 a wished genre, 1.5 a wished mood, 2 the topic, up to 3 nearness to the history."""
    score = 2.0 * len(set(wish.genres) & set(item.genres)) + 1.5 * len(set(wish.moods) & set(item.moods))
    score -= 2.0 * len(set(wish.not_moods) & set(item.moods)) + 3.0 * len(set(wish.not_genres) & set(item.genres))
    if wish.about and wish.about in item.keywords:
        score += 2.0
    if history:
        score += 3.0 * float(np.mean([nearness(item, liked) for liked in history]))
    return score


def nearness(one: Item, other: Item) -> float:
    """Mean of the Jaccard similarities of genres, moods and keywords, 0 to 1, weighted 3:2:2."""

    def jaccard(a: tuple[str, ...], b: tuple[str, ...]) -> float:
        union = set(a) | set(b)
        return len(set(a) & set(b)) / len(union) if union else 0.0

    total = (
        3 * jaccard(one.genres, other.genres)
        + 2 * jaccard(one.moods, other.moods)
        + 2 * jaccard(one.keywords, other.keywords)
    )
    return total / 7
