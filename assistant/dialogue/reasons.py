"""Says in a few words what in a record answers the wish; computed from both, never generated."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.item import Item
from retrieval.wish import Wish


def reason(wish: Wish, item: Item, liked: Sequence[str] = ()) -> str:
    """For example ``science fiction, suspenseful, 1979, like Solaris (1972)``; never empty."""
    parts = [value for value in wish.genres if value in item.genres]
    parts += [value for value in wish.moods if value in item.moods]
    parts += [name for name in wish.people if name in item.names]
    parts += [value for value in wish.countries if value in item.countries]
    parts += [f"in {value}" for value in wish.languages if value in item.languages]
    if item.year is not None and wish.years:
        parts.append(str(item.year))
    topic = set(wish.about.lower().split())
    parts += [word for word in item.keywords if topic & set(word.split())][:2]
    if liked:
        parts.append(f"like {liked[-1]}")
    return ", ".join(dict.fromkeys(parts)) or ", ".join(item.genres[:2]) or item.kind
