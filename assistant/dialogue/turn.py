"""One turn of conversation: understand, retrieve, rank, respond, as a chain of LangChain runnables.

    request ─ understand ─┬─ retrieve ─ rank ─ plan ─┬─ Plan
    wish as data ─────────┘                          └─ respond ─ Text … Done

Each stage adds to the `Turn` it is given. Nothing of a conversation is stored or logged: what a stage knows
is gone when the turn ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableLambda

from assistant.dialogue.edit import Act
from assistant.dialogue.effort import Effort
from assistant.dialogue.rank import MOST_CANDIDATES, Ranked, Ranker
from assistant.dialogue.reasons import reason
from assistant.dialogue.respond import Brief, Outcome, Responder
from assistant.dialogue.stops import Stops
from assistant.dialogue.types import (
    ChatMessage,
    Done,
    Event,
    Lesson,
    LessonReply,
    Plan,
    Recommendation,
    Shadow,
    Stage,
    StageTrace,
    Task,
    Text,
    Trace,
    TurnRequest,
    Usage,
    Voice,
    WishRequest,
)
from assistant.dialogue.understand import Reading, Understander
from assistant.engine.gateway import Engine
from assistant.errors import EngineError
from prompts.build import MAX_HISTORY, ChatTokenizer
from prompts.records import wish_line
from retrieval.item import Item
from retrieval.search import Candidate, Library
from retrieval.wish import Wish

WARMING = "something to begin with"
SHADOW_SECONDS = 5.0
"""How long a turn that is over waits for its shadow."""
WITHOUT_ITEMS: dict[Act, Task] = {"find": "clarify", "chat": "chat", "off_topic": "decline"}


@dataclass(frozen=True)
class Turn:
    """A turn on its way through the stages."""

    request: TurnRequest
    reading: Reading | None = None
    candidates: tuple[Candidate, ...] = ()
    relaxed: tuple[str, ...] = ()
    ranked: tuple[Ranked, ...] = ()
    stages: tuple[StageTrace, ...] = ()

    @property
    def read(self) -> Reading:
        """The reading; RuntimeError before the turn was understood."""
        if self.reading is None:
            raise RuntimeError("the turn has not been understood yet")
        return self.reading

    @property
    def recommended(self) -> tuple[Ranked, ...]:
        """The best of what was ranked: as many as were wished for."""
        return self.ranked[: self.read.wish.count]

    def after(self, stage: Stage, started: float, effort: Effort | None = None, **found: Any) -> Turn:
        """This turn with what ``stage``, begun at ``started``, has ``found``."""
        trace = (effort or Effort()).traced(stage, time.perf_counter() - started)
        return replace(self, stages=(*self.stages, trace), **found)


class Assistant:
    """Answers turns. Safe for concurrent use."""

    def __init__(self, library: Library, engine: Engine, tokenizer: ChatTokenizer) -> None:
        self._library = library
        self._understander = Understander(library, engine, tokenizer)
        self._ranker = Ranker(engine, tokenizer)
        self._responder = Responder(engine, tokenizer, library.catalogue.facets)
        self._choose: Runnable[Turn, Turn] = RunnableLambda(self._retrieve) | RunnableLambda(self._rank)
        self._chain: Runnable[Turn, Turn] = RunnableLambda(self._understand) | self._choose

    def prepare(self) -> None:
        """Loads what takes seconds and needs no engine: the encoder, the linker and the examples of reading."""
        self._understander.prepare()

    async def warm(self, model: str) -> None:
        """Takes a turn that nobody sees, so that no person's is the first to fill the engine's caches."""
        request = TurnRequest((ChatMessage("user", WARMING),), model, Wish(about=WARMING), max_tokens=1)
        async with aclosing(self.stream(request)) as events:
            async for _ in events:
                pass

    async def stream(self, request: TurnRequest) -> AsyncGenerator[Event, None]:
        """A `Plan`, then `Text` pieces, then `Done`. Closing the iterator aborts the generation in the engine."""
        began = time.perf_counter()
        turn = await self._chain.ainvoke(Turn(request))
        async with self._shadowed(turn), aclosing(self._spoken(turn, request, began)) as events:
            async for event in events:
                yield event

    async def _spoken(self, turn: Turn, request: TurnRequest, began: float) -> AsyncGenerator[Event, None]:
        brief = self._brief(turn)
        yield self._plan(turn, brief)
        started, outcome, stops, text_at = time.perf_counter(), Outcome(), Stops(request.stop), None
        async with aclosing(self._responder.stream(brief, request, outcome)) as sentences:
            async for sentence in sentences:
                if shown := stops.push(sentence):
                    text_at = text_at or time.perf_counter()
                    yield Text(shown)
                if stops.reached:
                    outcome.finish_reason = "stop"
                    break
        if rest := stops.rest():
            text_at = text_at or time.perf_counter()
            yield Text(rest)
        stages = turn.after("respond", started, outcome.effort).stages
        trace = Trace(
            seconds=round(time.perf_counter() - began, 6),
            first_token=_since(began, outcome.token_at),
            first_text=_since(began, text_at),
            stages=stages,
        )
        yield Done(outcome.finish_reason, _usage(stages), trace, _lesson(turn, brief, outcome))

    async def recommend(self, request: WishRequest) -> tuple[Plan, Done]:
        """What is recommended for a wish that needs no understanding: the same choice as in a turn, without a reply."""
        began = time.perf_counter()
        wish = await asyncio.to_thread(self._library.meant, request.wish)
        asked = TurnRequest((), request.model, wish, seed=request.seed, voice=request.voice)
        turn = await self._choose.ainvoke(Turn(asked, Reading.of(wish, request.exclude)))
        async with self._shadowed(turn):
            brief = self._brief(turn)
            plan = self._plan(turn, brief)
        trace = Trace(seconds=round(time.perf_counter() - began, 6), stages=turn.stages)
        return plan, Done("stop", _usage(turn.stages), trace, _lesson(turn, brief, Outcome()))

    async def _understand(self, turn: Turn) -> Turn:
        started = time.perf_counter()
        request = turn.request
        reading = await self._understander.read(request.messages, request.wish, request.model)
        return turn.after("understand", started, reading.effort, reading=reading)

    async def _retrieve(self, turn: Turn) -> Turn:
        reading = turn.read
        if reading.edit.act != "find" or self._asks_back(reading):
            return turn
        started = time.perf_counter()
        known = {*reading.past, *reading.named}
        candidates, relaxed = await asyncio.to_thread(
            self._library.search_relaxed, reading.wish, "", MOST_CANDIDATES, known
        )
        return turn.after("retrieve", started, candidates=tuple(candidates), relaxed=tuple(relaxed))

    async def _rank(self, turn: Turn) -> Turn:
        if not turn.candidates:
            return turn
        started = time.perf_counter()
        ranked, effort = await self._ranked(turn, turn.request.speaker)
        return turn.after("rank", started, effort, ranked=ranked)

    async def _ranked(self, turn: Turn, voice: Voice) -> tuple[tuple[Ranked, ...], Effort]:
        """The turn's candidates as ``voice`` ranks them, best first, and what that took."""
        wish = turn.read.wish
        history = self._library.catalogue.many(wish.like[-MAX_HISTORY:])
        return await self._ranker.rank(wish, history, turn.candidates, voice, turn.request.seed or 0)

    @asynccontextmanager
    async def _shadowed(self, turn: Turn) -> AsyncIterator[None]:
        """The shadow, if there is one, chooses meanwhile; whoever waits for the turn hardly waits for it."""
        shadow = turn.request.speaker.shadow
        if shadow is None or not turn.ranked:
            yield
            return
        task = asyncio.create_task(self._choose_in(shadow, turn))
        try:
            yield
            await asyncio.wait({task}, timeout=SHADOW_SECONDS)
        finally:
            task.cancel()

    async def _choose_in(self, shadow: Shadow, turn: Turn) -> None:
        started = time.perf_counter()
        heard = _ids(turn.recommended)
        try:
            ranked, _ = await self._ranked(turn, shadow.voice)
        except EngineError:
            shadow.note(heard, (), None)
        else:
            shadow.note(heard, _ids(replace(turn, ranked=ranked).recommended), time.perf_counter() - started)

    def _asks_back(self, reading: Reading) -> bool:
        """True when there is nothing to go on yet: the first reply to an empty wish is a question.

        A wish that came as data has no message, and nobody to ask.
        """
        return bool(reading.message) and reading.wish.is_empty and not reading.past

    def _brief(self, turn: Turn) -> Brief:
        reading = turn.read
        items = tuple(one.item for one in turn.recommended)
        task, spoken = self._task(turn, items)
        wish = reading.before if task == "why" else reading.wish
        liked = tuple(item.label for item in self._library.catalogue.many(wish.like[-3:]))
        missing = wish_line(wish) if task == "none" else " and ".join(turn.relaxed)
        return Brief(task, wish, spoken, reading.message, liked, missing)

    def _task(self, turn: Turn, items: tuple[Item, ...]) -> tuple[Task, tuple[Item, ...]]:
        reading = turn.read
        act = reading.edit.act
        if act == "find" and not self._asks_back(reading):
            return ("none" if not items else "relaxed" if turn.relaxed else "recommend"), items
        if act in WITHOUT_ITEMS:
            return WITHOUT_ITEMS[act], ()
        about = self._spoken_of(reading)
        if not about:
            return "clarify", ()
        if act == "compare" and len(about) > 1:
            return "compare", about[:2]
        return ("why" if act == "why" else "answer"), about[:1]

    def _spoken_of(self, reading: Reading) -> tuple[Item, ...]:
        """The items a question is about: those it points at, else those named, else those shown."""
        pointed = [reading.titles[label] for label in reading.edit.of if label in reading.titles]
        named = [item_id for label, item_id in reading.titles.items() if label.startswith("T")]
        ids = pointed or named or [item.id for item in reading.shown]
        if reading.edit.act == "compare" and len(set(ids)) < 2:
            ids += [item.id for item in reading.shown]
        return tuple(self._library.catalogue.many(list(dict.fromkeys(ids))))

    def _plan(self, turn: Turn, brief: Brief) -> Plan:
        recommendations = tuple(
            Recommendation(
                id=one.item.id,
                title=one.item.title,
                year=one.item.year,
                rank=rank,
                score=round(one.score, 4),
                reason=reason(turn.read.wish, one.item, brief.liked),
            )
            for rank, one in enumerate(turn.recommended, 1)
        )
        voice = turn.request.speaker
        identity = voice.recommendation_id() if recommendations else None
        return Plan(brief.task, turn.read.wish, recommendations, brief.items, identity, voice.adapter, turn.relaxed)


def _since(began: float, at: float | None) -> float | None:
    """Seconds from ``began`` to ``at``, where that came."""
    return None if at is None else round(at - began, 6)


def _ids(ranked: Iterable[Ranked]) -> tuple[str, ...]:
    return tuple(one.item.id for one in ranked)


def _lesson(turn: Turn, brief: Brief, outcome: Outcome) -> Lesson | None:
    """What a device can learn from in ``turn``, whose reply to ``brief`` went as ``outcome`` says."""
    if not turn.ranked:
        return None
    reply = None
    if outcome.written is not None and outcome.finish_reason == "stop":
        reply = LessonReply(
            task=brief.task,
            message=brief.message,
            text=outcome.written,
            liked=brief.liked,
            missing=brief.missing,
            slots=brief.slots.given,
        )
    return Lesson(candidates=_ids(turn.ranked), reply=reply)


def _usage(stages: tuple[StageTrace, ...]) -> Usage:
    """The tokens of all ``stages``."""
    return sum((Usage(one.prompt_tokens, one.completion_tokens) for one in stages), Usage())
