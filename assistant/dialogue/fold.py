"""How an edit changes a wish: the one place where a wish is carried and corrected across turns.

`fold` is a pure function. A new genre, person, country, language or topic replaces the old one ("back to the
comedies" drops the westerns and keeps the years); moods and refusals add up, a wanted value is no longer refused and
the other way round. "Older" and "newer" are measured against the shown item that the message points at, or else all
that were shown, and never undo each other's work: "older still" only goes further back. What was seen or disliked
stays so until it is liked or given up by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistant.dialogue.edit import Edit
from retrieval.item import Item
from retrieval.wish import FIRST_YEAR, LAST_YEAR, MAX_COUNT, MAX_IDS, MAX_VALUES, Wish


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
    fields["moods"] = _joined(fields["moods"], edit.moods, MAX_VALUES)
    fields["not_moods"] = _without(fields["not_moods"], edit.moods)
    _refuse(fields, "not_moods", edit.not_moods, wanted="moods")
    for name in ("countries", "languages", "kind", "about"):
        fields[name] = getattr(edit, name) or fields[name]
    fields["count"] = min(edit.count or fields["count"], MAX_COUNT)
    _years(fields, edit, _measured(edit, titles, shown))
    return Wish.model_validate(fields)


def _verdicts(fields: dict[str, Any], edit: Edit, titles: Mapping[str, str]) -> None:
    for name in ("like", "dislike", "seen"):
        ids = [titles[label] for label in getattr(edit, name) if label in titles]
        fields[name] = _joined(fields[name], ids, MAX_IDS)
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


def _joined(old: Sequence[str], new: Sequence[str], most: int) -> tuple[str, ...]:
    """``old`` and ``new``; when there are more than ``most``, the oldest go."""
    return tuple(dict.fromkeys([*old, *new]))[-most:]


def _without(old: Sequence[str], gone: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for value in old if value not in gone)


def _replace(fields: dict[str, Any], name: str, values: Sequence[str], refused: str) -> None:
    if values:
        fields[name] = tuple(dict.fromkeys(values))
        fields[refused] = _without(fields[refused], values)


def _refuse(fields: dict[str, Any], name: str, values: Sequence[str], wanted: str) -> None:
    fields[name] = _joined(fields[name], values, MAX_VALUES)
    fields[wanted] = _without(fields[wanted], values)


def _measured(edit: Edit, titles: Mapping[str, str], shown: Sequence[Item]) -> list[int]:
    """The years against which "older" and "newer" are measured."""
    pointed = {titles[label] for label in edit.like if label in titles}
    dated = [item for item in shown if item.year is not None]
    return [item.year for item in [i for i in dated if i.id in pointed] or dated if item.year is not None]


def _years(fields: dict[str, Any], edit: Edit, measured: Sequence[int]) -> None:
    if edit.years is not None:
        # Years said outright hold, whatever is older or newer than them.
        first, last = edit.years
        if first and last and first > last:
            first, last = last, first
        fields["year_from"], fields["year_to"] = first or None, last or None
    elif edit.era == "older":
        fields["year_to"] = last = max(_older(fields, measured), FIRST_YEAR)
        if fields["year_from"] and fields["year_from"] > last:
            fields["year_from"] = None
    elif edit.era == "newer":
        fields["year_from"] = first = min(_newer(fields, measured), LAST_YEAR)
        if fields["year_to"] and fields["year_to"] < first:
            fields["year_to"] = None


def _older(fields: dict[str, Any], measured: Sequence[int]) -> int:
    """The last year that is older than what was shown, or a decade before what was wished."""
    if not measured:
        return int(fields["year_to"] or fields["year_from"] or 1990) - 10
    return min(min(measured) - 1, fields["year_to"] or min(measured))


def _newer(fields: dict[str, Any], measured: Sequence[int]) -> int:
    """The first year that is newer than what was shown, or five years after what was wished."""
    if not measured:
        return int(fields["year_from"] or fields["year_to"] or 2005) + 5
    return max(max(measured) + 1, fields["year_from"] or max(measured))
