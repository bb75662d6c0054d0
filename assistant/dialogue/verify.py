"""Checks each sentence the model writes against the records, before anyone sees it.

A sentence may hold slots, words of the person, and words of the records it speaks of. A title, name, year, genre
or mood from anywhere else makes it ungrounded: it is not shown. What a sentence denies is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from assistant.dialogue.edit import Vocabulary
from assistant.dialogue.slots import SLOT, Slots, UnknownSlot
from assistant.dialogue.types import Objection
from prompts.records import full_record
from retrieval.item import Item

BOUNDARY = re.compile(r"(?<=[.!?])[\"')]*\s+|(?<=\.about\])\s+|\n+")
CAPITALISED = re.compile(r"(?<![.!?:]\s)(?<!^)(?<![\"“(])\b[A-Z][\w'’-]+")
NUMBER = re.compile(r"\d{3,}")
OWN_WORDS = frozenset({"Sotto", "I'm", "I'd", "I'll", "I've"})
DENIAL = re.compile(r"\b(not|no|than|rather|hardly|without|instead)\b|n't\b", re.I)
LONGEST_REPEAT = 3
MISPLACED = re.compile(
    r"\b(for|if you (want|like)) \[T?\d+\] \w+s\b"  # "for Kolya (1996) comes from France, try"
    r"|^For \[\d+\]|\bthat is \[\d+\]"
    r"|\[\d+\.about\](?!\.?$|\.? (?-i:[A-Z\[]))"  # a sentence of its own
    r"|(?P<twice>\[(genre|a_genre|mood|place|about|years|missing|T\d+|\d+(\.\w+)?)\]).*(?P=twice)",
    re.I,
)
"""A slot where English has no place for it, as far as `grammar` leaves it open, or the same one twice in a sentence."""


@dataclass
class Sentences:
    """Cuts a stream of text into sentences. `push` yields the finished ones, `rest` what is left."""

    buffer: str = ""

    def push(self, text: str) -> Iterator[str]:
        """Sentences that ``text`` completes, each with the white space that follows it."""
        self.buffer += text
        while (match := BOUNDARY.search(self.buffer)) and match.end() < len(self.buffer):
            sentence, self.buffer = self.buffer[: match.end()], self.buffer[match.end() :]
            yield sentence

    def rest(self) -> str:
        """The unfinished remainder; the buffer is empty afterwards."""
        text, self.buffer = self.buffer, ""
        return text


@dataclass
class Verifier:
    """Judges sentences in the order in which they come; remembers which items were spoken of last.

    A reply that ``offers`` the items names each one before it tells anything of it.
    """

    slots: Slots
    vocabulary: Vocabulary
    message: str
    offers: bool = False
    _speaking_of: set[int] = field(default_factory=set)
    _said: list[str] = field(default_factory=list)
    _named: set[int] = field(default_factory=set)

    def objection(self, sentence: str) -> Objection | None:
        """Why ``sentence`` may not be shown, or None. Call once a sentence; an accepted one is remembered."""
        reason = self._check(sentence)
        if reason is None:
            self._said.append(_folded(sentence))
            self._named |= self.slots.named(sentence)
        return reason

    def _check(self, sentence: str) -> Objection | None:
        try:
            self.slots.fill(sentence)
        except UnknownSlot:
            return "unknown_slot"
        numbers = self.slots.numbers(sentence)
        unnamed = numbers - self._named - self.slots.named(sentence)
        if MISPLACED.search(sentence.strip()) or (self.offers and unnamed):
            return "misplaced_slot"
        bare = SLOT.sub(" ", sentence)
        if "[" in bare or "]" in bare or "<|" in bare:
            return "broken_slot"
        if self._said.count(_folded(sentence)) >= 1:
            return "repeated_sentence"
        if _loops(bare):
            return "repeated_words"
        if numbers:
            self._speaking_of = numbers
        about = [self.slots.items[n - 1] for n in sorted(numbers or self._speaking_of) if n <= len(self.slots.items)]
        return self._foreign(bare, about, claims=bool(numbers) or not bare.rstrip().endswith("?"))

    def _foreign(self, bare: str, about: Sequence[Item], *, claims: bool) -> Objection | None:
        known = " ".join([_folded(self.message), *(_folded(full_record(item)) for item in self.slots.items)])
        for number in NUMBER.findall(bare):
            if number not in known:
                return "foreign_number"
        for word in CAPITALISED.findall(bare):
            if word not in OWN_WORDS and _folded(word) not in known:
                return "foreign_name"
        if not claims or DENIAL.search(bare):
            return None
        wish = self.slots.wish
        allowed = {
            *wish.genres,
            *wish.moods,
            *(v for item in about for v in (*item.genres, *item.moods, *item.keywords)),
        }
        text = _folded(bare)
        for value in (*self.vocabulary.genres, *self.vocabulary.moods):
            if (
                value not in allowed
                and re.search(rf"\b{re.escape(value)}\b", text)
                and value not in _folded(self.message)
            ):
                if any(value in other and value != other for other in allowed):
                    continue
                return "foreign_value"
        return None


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _loops(text: str) -> bool:
    """True when three words stand in a row more than three times."""
    words = text.lower().split()
    counts: dict[tuple[str, ...], int] = {}
    for at in range(len(words) - 2):
        key = tuple(words[at : at + 3])
        counts[key] = counts.get(key, 0) + 1
    return any(count > LONGEST_REPEAT for count in counts.values())
