"""What a device learns from: choices that its person made, and replies they liked, as the server's own prompts.

An example is a choice among candidates, or a reply. Prompts are built by `prompts.build` and nothing else, so that what
is learned is what serving asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from federation.device.base import Event
from federation.device.records import Reply
from prompts.build import MAX_HISTORY, ChatTokenizer, encode, rank_messages, respond_messages
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


@dataclass(frozen=True)
class ReplyExample:
    """A ``reply`` that the person liked, which spoke of ``items`` for ``wish``."""

    wish: Wish
    items: tuple[Item, ...]
    reply: Reply

    def prompt(self, tokenizer: ChatTokenizer) -> list[int]:
        """The token ids behind which the reply was written, as the server sends them to its engine."""
        told = self.reply
        chat = respond_messages(
            told.task,
            self.wish,
            self.items,
            told.message,
            liked=told.liked,
            missing=told.missing,
            slots=told.slots,
        )
        return encode(tokenizer, chat)

    def written(self, tokenizer: ChatTokenizer) -> list[int]:
        """The token ids of the reply, without an end."""
        return list(tokenizer.encode(self.reply.text, add_special_tokens=False))


def choices(
    events: Sequence[Event],
    items: Mapping[str, Item],
    seed: Sequence[int],
    negatives: int = NEGATIVES,
    first: int = 1,
) -> list[Example]:
    """One example for each of ``events`` from the place ``first`` on, 1 or more, oldest first.

    The other candidates are ``negatives`` items that the person had not met by then, drawn by ``seed``: what they met
    later may be among them, as leaving it out would tell of the future.
    """
    return [choice(events[:at], events[at], items, [*seed, at], negatives) for at in range(first, len(events))]


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
    return Example(_liked(before, items), tuple(items[item] for item in others), at)


def from_impression(
    before: Sequence[Event],
    candidates: Sequence[str],
    chosen: str,
    items: Mapping[str, Item],
    wish: Wish,
    seed: Sequence[int],
) -> Example:
    """The choice of ``chosen`` among the ids ``candidates``, in an order that ``seed`` draws: a place tells nothing.

    ValueError where ``chosen`` is not one of them. Those that are not in ``items`` are left out.
    """
    if chosen not in candidates:
        raise ValueError(f"{chosen!r} was not among the impression's candidates")
    known = [item for item in candidates if item in items]
    known = [known[at] for at in np.random.default_rng(list(seed)).permutation(len(known))]
    return Example(_liked(before, items), tuple(items[item] for item in known), known.index(chosen), wish)


def _liked(events: Sequence[Event], items: Mapping[str, Item]) -> tuple[Item, ...]:
    return tuple([items[one.item] for one in events if one.verdict != "disliked" and one.item in items][-MAX_HISTORY:])


def _drawn(draw: np.random.Generator, ids: Sequence[str], met: set[str], count: int) -> list[str]:
    """``count`` of ``ids`` that are not ``met``, or as many as there are."""
    most = min(count, len(ids) - len(met))
    found: list[str] = []
    while len(found) < most:
        for at in draw.integers(len(ids), size=2 * count):
            if ids[at] not in met and ids[at] not in found and len(found) < most:
                found.append(ids[at])
    return found
