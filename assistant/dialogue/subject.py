"""Whether a message is a wish or question about films, small talk, something else altogether, or an order.

Words of films and known values tell a wish; without any, the nearest of the hand-written examples in
``language/subjects.yaml`` tells, by the encoder. It rules out only what is clearly not meant; the model decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from assistant.dialogue.edit import ACTS, Act
from assistant.dialogue.scope import cues
from retrieval.lexicon import read_bank

ELSEWHERE, FAR_ELSEWHERE = 0.06, 0.2
"""By how much an example of another subject must be nearer than any wish, in cosine, for a message to be declined.

Far, where it says a genre or mood outright.
"""

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """The text encoder of retrieval."""

    def encode(self, texts: Sequence[str]) -> Vectors: ...


class Subjects:
    """The examples, encoded once."""

    def __init__(self, encoder: Encoder) -> None:
        bank = _bank()
        self._vectors = {name: encoder.encode(list(texts)) for name, texts in bank.items()}

    def likeness(self, vector: Vectors) -> dict[str, float]:
        """The cosine of ``vector`` (dim,) with the nearest example of each subject."""
        return {name: float((vectors @ vector).max()) for name, vectors in self._vectors.items()}


def possible(
    words: str,
    filmic: bool,
    faceted: bool,
    likeness: Callable[[], dict[str, float]],
    *,
    pointing: bool = False,
    firm: bool = False,
) -> tuple[Act, ...]:
    """The acts that ``words`` can be.

    ``filmic`` where they name a film or person, count or give up; ``faceted`` where they say a value of a facet, as
    other things than wishes for films do too, ``firm`` where it is a genre or mood said outright. ``pointing`` words
    ("it", "that") may be about what was shown, or about the weather: the model decides. ``likeness`` is only asked
    where words alone do not tell.
    """
    if cues("orders").search(words):
        return ("off_topic",)
    filmic = filmic or cues("filmic").search(words) is not None
    elsewhere = _elsewhere().search(words) and not cues("screened").search(words)
    if elsewhere or (not (filmic or pointing) and _task().match(words)):
        return ("off_topic",)
    if _chatter().fullmatch(words) or (not faceted and _thanks().match(words) and not _more().search(words)):
        return ("chat",)
    acts = set(ACTS)
    if filmic or faceted:
        acts -= {"off_topic"} if cues("chatty").search(words) else {"off_topic", "chat"}
    if not filmic:
        near = likeness()
        margin = max(near["off_topic"], near["order"]) - max(near["wish"], near["chat"])
        if margin >= (FAR_ELSEWHERE if firm else ELSEWHERE) and not pointing:
            return ("off_topic",)
        if margin > 0:
            acts |= {"off_topic"}
    return tuple(act for act in ACTS if act in acts)


@cache
def _task() -> re.Pattern[str]:
    return re.compile(
        r"(?:(?:please|pls|can you|could you|would you|will you|hey|help me|i need you to|you)[ ,]+)*"
        rf"(?:{_bank_of_cues()['tasks']})\b"
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


@cache
def _bank() -> Mapping[str, Any]:
    return read_bank("assistant.dialogue", "subjects")
