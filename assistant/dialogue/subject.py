"""Whether a message is a wish or question about films, small talk, something else altogether, or an order.

Words of films and known values tell a wish; without any, the nearest of the hand-written examples in
``language/subjects.yaml`` tells, by the encoder. It only rules out what is clearly not meant: the model decides the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from assistant.dialogue.edit import ACTS, Act
from assistant.dialogue.scope import cues
from retrieval.lexicon import read_bank

CLEARLY_ELSEWHERE = 0.12
"""By how much an example of another subject must be nearer than any wish, in cosine, for a message to be declined."""
NEAR = 0.35
"""The least cosine with an example that says anything."""

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


def possible(words: str, filmic: bool, likeness: dict[str, float]) -> tuple[Act, ...]:
    """The acts that ``words`` can be; ``filmic`` where they name a film, a person or a value of a facet."""
    if cues("orders").search(words):
        return ("off_topic",)
    wish, other = likeness["wish"], max(likeness["off_topic"], likeness["order"])
    spoken = filmic or cues("filmic").search(words) is not None
    if other >= NEAR and other - max(wish, likeness["chat"]) >= CLEARLY_ELSEWHERE and not spoken:
        return ("off_topic",)
    if spoken:
        return tuple(act for act in ACTS if act != "off_topic")
    return ACTS


@cache
def _bank() -> dict[str, Any]:
    return read_bank("assistant.dialogue", "subjects")
