"""What a device knows of its person, as lessons in time: choices and replies to learn from, choices to validate by.

Knows no model. Nothing of the last event, nor of what came after the one before it, is in a lesson.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from federation.device.base import Event, Split, split
from federation.device.examples import NEGATIVES, Example, ReplyExample, choice, choices, from_impression
from federation.device.records import Impression, Judgement
from prompts.build import RANK_LABELS
from retrieval.item import Item
from retrieval.wish import Wish

if TYPE_CHECKING:
    from federation.device.store import EventStore

__all__ = ["MOST_EXAMPLES", "Experience", "Lessons", "lessons"]

MOST_EXAMPLES = 256
"""How many of a person's latest choices, and of the replies they liked, are learned from."""

_VALIDATION = 1 << 30
_FEWEST = 2  # fewer events leave none with a history, fewer candidates are no choice


@dataclass(frozen=True)
class Experience:
    """What a person met, in time, and the impressions and verdicts that some of it came from."""

    events: Sequence[Event]
    impressions: Sequence[Impression] = ()
    verdicts: Sequence[Judgement] = ()

    @classmethod
    def of(cls, store: EventStore) -> Experience:
        """All that ``store`` holds; its conversations are not read."""
        return cls(store.events(), store.impressions(), store.verdicts())


@dataclass(frozen=True)
class Lessons:
    """What is learned from, oldest first, and the choice of the validation event among others, drawn several times.

    ``events`` is how many events there are in all.
    """

    choices: Sequence[Example]
    replies: Sequence[ReplyExample]
    validations: Sequence[Example]
    events: int


def lessons(
    experience: Experience,
    items: Mapping[str, Item],
    device: str,
    seed: Sequence[int],
    negatives: int = NEGATIVES,
    validations: int = 1,
) -> Lessons:
    """The lessons of ``device``: ``seed`` draws those to learn from, the device's name alone those to validate by.

    An event that is a liked verdict on an item of an impression is the choice of that item among those that were shown,
    under the impression's wish; any other is its choice among ``negatives`` others. ValueError where there are too few
    events in ``items`` to split, or none to learn from.
    """
    events = [event for event in experience.events if event.item in items]
    parts = split(events)
    identity = zlib.crc32(device.encode())
    judged = [
        choice(parts.train, parts.validation, items, [identity, _VALIDATION, *([draw] if draw else [])], negatives)
        for draw in range(validations)
    ]
    if len(parts.train) < _FEWEST:
        raise ValueError("the device has too few events to learn from")
    rankings = _Rankings(experience, items, parts)
    first = max(1, len(parts.train) - MOST_EXAMPLES)
    drawn = choices(parts.train, items, seed, negatives, first)
    found = [rankings.choice(at, [*seed, at]) or one for at, one in enumerate(drawn, first)]
    return Lessons(found, rankings.replies()[-MOST_EXAMPLES:], judged, len(events))


class _Rankings:
    """The impressions behind the liked verdicts that train: nothing given at the validation event or later."""

    def __init__(self, experience: Experience, items: Mapping[str, Item], parts: Split) -> None:
        self._items, self._train = items, parts.train
        impressions = {one.id: one for one in experience.impressions}
        past = set(parts.train)
        self._liked: list[tuple[Judgement, Impression]] = []
        for given in experience.verdicts:
            impression = impressions.get(given.impression or "")
            of_past = _event(given) in past if given.item else given.at < parts.validation.at
            # A verdict cannot come before what it is on: such a pair tells nothing that can be trusted.
            if given.verdict == "liked" and of_past and impression is not None and impression.at <= given.at:
                self._liked.append((given, impression))
        self._by_event = {_event(given): impression for given, impression in self._liked if given.item}

    def choice(self, at: int, seed: Sequence[int]) -> Example | None:
        """The choice that the event at ``at`` was among what was shown, or None where it was none."""
        event = self._train[at]
        impression = self._by_event.get(event)
        if impression is None or (wish := _wish(impression)) is None:
            return None
        # Of two that were liked in one impression neither was turned down for the other.
        also = {given.item for given, one in self._liked if one.id == impression.id} - {event.item}
        for ids in (impression.shown, impression.candidates):
            among = [one for one in ids if one in self._items and one not in also]
            if event.item in among and _FEWEST <= len(among) <= len(RANK_LABELS):
                return from_impression(self._train[:at], among, event.item, self._items, wish, seed)
        return None

    def replies(self) -> list[ReplyExample]:
        """The replies that spoke of these impressions, oldest first."""
        found: dict[str, ReplyExample] = {}
        for _, impression in self._liked:
            shown = tuple(self._items[one] for one in impression.shown if one in self._items)
            wish = _wish(impression)
            # Slots count the items: with one missing they would stand for others.
            if impression.reply is not None and wish is not None and len(shown) == len(impression.shown):
                found[impression.id] = ReplyExample(wish, shown, impression.reply)
        return list(found.values())


def _event(given: Judgement) -> Event:
    return Event(given.at, given.item or "", given.verdict)


def _wish(impression: Impression) -> Wish | None:
    try:
        return Wish.model_validate(dict(impression.wish))
    except ValidationError:
        return None
