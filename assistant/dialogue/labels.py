"""Puts labels into a message before what it names: T a title, P a person, S an item shown before.

A title that was just shown is found even where its words are ordinary ones ("heat", "arrival").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from prompts.records import plain
from retrieval.folding import fold
from retrieval.item import Item
from retrieval.linker import Mention
from retrieval.words import FUNCTION_WORDS


@dataclass(frozen=True)
class Labelled:
    """A message with its labels: ``text`` for the model, and what each label points at."""

    text: str
    titles: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)


def labelled(text: str, shown: Sequence[Item], mentions: Sequence[Mention]) -> Labelled:
    """``text`` with labels for its ``mentions``, and for the titles of ``shown`` items that none of them covers."""
    place = {item.id: f"S{n}" for n, item in enumerate(shown, 1)}
    titles: dict[str, str] = {label: item_id for item_id, label in place.items()}
    people: dict[str, str] = {}
    parts, at = [], 0
    for mention in sorted([*mentions, *_of_shown(text, shown, mentions)], key=lambda one: one.start):
        label = _label(mention, place, titles, people)
        parts += [
            plain_keeping_ends(text[at : mention.start]),
            f"[{label} {plain(text[mention.start : mention.end])}]",
        ]
        at = mention.end
    parts.append(plain_keeping_ends(text[at:]))
    return Labelled(re.sub(r"\s+", " ", "".join(parts)).strip(), titles, people)


def _label(mention: Mention, place: dict[str, str], titles: dict[str, str], people: dict[str, str]) -> str:
    if mention.kind == "person":
        label = f"P{len(people) + 1}"
        people[label] = mention.name or mention.surface
        return label
    for item_id in mention.ids:
        if item_id in place:
            return place[item_id]
    label = f"T{1 + sum(name.startswith('T') for name in titles)}"
    titles[label] = mention.ids[0]
    return label


def _of_shown(text: str, shown: Sequence[Item], mentions: Sequence[Mention]) -> Iterator[Mention]:
    taken = [(mention.start, mention.end) for mention in mentions]
    for item in shown:
        if set(fold(item.title).split()) <= FUNCTION_WORDS:
            continue
        title = re.escape(re.sub(r"^(the|an?) ", "", item.title, flags=re.I))
        for match in re.finditer(rf"(?<!\w)((the|an?) )?{title}(?!\w)", text, re.I):
            if all(match.end() <= start or end <= match.start() for start, end in taken):
                taken.append(match.span())
                yield Mention("title", *match.span(), match[0], (item.id,))


def plain_keeping_ends(text: str) -> str:
    """`plain`, but a blank at either end stays."""
    body = plain(text)
    if not body:
        return " " if text else ""
    return f"{' ' if text[0].isspace() else ''}{body}{' ' if text[-1].isspace() else ''}"
