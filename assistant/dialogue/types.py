"""What goes into a turn of conversation and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from retrieval.item import Item
from retrieval.wish import Wish

Task = Literal["recommend", "relaxed", "none", "clarify", "answer", "compare", "why", "chat", "decline"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class ChatMessage:
    """One message of the conversation as the client sent it; ``role`` is ``user``, ``assistant`` or ``system``."""

    role: str
    content: str


@dataclass(frozen=True)
class TurnRequest:
    """One turn: the whole conversation so far, ending with a user's message, and how to sample the reply.

    ``wish`` is the wish before the last message where the client kept it; without it, it is read again
    from the conversation. ``model`` is a name the engine serves.
    """

    messages: tuple[ChatMessage, ...]
    model: str
    wish: Wish | None = None
    max_tokens: int = 256
    temperature: float = 0.3
    top_p: float = 0.9
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class WishRequest:
    """A wish as data, to be answered with items and no words.

    ``exclude`` are ids of items that are not wanted back, besides those the wish names. ``model`` is a name the
    engine serves; one ``seed`` gives one order.
    """

    wish: Wish
    model: str
    exclude: tuple[str, ...] = ()
    seed: int | None = None


class Recommendation(BaseModel):
    """A recommended item as clients see it. ``score`` is the share of preference, 0 to 1; ``rank`` starts at 1."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    year: int | None
    rank: int
    score: float
    reason: str


class Adapter(BaseModel):
    """Which adapter answered: none for the base model."""

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    release: str | None = None
    digest: str | None = None
    arm: str = "base"


@dataclass(frozen=True)
class Usage:
    """Tokens over all of the turn's calls to the engine."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True)
class Plan:
    """First event of a turn: what will be spoken about. ``items`` are the records behind ``recommendations``.

    ``recommendation_id`` is None when nothing is recommended; ``relaxed`` are the parts of the wish, in plain words,
    that were given up because nothing fits all of it.
    """

    task: Task
    wish: Wish
    recommendations: tuple[Recommendation, ...]
    items: tuple[Item, ...]
    recommendation_id: str | None
    adapter: Adapter
    relaxed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A piece of the reply, ready to show."""

    text: str


@dataclass(frozen=True)
class Done:
    """Last event of a turn. ``timings`` maps a stage's name to seconds."""

    finish_reason: FinishReason
    usage: Usage
    timings: dict[str, float] = field(default_factory=dict)


Event = Plan | Text | Done
