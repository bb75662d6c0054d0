"""A message under construction and its end: joined, slightly mistyped and labelled as the linker labels.

Mentions and topics stand in the text as marks until the last step, so that labels are numbered in the order in
which they stand.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from assistant.dialogue.edit import MAX_FACETS, MAX_POINTERS, Edit
from assistant.starter.banks import bank
from retrieval.item import Item

MARK = re.compile("⟦(\\d+)⟧")
KEYBOARD = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t", "l": "k", "c": "v"}
JOINTS = {", ": 8, ". ": 7, ", and ": 3, ", but ": 2, " - ": 2, "; ": 1, " ": 2}
CLOSED_JOINTS = {". ": 6, ", but ": 2, ". But ": 1, "; ": 1, " - ": 1}


@dataclass
class Mention:
    """A title or person named in a message. ``shown`` is its place among the items shown, or None."""

    kind: str
    surface: str
    shown: int | None = None


@dataclass
class Draft:
    """A message under construction: its segments, its marks and what it means so far."""

    segments: list[str] = field(default_factory=list)
    marks: list[Mention | str] = field(default_factory=list)
    meaning: dict[str, Any] = field(default_factory=lambda: {"act": "find"})
    closed: set[str] = field(default_factory=set)
    """Segments that refuse something: what comes after them must not read as refused too."""

    def mark(self, value: Mention | str) -> str:
        self.marks.append(value)
        return f"⟦{len(self.marks) - 1}⟧"

    def refuse(self, segment: str) -> None:
        self.segments.append(segment)
        self.closed.add(segment)

    def add(self, key: str, *values: Any) -> None:
        if values:
            self.meaning.setdefault(key, []).extend(values)


@dataclass(frozen=True)
class TurnExample:
    """``message`` carries its labels; ``edit`` points at them."""

    message: str
    shown: tuple[Item, ...]
    edit: Edit


class Finisher:
    """Turns drafts into examples. Deterministic in ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.turns = rng, bank("turns")

    def _pick(self, options: Any) -> Any:
        return self.rng.choice(options)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def example(self, draft: Draft, shown: tuple[Item, ...]) -> TurnExample:
        """The message and meaning of ``draft``."""
        text = draft.segments[0] if draft.segments else ""
        for before, segment in zip(draft.segments, draft.segments[1:], strict=False):
            joints = CLOSED_JOINTS if before in draft.closed else JOINTS
            joint = self.rng.choices(list(joints), list(joints.values()))[0]
            text = text.rstrip(" .,;")
            joint = " " if text.endswith(("?", "!")) else joint
            text += joint + (segment[:1].upper() + segment[1:] if joint == ". " and self._chance(0.6) else segment)
        if draft.meaning["act"] == "find" and self._chance(0.18):
            text = f"{self._pick(self.turns['openers'])} {text}"
        if draft.meaning["act"] == "find" and self._chance(0.12):
            text = f"{text} {self._pick(self.turns['closers'])}"
        if self._chance(0.3):
            text = text.lower()
        if self._chance(0.2):
            text = text.rstrip(".!?")
        if self._chance(0.12):
            text = self._typo_outside_marks(text)
        if self._chance(0.04):
            text = self._stray_label(draft, text)
        text, labels = self._label(draft, " ".join(text.split()))
        meaning = {key: _ordered(key, value, labels) for key, value in draft.meaning.items()}
        return TurnExample(text, shown, Edit.model_validate(meaning))

    def _label(self, draft: Draft, text: str) -> tuple[str, dict[int, str]]:
        labels: dict[int, str] = {}
        counts = {"T": 0, "P": 0}

        def labelled(match: re.Match[str]) -> str:
            index = int(match.group(1))
            mention = draft.marks[index]
            if isinstance(mention, str):
                return mention
            if mention.shown is not None:
                labels[index] = f"S{mention.shown + 1}"
            else:
                counts[mention.kind] += 1
                labels[index] = f"{mention.kind}{counts[mention.kind]}"
            return f"[{labels[index]} {mention.surface}]"

        return MARK.sub(labelled, text), labels

    def _stray_label(self, draft: Draft, text: str) -> str:
        """A word that the linker took for a title though it is none: the model learns to pass it by."""
        words = text.split(" ")
        places = [i for i, word in enumerate(words) if re.fullmatch(r"[A-Za-z]{3,}", word)]
        if not places:
            return text
        place = self._pick(places)
        words[place] = draft.mark(Mention("T", words[place]))
        return " ".join(words)

    def _typo_outside_marks(self, text: str) -> str:
        words = text.split(" ")
        for _ in range(self.rng.choice((1, 1, 2))):
            place = self.rng.randrange(len(words))
            if "⟦" not in words[place] and not any(c.isdigit() for c in words[place]):
                words[place] = self.typo(words[place])
        return " ".join(words)

    def typo(self, word: str) -> str:
        """``word`` mistyped, if it is long enough."""
        if len(word) < 5:
            return word
        place = self.rng.randrange(1, len(word) - 1)
        kind = self.rng.randrange(4)
        if kind == 0:
            return word[:place] + word[place + 1 :]
        if kind == 1:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        if kind == 2:
            return word[:place] + word[place] + word[place:]
        return word[:place] + KEYBOARD.get(word[place].lower(), word[place]) + word[place + 1 :]


POINTERS = frozenset({"of", "like", "dislike", "seen", "people", "not_people"})


def _ordered(key: str, value: Any, labels: dict[int, str]) -> Any:
    """A list in the one order in which it is always written: labels by their number, facets by the alphabet."""
    if not isinstance(value, list) or key == "years":
        return value
    if key in POINTERS:
        named = {labels[one] if isinstance(one, int) else str(one) for one in value}
        return sorted(named, key=lambda label: (label[0], int(label[1:])))[:MAX_POINTERS]
    return sorted(set(value))[:MAX_FACETS]
