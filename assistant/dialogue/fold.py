"""How an edit changes a wish: the one place where a wish is carried and corrected across turns.

`fold` is a pure function. A new genre, person, country, language or topic replaces the old one; moods and
refusals add up, a wanted value is no longer refused and the other way round; "older" and "newer" are measured
against what was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistant.dialogue.edit import Edit
from retrieval.item import Item
from retrieval.wish import FIRST_YEAR, LAST_YEAR, MAX_COUNT, Wish

RECENT = 50


def fold(wish: Wish, edit: Edit, titles: Mapping[str, str], people: Mapping[str, str], shown: Sequence[Item]) -> Wish:
    """``wish`` after ``edit``.

    ``titles`` maps labels T and S to item ids, ``people`` labels P to names; a label that is not there is
    passed over. ``shown`` are the items of the last reply.
    """
    if edit.act != "find":
        return wish
    fields: dict[str, Any] = wish.model_dump()
    for part in edit.clear:
        _clear(fields, part)
    _verdicts(fields, edit, titles)
    _replace(fields, "people", [people[label] for label in edit.people if label in people], refused="not_people")
    _refuse(fields, "not_people", [people[label] for label in edit.not_people if label in people], wanted="people")
    _replace(fields, "genres", edit.genres, refused="not_genres")
    _refuse(fields, "not_genres", edit.not_genres, wanted="genres")
    fields["moods"] = _joined(fields["moods"], edit.moods)
    fields["not_moods"] = _without(fields["not_moods"], edit.moods)
    _refuse(fields, "not_moods", edit.not_moods, wanted="moods")
    for name in ("countries", "languages", "kind", "about"):
        fields[name] = getattr(edit, name) or fields[name]
    fields["count"] = min(edit.count or fields["count"], MAX_COUNT)
    _years(fields, edit, shown)
    return Wish.model_validate(fields)


def _verdicts(fields: dict[str, Any], edit: Edit, titles: Mapping[str, str]) -> None:
    for name in ("like", "dislike", "seen"):
        ids = [titles[label] for label in getattr(edit, name) if label in titles]
        fields[name] = _joined(fields[name], ids)[-RECENT:]
        if name != "seen":
            other = "dislike" if name == "like" else "like"
            fields[other] = _without(fields[other], ids)


def _clear(fields: dict[str, Any], part: str) -> None:
    empty = Wish().model_dump()
    names = {
        "all": [name for name in empty if name not in {"seen", "dislike"}],
        "people": ["people", "not_people"],
        "genres": ["genres", "not_genres"],
        "moods": ["moods", "not_moods"],
        "years": ["year_from", "year_to"],
    }.get(part, [part])
    for name in names:
        if name in empty:
            fields[name] = empty[name]


def _joined(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*old, *new]))


def _without(old: Sequence[str], gone: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for value in old if value not in gone)


def _replace(fields: dict[str, Any], name: str, values: Sequence[str], refused: str) -> None:
    if values:
        fields[name] = tuple(dict.fromkeys(values))
        fields[refused] = _without(fields[refused], values)


def _refuse(fields: dict[str, Any], name: str, values: Sequence[str], wanted: str) -> None:
    fields[name] = _joined(fields[name], values)
    fields[wanted] = _without(fields[wanted], values)


def _years(fields: dict[str, Any], edit: Edit, shown: Sequence[Item]) -> None:
    if edit.years is not None:
        first, last = edit.years
        if first and last and first > last:
            first, last = last, first
        fields["year_from"], fields["year_to"] = first or None, last or None
    if edit.era is None:
        return
    years = [item.year for item in shown if item.year is not None]
    if edit.era == "older":
        # Older than the oldest shown; a lower bound that no longer leaves room is given up.
        last = min(years) - 1 if years else (fields["year_to"] or fields["year_from"] or 1990) - 10
        fields["year_to"] = last = max(last, FIRST_YEAR)
        if fields["year_from"] and fields["year_from"] > last:
            fields["year_from"] = None
    else:
        first = max(years) + 1 if years else (fields["year_from"] or fields["year_to"] or 2005) + 5
        fields["year_from"] = first = min(first, LAST_YEAR)
        if fields["year_to"] and fields["year_to"] < first:
            fields["year_to"] = None
