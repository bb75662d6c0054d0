"""Whether a message is a wish or question about films, small talk, something else altogether, or an order.

Words of films and known values tell a wish; without any, the hand-written examples in ``language/subjects.yaml`` tell,
by the encoder. It rules out only what is clearly not meant; the model decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from assistant.dialogue.edit import ACTS, Act
from assistant.dialogue.examples import Encoder, Examples, Vectors
from assistant.dialogue.scope import cues
from retrieval.lexicon import read_bank

NEAR = 0.3
"""A subject that is less likely than the likeliest by no more than this stays possible."""
SURE, FACETED, FIRM = 0.15, 0.35, 0.6
"""By how much another subject must be likelier than any wish for a message to be declined.

The more, where it says a value of a facet or points at something, and where it says a genre or mood outright.
"""


class Subjects:
    """The examples of ``language/subjects.yaml``, fitted once; an order is declined as any other subject is."""

    def __init__(self, encoder: Encoder) -> None:
        bank = read_bank("assistant.dialogue", "subjects")
        joined = {"wish": bank["wish"], "chat": bank["chat"], "off_topic": [*bank["off_topic"], *bank["order"]]}
        self._examples = Examples(joined, encoder)

    def likeness(self, vector: Vectors) -> dict[str, float]:
        """How like each subject the message of ``vector`` (dim,) is."""
        return self._examples.scores(vector)


def possible(
    words: str,
    filmic: bool,
    faceted: bool,
    likeness: Callable[[], dict[str, float]],
    *,
    topical: bool = False,
    pointing: bool = False,
    firm: bool = False,
) -> tuple[Act, ...]:
    """The acts that ``words`` can be.

    ``filmic`` where they name a film or person, count or give up; ``topical`` where they say what it is about, as a
    poem is too; ``faceted`` where they say a value of a facet, as
    other things than wishes for films do too, ``firm`` where it is a genre or mood said outright. ``pointing`` words
    ("it", "that") may be about what was shown, or about the weather: the model decides. ``likeness`` is only asked
    where words alone do not tell.
    """
    if cues("orders").search(words):
        return ("off_topic",)
    screened = cues("screened").search(words) is not None
    of_films = cues("filmic").search(words) is not None
    elsewhere = _elsewhere().search(words) and not screened
    if elsewhere or (not (filmic or of_films or pointing) and _task().match(words)):
        return ("off_topic",)
    if _chatter().fullmatch(words) or (not faceted and _thanks().match(words) and not _more().search(words)):
        return ("chat",)
    spoken = filmic or topical
    filmic = spoken or of_films
    acts = set(ACTS)
    if filmic or faceted:
        acts -= {"off_topic"} if cues("chatty").search(words) else {"off_topic", "chat"}
    # Other things are recommended and suggested too.
    if filmic and (spoken or screened or firm):
        return tuple(act for act in ACTS if act in acts)
    near = likeness()
    margin = near["off_topic"] - max(near["wish"], near["chat"])
    if margin >= (FIRM if filmic or firm else FACETED if faceted or pointing else SURE):
        return ("off_topic",)
    if not (filmic or faceted):
        acts &= _likely(near)
    elif margin > 0 and not filmic:
        acts |= {"off_topic"}
    return tuple(act for act in ACTS if act in acts)


def _likely(near: Mapping[str, float]) -> set[Act]:
    """The acts of the subjects that are about as likely as the likeliest."""
    least = max(near.values()) - NEAR
    wishes = {act for act in ACTS if act not in {"chat", "off_topic"}}
    acts: dict[str, set[Act]] = {"wish": wishes, "chat": {"chat"}, "off_topic": {"off_topic"}}
    return {act for subject, score in near.items() if score >= least for act in acts[subject]}


@cache
def _task() -> re.Pattern[str]:
    return re.compile(
        r"(?:(?:please|pls|can you|could you|would you|will you|hey|help me|i need you to|you)[ ,]+)*"
        rf"(?:{_bank_of_cues()['tasks']})\b(?!-)"
    )


@cache
def _elsewhere() -> re.Pattern[str]:
    bank = _bank_of_cues()
    return re.compile(rf"\b(?:{bank['asking_for']})\b(?: (?:{bank['plain_before']}))* (?:{bank['other_things']})s?\b")


@cache
def _chatter() -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{_bank_of_cues()['chatter']})(?![^\W_])[ ,!.;)-]*)+")


@cache
def _thanks() -> re.Pattern[str]:
    return re.compile(
        rf"(?:(?:ok|okay|great|perfect|cool|lovely|right|well|and|many|oh)[ ,!.]+)*(?:{_bank_of_cues()['thanking']})\b"
    )


@cache
def _more() -> re.Pattern[str]:
    return re.compile(rf"(?:\b(?:{_bank_of_cues()['asking_more']})\b|\?)")


def _bank_of_cues() -> Mapping[str, Any]:
    return read_bank("assistant.dialogue", "reading")
