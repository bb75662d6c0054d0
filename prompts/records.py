"""How a wish and a catalogue record are written down for a model: the same lines on device and server.

The functions take anything shaped like `Record` or `WishLike`; this package knows neither catalogue nor dialogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

MAX_KEYWORDS = 5
MAX_CAST = 4


class Record(Protocol):
    """The fields of a catalogue item that prompts show."""

    @property
    def label(self) -> str: ...
    @property
    def genres(self) -> tuple[str, ...]: ...
    @property
    def moods(self) -> tuple[str, ...]: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def people(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def keywords(self) -> tuple[str, ...]: ...
    @property
    def description(self) -> str: ...


class WishLike(Protocol):
    """The fields of a wish that prompts show."""

    @property
    def people(self) -> tuple[str, ...]: ...
    @property
    def not_people(self) -> tuple[str, ...]: ...
    @property
    def genres(self) -> tuple[str, ...]: ...
    @property
    def not_genres(self) -> tuple[str, ...]: ...
    @property
    def moods(self) -> tuple[str, ...]: ...
    @property
    def not_moods(self) -> tuple[str, ...]: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def years(self) -> str: ...
    @property
    def kind(self) -> str | None: ...
    @property
    def about(self) -> str: ...


def plain(text: str) -> str:
    """``text`` on one line without brackets, which are the prompts' own marks for labels and slots."""
    return " ".join(text.replace("[", "(").replace("]", ")").split())


def wish_line(wish: WishLike, liked: Sequence[str] = ()) -> str:
    """A wish in one line. ``liked`` are the labels of liked items, shown as slots ``[T1]``, ``[T2]``."""
    parts = [*wish.genres, *wish.moods]
    if wish.kind:
        parts.append(wish.kind)
    if wish.about:
        parts.append(f"about {wish.about}")
    if wish.people:
        parts.append(f"with {' or '.join(wish.people)}")
    if wish.countries:
        parts.append(f"from {' or '.join(map(str.title, wish.countries))}")
    if wish.languages:
        parts.append(f"in {' or '.join(map(str.title, wish.languages))}")
    if wish.years:
        parts.append(wish.years)
    parts += [f"not {value}" for value in (*wish.not_genres, *wish.not_moods, *wish.not_people)]
    slots = [f"like [T{n}] {plain(label)}" for n, label in enumerate(liked, 1)]
    return ", ".join([*map(plain, parts), *slots]) or "anything"


def short_record(record: Record) -> str:
    """Title, genres, moods and keywords in one line: what ranking reads."""
    fields = (
        record.label,
        ", ".join(record.genres),
        ", ".join(record.moods),
        ", ".join(record.keywords[:MAX_KEYWORDS]),
    )
    return " | ".join(plain(field) for field in fields if field)


def full_record(record: Record) -> str:
    """Every fact of a record that a reply may state, in one line."""
    people = [f"{role}: {', '.join(names[:MAX_CAST])}" for role, names in record.people.items() if names]
    fields = (
        record.label,
        ", ".join(record.genres),
        ", ".join(record.moods),
        ", ".join(record.countries),
        ", ".join(record.languages),
        *people,
        ", ".join(record.keywords[:MAX_KEYWORDS]),
        record.description,
    )
    return " | ".join(plain(field) for field in fields if field)
