"""Judges one turn as it was seen from outside, against what is expected of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from assistant.dialogue.edit import Edit
from assistant.dialogue.respond import Brief, plain_reply
from assistant.dialogue.types import Done, Plan, Task
from assistant.engine.gateway import Completion
from assistant.evaluation.gold import Checks
from assistant.evaluation.grounding import Sources, ungrounded
from assistant.evaluation.record import Calls
from assistant.evaluation.score import degenerate, is_bound, names_item, satisfiable, violations, wish_faults
from retrieval.item import Item
from retrieval.search import Library
from retrieval.wish import Wish

Part = Literal["utterance", "conversation", "redial"]
_PURPOSE = re.compile(r"\b(film|movie|watch|recommend|suggest|catalogue|something to see)", re.IGNORECASE)
_NO_NEAREST = re.compile(r"^I found nothing for .*\.$", re.DOTALL)


@dataclass(frozen=True)
class Expectation:
    """What is known of a turn beforehand. ``said`` is everything the person wrote so far; None expects nothing.

    ``constraints`` bind every recommended item; ``checks`` and ``wish`` are the gold turn's, places resolved.
    """

    part: Part
    id: str
    said: str
    task: tuple[Task, ...] = ()
    recommends: bool | None = None
    constraints: Wish | None = None
    declines: bool = False
    speaks_of: tuple[str, ...] = ()
    checks: Checks | None = None
    wish: Wish | None = None
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A turn as it came: its plan, the pieces of the reply and its end, and what the model wrote for it."""

    plan: Plan
    pieces: tuple[str, ...]
    done: Done
    calls: Calls = field(default_factory=Calls)

    @property
    def text(self) -> str:
        """The reply."""
        return "".join(self.pieces).strip()


@dataclass(frozen=True)
class Score:
    """One measure of one turn, 0 to 1; ``detail`` says what was wrong."""

    measure: str
    part: Part
    id: str
    value: float
    detail: str = ""


class Judge:
    """Judges turns over the catalogue of ``library``, which is read once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._items = tuple(library.catalogue)
        self._genres = frozenset(genre for item in self._items for genre in item.genres)

    def scores(self, seen: Seen, expected: Expectation) -> list[Score]:
        """Every measure that applies to the turn."""
        linked = self._library.linker.link(expected.said)
        named = tuple(dict.fromkeys(item_id for mention in linked for item_id in mention.ids))
        items = self._library.catalogue.many([one.id for one in seen.plan.recommendations])
        found = [
            *_form(seen),
            *_understood(seen, expected),
            *_kept(seen, expected, items),
            *_told(seen, items, expected),
        ]
        if items and expected.constraints is not None and self._binds(seen, expected, named):
            faults = [f"{item.label}: {fault}" for item in items for fault in violations(item, expected.constraints)]
            found.append(("constraints", "; ".join(faults)))
        found.append(("grounded", "; ".join(self._ungrounded(seen, expected, items, named))))
        return [Score(measure, expected.part, expected.id, float(not detail), detail) for measure, detail in found]

    def _binds(self, seen: Seen, expected: Expectation, named: Sequence[str]) -> bool:
        """False where nothing is to be kept, or a relaxation was right as nothing new to the person fits."""
        if expected.constraints is None or not is_bound(expected.constraints):
            return False
        if seen.plan.task != "relaxed":
            return True
        return satisfiable(expected.constraints, self._items, {*expected.before, *named})

    def _ungrounded(self, seen: Seen, expected: Expectation, items: Sequence[Item], named: Sequence[str]) -> list[str]:
        wish = seen.plan.wish
        told = self._library.catalogue.many([*named, *wish.like, *wish.dislike, *wish.seen])
        sources = Sources([*seen.plan.items, *items], told, expected.said, wish)
        return ungrounded(seen.text, sources, self._library.linker, self._genres)


def reading_fault(completion: Completion) -> str:
    """Why what the model wrote under the schema is not a whole edit; empty when it is."""
    try:
        Edit.model_validate_json(completion.text)
    except ValidationError as error:
        return f"{error.errors()[0]['msg']}: {completion.text[-60:]!r}"
    return ""


def _form(seen: Seen) -> Iterator[tuple[str, str]]:
    """Measures of the model's own writing, each with what is wrong or an empty text."""
    for completion in seen.calls.readings:
        yield "json_valid", reading_fault(completion)
    yield "sound", degenerate(seen.text, seen.done.finish_reason) or ""
    plain = plain_reply(Brief(seen.plan.task, seen.plan.wish, seen.plan.items, ""))
    fallen = any(piece == plain or _NO_NEAREST.match(piece) for piece in seen.pieces)
    yield "no_fallback", "the reply is the plain last resort" if fallen else ""
    if seen.calls.generations:
        again = seen.calls.generations - 1
        yield "first_try", f"{again} more generations" if again else ""


def _kept(seen: Seen, expected: Expectation, items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    """Whether items were recommended where, and only where, they should be."""
    if expected.recommends is not None:
        right = expected.recommends == bool(items)
        yield "recommends", "" if right else f"{len(items)} items recommended as {seen.plan.task}"
    if expected.declines:
        spoke = _PURPOSE.search(seen.text) is not None
        yield "declines", f"{len(items)} items recommended" if items else "" if spoke else "does not say what it is for"


def _told(seen: Seen, items: Sequence[Item], expected: Expectation) -> Iterator[tuple[str, str]]:
    """Whether the reply speaks of the items recommended."""
    if not items:
        return
    named = [item for item in items if names_item(seen.text, item)]
    yield "speaks", "" if named else "names none of the items recommended"
    yield "speaks_of_all", "" if len(named) == len(items) else f"names {len(named)} of {len(items)}"
    again = [item.label for item in items if item.id in expected.before]
    yield "nothing_twice", f"recommended before: {', '.join(again)}" if again else ""


def _understood(seen: Seen, expected: Expectation) -> Iterator[tuple[str, str]]:
    if expected.task:
        right = seen.plan.task in expected.task
        yield "task", "" if right else f"{seen.plan.task} instead of {' or '.join(expected.task)}"
    if expected.checks is not None and expected.wish is not None:
        yield "wish_carried", "; ".join(wish_faults(seen.plan.wish, expected.checks, expected.wish))
    if expected.speaks_of:
        spoken = {item.id for item in seen.plan.items}
        yield (
            "right_item",
            "" if set(expected.speaks_of) <= spoken else f"speaks of {', '.join(sorted(spoken)) or 'none'}",
        )
