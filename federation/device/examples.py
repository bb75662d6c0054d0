"""What a device learns from: choices that its person made, written down as the server's own rank prompt.

An example is a choice among candidates. The prompt is built by `prompts.build` and nothing else, so that what is
learned is what serving asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from federation.device.base import Event
from prompts.build import MAX_HISTORY, ChatTokenizer, encode, rank_messages
from retrieval.item import Item
from retrieval.wish import Wish

NEGATIVES = 15
NO_WISH = Wish()


@dataclass(frozen=True)
class Example:
    """A choice: ``candidates[chosen]``, by a person who liked ``history``, latest last, and wished for ``wish``."""

    history: tuple[Item, ...]
    candidates: tuple[Item, ...]
    chosen: int
    wish: Wish = NO_WISH

    def prompt(self, tokenizer: ChatTokenizer) -> list[int]:
        """The token ids of the choice, as the server sends them to its engine."""
        return encode(tokenizer, rank_messages(self.wish, self.history, self.candidates))


def choices(
    events: Sequence[Event], items: Mapping[str, Item], seed: Sequence[int], negatives: int = NEGATIVES
) -> list[Example]:
    """One example for each of ``events`` from the second on, oldest first.

    The other candidates are ``negatives`` items that the person had not met by then, drawn by ``seed``: what they met
    later may be among them, as leaving it out would tell of the future.
    """
    return [choice(events[:at], event, items, [*seed, at], negatives) for at, event in enumerate(events) if at]


def choice(
    before: Sequence[Event],
    event: Event,
    items: Mapping[str, Item],
    seed: Sequence[int],
    negatives: int = NEGATIVES,
) -> Example:
    """The choice of ``event`` after ``before``. Its place among the candidates is drawn too."""
    draw = np.random.default_rng(list(seed))
    met = {one.item for one in before} | {event.item}
    others = _drawn(draw, list(items), met, negatives)
    at = int(draw.integers(len(others) + 1))
    others.insert(at, event.item)
    liked = [items[one.item] for one in before if one.verdict != "disliked"][-MAX_HISTORY:]
    return Example(tuple(liked), tuple(items[item] for item in others), at)


def from_impression(
    history: Sequence[str], candidates: Sequence[str], chosen: str, items: Mapping[str, Item], wish: Wish
) -> Example:
    """The choice that a verdict on an impression made; ValueError where ``chosen`` was not among its candidates."""
    if chosen not in candidates:
        raise ValueError(f"{chosen!r} was not among the impression's candidates")
    liked = [items[item] for item in history if item in items][-MAX_HISTORY:]
    known = [item for item in candidates if item in items]
    return Example(tuple(liked), tuple(items[item] for item in known), known.index(chosen), wish)


def _drawn(draw: np.random.Generator, ids: Sequence[str], met: set[str], count: int) -> list[str]:
    """``count`` of ``ids`` that are not ``met``, or as many as there are."""
    most = min(count, len(ids) - len(met))
    found: list[str] = []
    while len(found) < most:
        for at in draw.integers(len(ids), size=2 * count):
            if ids[at] not in met and ids[at] not in found and len(found) < most:
                found.append(ids[at])
    return found
