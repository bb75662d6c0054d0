"""The regular expression that a reply is decoded under: which slots it may hold, and behind which words.

A small model writes "If you want" whether or not the wish gives anything to say there, and "[years]" without "from".
What an expression cannot well hold, such as a slot twice in one sentence, is left to the verifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

TEXT = r"[^\[\]]*"
ONLY_BEHIND: Mapping[str, str] = {
    "place": "from in of to with",
    "years": "from in of before after the",
    "about": "about for to of with on into",
    "mood": "something is it be a and also so",
    "genre": "for of this that the your some like",
    "a_genre": "want wanted for of like with",
    "T": "liked loved enjoyed like with of to both and after by named follow between than took for if",
    "year": "from in of before after since",
    "countries": "from in of to with",
    "languages": "in as is",
}
"""The words right behind which alone a slot of some kinds has a place, if not at the head of a text."""
NOT_BEHIND: Mapping[str, str] = {
    "title": "want something about from",
    "cast": "want something about from for of to follow by try",
    "director": "want something about from for of to follow try",
    "moods": "want about from for of to with try",
    "genres": "want about from for of to with try something",
}
"""The words right behind which a slot of the other kinds has none."""
SENTENCE = rf"({TEXT}[.!?:…]\s|{TEXT}[\"“]|\s)?"
"""What stands before a description, which is a sentence of its own."""
OPENINGS = (
    "How about",
    "I'd start with",
    "I think",
    "My first pick is",
    "Let me suggest",
    "You might enjoy",
    "I would go for",
    "The one I'd try first is",
    "I have an idea:",
    "Of all I found,",
    "Gladly. I'd begin with",
    "Of course. Have a look at",
    "Sure, here is one to begin with:",
)
"""How a recommendation begins that repeats nothing of the wish; a title follows."""


def texts_with(wish: Iterable[str], facts: Iterable[str], openings: Sequence[str] = ()) -> str:
    """What every text matches that holds no brackets but the slots ``wish`` and ``facts``, written without them here.

    Where there are ``openings``, it begins with one of them and the title of an item.
    """
    wish, facts = list(wish), list(facts)
    places: dict[str, list[str]] = {}
    for slot in (*wish, *facts):
        places.setdefault(_before(slot), []).append(re.escape(slot))
    held = "|".join(rf"{before}\[({'|'.join(slots)})\]" for before, slots in places.items())
    titles = "|".join(slot for slot in facts if "." not in slot)
    begun = rf"({'|'.join(map(re.escape, openings))}) \[({titles})\]" if openings and titles else ""
    return f"{begun}({held})*{TEXT}" if held else TEXT


def _before(slot: str) -> str:
    """What stands before ``slot``: nothing, a blank, or text up to a fitting word or an opening mark."""
    place, _, name = slot.rpartition(".")
    if place and name == "about":
        return SENTENCE
    kind = name.rstrip("0123456789") or "title"
    if kind in ONLY_BEHIND:
        return rf"(({TEXT}[\s\"“(])?({'|'.join(_at_heads(ONLY_BEHIND[kind]))})\s)?"
    return rf"(({TEXT}\s)?{_other_than(_at_heads(NOT_BEHIND.get(kind, '')))}\s|{TEXT}[\"“(]|\s)?"


def _at_heads(words: str) -> list[str]:
    """``words``, and as they begin a sentence."""
    return [form for word in words.split() for form in (word, word.capitalize())]


def _other_than(words: Iterable[str]) -> str:
    """What every word matches but ``words``: letter by letter, since the engine's expressions cannot look ahead."""
    rests: dict[str, list[str]] = {}
    for word in filter(None, words):
        rests.setdefault(word[0], []).append(word[1:])
    others = rf"[^\s\[\]{''.join(sorted(rests))}][^\s\[\]]*"
    begun = (first + _other_than(more) + ("" if "" in more else "?") for first, more in sorted(rests.items()))
    return f"({'|'.join((others, *begun))})"
