"""Which field of an edit each label of a message can go to, read by rule from the words around it.

A title after "seen" is seen, in the reach of a refusal disliked, after "like" liked; a person in the reach of a refusal
is not wanted. Where the words say nothing or contradict themselves, all fields stay open and the model reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant.dialogue.cues import gives_away, gives_up
from assistant.dialogue.scope import HARD, LABEL, Scope, clause, cues, refusals

TITLE_FIELDS = ("like", "dislike", "seen")
PERSON_FIELDS = ("people", "not_people")
NAMED = re.compile(r"\[([tps]\d+) [^\]]*\]")
BUT = re.compile(r"\b(but|however|though|although|instead)\b")
ALL = re.compile(r"\b(all|both|every|everyone|each|none|neither|any|those|these|them)\b")
THEY = re.compile(
    r"\b(it|that(?! is|s)|this(?! (time|week|weekend|year|month|evening|century))|(other|last|same) ones?|"
    r"others|those|these|them|all|both|none|neither|every ?one)\b"
)
AWAY = re.compile(r"\b(no|not|without|hate|drop|skip)\b[^,]*$")
PAST = re.compile(r"\b(seen|saw|watched|rewatched)\b")


@dataclass(frozen=True)
class Stance:
    """The fields that a label can go to. It goes to one for ``sure``, where there is but one and a cue says so."""

    fields: tuple[str, ...]
    sure: bool = False
    needed: bool = False
    """One of the labels of its only field must be in it."""


def stances(
    message: str, shown: Sequence[str] = (), counted: bool = False, faceted: bool = False
) -> Mapping[str, Stance]:
    """The stance to each label that ``message`` carries, and to those of ``shown`` items it can point at without one.

    ``counted`` where it counts off just these, ``faceted`` where it says values of facets.
    """
    text = message.lower()
    scopes = refusals(text)
    found: dict[str, Stance] = {}
    for match in NAMED.finditer(text):
        label = match[1].upper()
        stance = _to_person(text, match, scopes) if label[0] == "P" else _to_title(text, match, scopes)
        # Named twice in two ways: the words are read by the model.
        found[label] = stance if label not in found or found[label] == stance else Stance(_every(label))
    fields = _said(text, scopes)
    # Beside something named, a refusal or liking may be of that alone.
    alone = len(fields) == 1 and (counted or (not found and THEY.search(text) is not None))
    if not counted and THEY.search(text) is None and (found or faceted):
        return found
    every = counted or len(shown) == 1 or ALL.search(text) is not None
    for label in shown:
        found.setdefault(label, Stance(fields, sure=alone and every, needed=alone))
    return found


def _every(label: str) -> tuple[str, ...]:
    return PERSON_FIELDS if label[0] == "P" else TITLE_FIELDS


def _to_person(text: str, match: re.Match[str], scopes: tuple[Scope, ...]) -> Stance:
    if gives_up(text[slice(*clause(text, match.start()))]):
        # "Forget Tom Hanks", "it need not be with Tom Hanks": no longer wanted, and not refused for it.
        return Stance(("not_people",) if AWAY.search(text[: match.start()]) else ())
    refused = any(scope.holds(*match.span()) for scope in scopes)
    return Stance(("not_people",) if refused else ("people",), sure=True)


def _to_title(text: str, match: re.Match[str], scopes: tuple[Scope, ...]) -> Stance:
    start, end = match.span()
    if gives_away(text, start):
        return Stance(())
    after = _after(text, end)
    if cues("known").match(after.lstrip(" ,-")) or _soon("known", after):
        return Stance(("like", "seen")) if cues("liked").search(after) else Stance(("seen",), sure=True)
    holding = [scope for scope in scopes if scope.holds(start, end)]
    if holding:
        between = text[min(scope.start for scope in holding) : start]
        return Stance(("dislike", "seen")) if PAST.search(between) else Stance(("dislike",), sure=True)
    kinds = _before(text, start)
    if _soon("liked", after, most=5):
        kinds = {*kinds, "like"}
    if len(kinds) == 1:
        return Stance(tuple(kinds), sure=True)
    return Stance(tuple(name for name in TITLE_FIELDS if name in kinds) or TITLE_FIELDS)


def _before(text: str, start: int) -> set[str]:
    """The verdicts of the cues before ``start`` in its sentence: those of the last cue, and of one joined to it."""
    first = max((m.end() for pattern in (HARD, BUT) for m in pattern.finditer(text, 0, start)), default=0)
    bare = LABEL.sub(lambda m: "·" * len(m[0]), text)[first:start]
    verdicts = sorted(
        (m.start(), m.end(), field)
        for name, field in (("liking", "like"), ("knowing", "seen"))
        for m in cues(name).finditer(bare)
    )
    if not verdicts:
        return set()
    last = verdicts[-1]
    joined = [one for one in verdicts[:-1] if re.fullmatch(r"\s*(and|&|,)\s*\w*\s*", bare[one[1] : last[0]])]
    return {last[2], *(one[2] for one in joined)}


def _after(text: str, end: int) -> str:
    """What follows up to the next label, sentence or "but"."""
    stop = min((m.start() for p in (HARD, BUT, LABEL) for m in [p.search(text, end)] if m), default=len(text))
    return text[end:stop]


def _soon(name: str, after: str, most: int = 2) -> bool:
    """Whether a cue begins within the next ``most`` words: "the matrix films were great"."""
    match = cues(name).search(after)
    return match is not None and len(after[: match.start()].split()) <= most


def _said(text: str, scopes: tuple[Scope, ...]) -> tuple[str, ...]:
    """The verdicts that ``text`` can give on items that were shown, all where it says none."""
    bare = LABEL.sub(lambda m: "·" * len(m[0]), text)
    found = {"seen"} if cues("knowing").search(bare) or cues("known").search(bare) else set()
    if scopes:
        found |= {"dislike"}
    elif cues("liking").search(bare) or cues("liked").search(bare):
        found |= {"like"}
    return tuple(name for name in TITLE_FIELDS if name in found) or TITLE_FIELDS
