"""The regular expression that a reply is decoded under: which slots it may hold, and behind which words.

A small model writes "If you want" whether or not the wish gives anything to say there, "[years]" without "from", and
tells of the cast when it is asked who directed.
What an expression cannot well hold, such as a slot twice in one sentence, is left to the verifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

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

ASKED: Mapping[str, re.Pattern[str]] = {
    "director": re.compile(r"\bdirect(ed|or|ors|s)\b|\bwho made\b|\bmade by\b|\bfilm-?makers?\b", re.I),
    "cast": re.compile(r"\b(starred|starring|stars?|cast|actors?|actress(es)?|who('s| is|s) in|plays?)\b", re.I),
    "year": re.compile(
        r"\b(when (was|is|did)|what year|which year|how old is (it|that|this|the (first|second|third|film|movie)))\b",
        re.I,
    ),
    "countries": re.compile(r"\b((what|which) countr(y|ies)|where\b.*\b(made|filmed|shot|from))\b", re.I),
    "languages": re.compile(r"\b(what|which) languages?\b", re.I),
}
"""The words that ask for a fact of an item."""
TOLD: Mapping[str, str] = {
    "director": "was directed by",
    "cast": "stars",
    "year": "is from|came out in",
    "countries": "was made in|comes from",
    "languages": "is in",
}
"""How the answer tells it."""


def asked(message: str) -> tuple[str, ...]:
    """The facts of an item that the question ``message`` asks for in so many words."""
    return tuple(name for name, words in ASKED.items() if words.search(message))


def opening(openings: Iterable[str], places: int) -> str:
    """What begins with one of ``openings`` and the title of one of as many items as ``places``."""
    begins = "|".join(one.replace(".", r"\.") for one in openings)
    return rf"({begins}) \[({'|'.join(map(str, range(1, places + 1)))})\]"


def telling(facts: Iterable[str]) -> str:
    """What begins by telling one of ``facts``: "1.director" and the like."""
    told = []
    for fact in facts:
        place, _, field = fact.partition(".")
        told.append(rf"(It|\[{place}\]) ({TOLD[field]}) \[{place}\.{field}\]")
    return f"({'|'.join(told)})"


def texts_with(wish: Iterable[str], facts: Iterable[str], begun: str = "") -> str:
    """What every text matches that holds no brackets but the slots ``wish`` and ``facts``, written without them here.

    Where something is to be ``begun`` with, it begins with that.
    """
    places: dict[str, list[str]] = {}
    for slot in (*wish, *facts):
        places.setdefault(_before(slot), []).append(re.escape(slot))
    held = "|".join(rf"{before}\[({'|'.join(slots)})\]" for before, slots in places.items())
    return f"{begun}({held})*{TEXT}" if held else TEXT


def _before(slot: str) -> str:
    """What stands before ``slot``: nothing, a blank, or text up to a fitting word or an opening mark."""
    place, _, name = slot.rpartition(".")
    if place and name == "about":
        return SENTENCE
    return _before_kind(name.rstrip("0123456789") or "title")


@cache
def _before_kind(kind: str) -> str:
    if kind in ONLY_BEHIND:
        return rf"(({TEXT}[\s\"“(])?({'|'.join(map(_at_a_head, ONLY_BEHIND[kind].split()))})\s)?"
    return rf"(({TEXT}\s)?{_other_than(NOT_BEHIND.get(kind, '').split(), at_a_head=True)}\s|{TEXT}[\"“(]|\s)?"


def _at_a_head(word: str) -> str:
    """``word``, or as it begins a sentence."""
    return f"[{word[0]}{word[0].upper()}]{word[1:]}"


def _other_than(words: Iterable[str], *, at_a_head: bool = False) -> str:
    """What every word matches but ``words``: letter by letter, since the engine's expressions cannot look ahead.

    With ``at_a_head`` they are none of them as they begin a sentence either.
    """
    rests: dict[str, list[str]] = {}
    for word in filter(None, words):
        rests.setdefault(f"{word[0]}{word[0].upper()}" if at_a_head else word[0], []).append(word[1:])
    others = rf"[^\s\[\]{''.join(sorted(rests))}][^\s\[\]]*"
    begun = (f"[{first}]{_other_than(more)}{'' if '' in more else '?'}" for first, more in sorted(rests.items()))
    return f"({'|'.join((others, *begun))})"
