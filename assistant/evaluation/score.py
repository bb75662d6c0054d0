"""Scores of a reading, of recommended items and of a reply's form: pure functions over what was seen and the gold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from assistant.dialogue.edit import Edit
from assistant.evaluation.gold import HARD_FIELDS, NAME_FIELDS, TITLE_FIELDS, Checks, Utterance
from retrieval.folding import fold
from retrieval.item import Item
from retrieval.wish import Wish
from retrieval.words import FUNCTION_WORDS

SLOT_FIELDS = tuple(name for name in Edit.model_fields if name not in {"act", "kind"})
SAME_TOPIC = 0.5
"""F1 over words from which two topics count as one."""

MOST_REPEATS = 3
LEAST_WORDS = 3
OPENING_WORDS = 4
_ENDS = re.compile(r"[.!?…)\"'”’\]]\s*$|[^\w\s]\s*$")
_LEFTOVER = re.compile(r"\[[\w.]{0,20}\]?|<\|")


@dataclass(frozen=True)
class Counts:
    """Values read rightly, read though not meant, and meant but not read."""

    hits: int = 0
    extra: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.hits + other.hits, self.extra + other.extra, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """1.0 where nothing was read."""
        return self.hits / (self.hits + self.extra) if self.hits + self.extra else 1.0

    @property
    def recall(self) -> float:
        """1.0 where nothing was meant."""
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else 1.0

    @property
    def f1(self) -> float:
        """2 hits / (2 hits + extra + missed); 1.0 where nothing was meant and nothing read."""
        errors = self.extra + self.missed
        return 2 * self.hits / (2 * self.hits + errors) if self.hits + errors else 1.0


def resolved(edit: Edit, titles: Mapping[str, str], wish: Wish) -> dict[str, JsonValue]:
    """``edit`` as JSON with ids and names in place of labels, and only with the fields that its act gives effect.

    ``titles`` maps labels to ids; the names are those of ``wish``, to which an empty wish became by ``edit``.
    """
    fields: dict[str, JsonValue] = edit.model_dump(mode="json")
    for name in TITLE_FIELDS:
        fields[name] = [titles.get(label, label) for label in getattr(edit, name)]
    for name in NAME_FIELDS:
        fields[name] = list(getattr(wish, name))
    used = {"find": set(SLOT_FIELDS) - {"of"}, "chat": set(), "off_topic": set()}.get(edit.act, {"of"})
    empty = Edit(act=edit.act).model_dump(mode="json")
    return {name: value if name == "act" or name in used else empty[name] for name, value in fields.items()}


def slot_counts(read: Mapping[str, JsonValue], gold: Utterance) -> dict[str, Counts]:
    """Counts of each slot field against the meaning of ``gold`` that ``read`` comes nearest to."""
    main = gold.edit.model_dump(mode="json")
    best: dict[str, Counts] = {}
    for meaning in gold.meanings():
        counts = {}
        for name in SLOT_FIELDS:
            same = meaning[name] == main[name]
            right = (meaning[name], *(gold.accept.get(name, ()) if same else ()))
            counts[name] = min((_count(name, read.get(name), value) for value in right), key=_by_errors)
        if not best or _by_errors(total(counts.values())) < _by_errors(total(best.values())):
            best = counts
    return best


def total(counts: Iterable[Counts]) -> Counts:
    """The sum."""
    return sum(counts, Counts())


def violations(item: Item, wish: Wish) -> list[str]:
    """The hard constraints of ``wish`` that ``item`` breaks; being liked, refused or seen already breaks one too."""
    found = [f"it is among {name}" for name in ("like", "dislike", "seen") if item.id in getattr(wish, name)]
    if wish.year_from is not None and (item.year is None or item.year < wish.year_from):
        found.append(f"{item.year} is before {wish.year_from}")
    if wish.year_to is not None and (item.year is None or item.year > wish.year_to):
        found.append(f"{item.year} is after {wish.year_to}")
    held = {"people": {fold(name) for name in item.names}}
    for name in ("genres", "moods", "countries", "languages"):
        held[name] = set(getattr(item, name))
    found += [f"not {value}" for value in wish.genres if value not in held["genres"]]
    for name, values in (
        ("people", map(fold, wish.people)),
        ("countries", wish.countries),
        ("languages", wish.languages),
    ):
        wanted = set(values)
        if wanted and not wanted & held[name]:
            found.append(f"{name} are none of {', '.join(sorted(wanted))}")
    for name, values in (
        ("people", map(fold, wish.not_people)),
        ("genres", wish.not_genres),
        ("moods", wish.not_moods),
    ):
        found += [f"{value} was refused" for value in values if value in held[name]]
    return found


def is_bound(wish: Wish) -> bool:
    """Whether ``wish`` holds anything that an item can break."""
    fields = (*HARD_FIELDS, *TITLE_FIELDS[1:], "year_from", "year_to")
    return any(getattr(wish, name) not in {None, ()} for name in fields)


def satisfiable(wish: Wish, items: Iterable[Item], gone: Collection[str] = ()) -> bool:
    """Whether any of ``items`` but those of ids ``gone`` breaks nothing."""
    return any(item.id not in gone and not violations(item, wish) for item in items)


def wish_faults(wish: Wish, checks: Checks, expected: Wish) -> list[str]:
    """What differs between ``wish`` and ``expected``, which is the gold wish with its places resolved."""
    found = []
    for name in HARD_FIELDS:
        want, have = {fold(v) for v in getattr(expected, name)}, {fold(v) for v in getattr(wish, name)}
        if name not in checks.free and want != have:
            found.append(f"{name} {sorted(have)} instead of {sorted(want)}")
    found += [
        f"{name} lacks {sorted(lost)}"
        for name in ("like", "dislike", "seen", "moods")
        if name not in checks.free and (lost := set(getattr(expected, name)) - set(getattr(wish, name)))
    ]
    years, wanted = (wish.year_from, wish.year_to), (expected.year_from, expected.year_to)
    if "years" not in checks.free and years != wanted:
        found.append(f"years {years} instead of {wanted}")
    if "count" in checks.wish.model_fields_set and wish.count != expected.count:
        found.append(f"count {wish.count} instead of {expected.count}")
    return found


def degenerate(text: str, finish_reason: str) -> str | None:
    """What makes a reply degenerate, or None: empty, cut off, looping, or with marks of a slot left in it."""
    words = fold(text).split()
    if len(words) < LEAST_WORDS:
        return "empty"
    if finish_reason == "length" or not _ENDS.search(text):
        return "cut off"
    if _LEFTOVER.search(text):
        return "unfilled slot"
    triples = Counter(zip(words, words[1:], words[2:], strict=False))
    if triples.most_common(1)[0][1] > MOST_REPEATS:
        return "loop"
    sentences = [fold(part) for part in re.split(r"(?<=[.!?])\s+", text)]
    long = [part for part in sentences if len(part.split()) > LEAST_WORDS]
    return "repeated sentence" if len(set(long)) < len(long) else None


def opening(text: str) -> str:
    """The first four words, folded."""
    return " ".join(fold(text).split()[:OPENING_WORDS])


def names_item(text: str, item: Item) -> bool:
    """Whether ``text`` names ``item`` by its title."""
    return re.search(rf"\b{re.escape(fold(item.title))}\b", fold(text)) is not None


def same_topic(read: str, meant: str) -> bool:
    """Whether two topics share enough of their words, endings and little words apart: F1 of `SAME_TOPIC` or more."""
    one, other = _topic(read), _topic(meant)
    return 2 * len(one & other) >= SAME_TOPIC * (len(one) + len(other)) if one and other else one == other


def _count(name: str, read: JsonValue, meant: JsonValue) -> Counts:
    if name == "about":
        if not read or not meant:
            return Counts(0, int(bool(read)), int(bool(meant)))
        same = same_topic(str(read), str(meant))
        return Counts(int(same), int(not same), int(not same))
    have, want = _values(name, read), _values(name, meant)
    return Counts(len(have & want), len(have - want), len(want - have))


def _values(name: str, value: JsonValue) -> set[str]:
    if value is None or value == []:
        return set()
    if isinstance(value, list) and name != "years":
        return {str(one) for one in value}
    return {str(value)}


def _topic(text: str) -> set[str]:
    words: Sequence[str] = [word for word in fold(text).split() if word not in FUNCTION_WORDS]
    return {re.sub(r"(?<=\w{3})(?:ies|es|s|y|e)$", "", word) for word in words}


def _by_errors(counts: Counts) -> tuple[int, int]:
    return counts.extra + counts.missed, -counts.hits
