"""What goes into a turn of conversation and what comes out of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from assistant.engine.soft_prompts import SoftPrompt
from retrieval.item import Item
from retrieval.wish import Wish

Task = Literal["recommend", "relaxed", "none", "clarify", "answer", "compare", "why", "chat", "decline"]
FinishReason = Literal["stop", "length"]
Stage = Literal["understand", "retrieve", "rank", "respond"]
Objection = Literal[
    "unknown_slot",
    "broken_slot",
    "misplaced_slot",
    "repeated_sentence",
    "repeated_words",
    "foreign_number",
    "foreign_name",
    "foreign_value",
]
"""What can be wrong with a sentence. Objections are counted and traced, so the words at fault are no part of them."""


@dataclass(frozen=True)
class ChatMessage:
    """One message of the conversation as the client sent it; ``role`` is ``user``, ``assistant`` or ``system``."""

    role: str
    content: str


class Adapter(BaseModel):
    """Which adapter answered: none for the base model."""

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    release: str | None = None
    digest: str | None = None
    arm: str = "base"


@dataclass(frozen=True, eq=False)
class Voice:
    """Who chooses and replies in a turn: a release's LoRA by its name in the engine, with its soft prompt.

    ``soft_prompt`` is float32 (tokens, hidden). ``recommendation_id`` makes the id of what is recommended.
    """

    model: str
    soft_prompt: SoftPrompt | None = None
    adapter: Adapter = field(default_factory=Adapter)
    recommendation_id: Callable[[], str] = lambda: f"rec_{secrets.token_hex(12)}"
    shadow: Shadow | None = None


@dataclass(frozen=True, eq=False)
class Shadow:
    """A voice that chooses beside the one that is heard, among the same candidates, and is itself heard by nobody.

    ``note`` is told the ids that were recommended and those that it would have recommended, best first, and how many
    seconds it took to choose; None where it failed.
    """

    voice: Voice
    note: Callable[[tuple[str, ...], tuple[str, ...], float | None], None]


@dataclass(frozen=True)
class TurnRequest:
    """One turn: the whole conversation so far, ending with a user's message, and how to sample the reply.

    ``wish`` is the wish before the last message where the client kept it; without it, it is read again
    from the conversation. ``model`` is a name the engine serves; ``voice`` speaks instead of it once the message is
    understood.
    """

    messages: tuple[ChatMessage, ...]
    model: str
    wish: Wish | None = None
    max_tokens: int = 256
    temperature: float = 0.3
    top_p: float = 0.9
    seed: int | None = None
    stop: tuple[str, ...] = ()
    voice: Voice | None = field(default=None, compare=False)

    @property
    def speaker(self) -> Voice:
        """Who chooses and replies."""
        return self.voice or Voice(self.model)


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
    voice: Voice | None = field(default=None, compare=False)


class Recommendation(BaseModel):
    """A recommended item as clients see it. ``score`` is the share of preference, 0 to 1; ``rank`` starts at 1."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    year: int | None
    rank: int
    score: float
    reason: str


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


class StageTrace(BaseModel):
    """What one stage took: seconds by the clock, and what it asked of the engine.

    ``cache_hits`` are readings known from an earlier turn, ``retries`` calls made again because an answer did not
    hold, ``objections`` the sentences that were not shown, counted by what was wrong with them.
    """

    model_config = ConfigDict(frozen=True)

    stage: Stage
    seconds: float
    engine_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_hits: int = 0
    retries: int = 0
    objections: Mapping[Objection, int] = {}


class Trace(BaseModel):
    """What a turn took, in seconds from its start; never a word of what was said.

    ``stages`` are those it went through, in order. The reply's ``first_token`` comes before its ``first_text``, which
    is shown once its sentence is checked; both are null where there was none.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float = 0.0
    first_token: float | None = None
    first_text: float | None = None
    stages: tuple[StageTrace, ...] = ()

    @property
    def timings(self) -> dict[Stage, float]:
        """Seconds by stage."""
        return {one.stage: one.seconds for one in self.stages}


class LessonReply(BaseModel):
    """A reply as the model wrote it, and what its prompt was told: the arguments of `prompts.build.respond_messages`.

    ``text`` still has its slots (``[1]`` and no title); what did not hold and was not shown is no part of it.
    """

    model_config = ConfigDict(frozen=True)

    task: Task
    message: Annotated[str, Field(repr=False)]
    text: Annotated[str, Field(repr=False)]
    liked: Annotated[tuple[str, ...], Field(repr=False)] = ()
    missing: Annotated[str, Field(repr=False)] = ""
    slots: tuple[str, ...] = ()


class Lesson(BaseModel):
    """What a person's own device can learn from in a turn that recommends; the server keeps nothing of it.

    ``candidates`` are the ids of all that was ranked, best first, those not recommended too. ``reply`` is None where
    the model did not write it, or where it was cut: by its limit, or before a stop.
    """

    model_config = ConfigDict(frozen=True)

    candidates: tuple[str, ...]
    reply: LessonReply | None = None


@dataclass(frozen=True)
class Done:
    """Last event of a turn; ``lesson`` is None when nothing was recommended."""

    finish_reason: FinishReason
    usage: Usage
    trace: Trace = field(default_factory=Trace)
    lesson: Lesson | None = None


Event = Plan | Text | Done
