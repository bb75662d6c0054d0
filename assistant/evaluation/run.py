"""Runs an assistant over the gold set and over ReDial, turn by turn, and gathers the scores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from assistant.dialogue.slots import listed
from assistant.dialogue.types import ChatMessage, Done, Event, Plan, Text, TurnRequest, Voice
from assistant.dialogue.understand import Reading
from assistant.errors import EngineError
from assistant.evaluation.gold import Conversation, Gold, GoldTurn, Utterance
from assistant.evaluation.judge import Expectation, Judge, Part, Score, Seen
from assistant.evaluation.record import Calls, Recorder
from assistant.evaluation.redial import RedialTurn, ids_by_label
from assistant.evaluation.score import Counts, opening, resolved, slot_counts
from retrieval.folding import fold
from retrieval.search import Library
from retrieval.wish import Wish

SEED = 7
CONCURRENCY = 4
Progress = Callable[[str, int, int], None]


class Talker(Protocol):
    """What answers a turn; see `assistant.dialogue.turn.Assistant`."""

    def stream(self, request: TurnRequest) -> AsyncIterator[Event]: ...


class Reader(Protocol):
    """What reads a message; see `assistant.dialogue.understand.Understander`."""

    async def read(self, messages: Sequence[ChatMessage], wish: Wish | None, model: str) -> Reading: ...


@dataclass(frozen=True)
class Subject:
    """What is measured. ``assistant`` and ``reader`` speak to the engine through ``recorder``.

    ``voice`` chooses and replies in the place of ``model``, which understands.
    """

    assistant: Talker
    reader: Reader
    recorder: Recorder
    library: Library
    model: str
    voice: Voice | None = None


@dataclass
class Results:
    """Everything seen in a run: ``timings`` in seconds by stage, ``slots`` by utterance and field."""

    scores: list[Score] = field(default_factory=list)
    slots: dict[str, dict[str, Counts]] = field(default_factory=dict)
    openings: list[str] = field(default_factory=list)
    timings: dict[str, list[float]] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    recalled: list[float] = field(default_factory=list)
    seconds: float = 0.0


async def run(
    subject: Subject,
    gold: Gold,
    redial: Sequence[RedialTurn] = (),
    progress: Progress | None = None,
    concurrency: int = CONCURRENCY,
) -> Results:
    """The results over all of ``gold`` and ``redial``; at most ``concurrency`` turns at a time.

    A turn that the engine fails counts as one that was not answered; the run goes on.
    """
    started = time.perf_counter()
    runner = _Runner(subject, asyncio.Semaphore(concurrency))
    await _each("messages", (runner.utterance(one) for one in gold.utterances), len(gold.utterances), progress)
    talks = (runner.conversation(one) for one in gold.conversations)
    await _each("conversations", talks, len(gold.conversations), progress)
    await _each("ReDial turns", (runner.redial(one) for one in redial), len(redial), progress)
    runner.results.seconds = time.perf_counter() - started
    return runner.results


class _Runner:
    """One run: what it measures, and the results so far."""

    def __init__(self, subject: Subject, free: asyncio.Semaphore) -> None:
        self._subject, self._free = subject, free
        self._judge = Judge(subject.library)
        self._ids = ids_by_label(subject.library.catalogue)
        self.results = Results()

    async def utterance(self, one: Utterance) -> None:
        """Reads the message for its slots, and has it answered."""
        shown = self._subject.library.catalogue.many(one.shown)
        messages = [ChatMessage("user", one.message)]
        if shown:
            said = f"You could try {listed([item.label for item in shown])}."
            messages = [ChatMessage("user", "Hello!"), ChatMessage("assistant", said), *messages]
        async with self._free:
            await self._read(one, messages)
            constraints = one.constraints
            if one.edit.era and shown and "era" not in one.accept:
                constraints = _bounded(constraints, one.edit.era, [item.year for item in shown])
            off_topic = one.acts == ("off_topic",)
            expected = Expectation(
                part="utterance",
                id=one.id,
                said=one.message,
                recommends=None if one.acts != (one.edit.act,) or one.edit.act == "find" else False,
                constraints=constraints,
                declines=off_topic,
                before=one.shown,
            )
            await self._turn(messages, Wish(), expected)

    async def conversation(self, one: Conversation) -> None:
        """Has the conversation, the client sending only its messages, and checks each turn."""
        messages: list[ChatMessage] = []
        state = _State()
        for number, turn in enumerate(one.turns, 1):
            messages.append(ChatMessage("user", turn.message))
            said = "\n".join(message.content for message in messages if message.role == "user")
            expected = _expectation(f"{one.id}.{number}", said, turn, state, self._subject.library)
            async with self._free:
                seen = await self._turn(messages, None, expected)
            if seen is None:
                return
            messages.append(ChatMessage("assistant", seen.text))
            if seen.plan.recommendations:
                state.list = tuple(one.id for one in seen.plan.recommendations)
                state.before = (*state.before, *state.list)

    async def redial(self, one: RedialTurn) -> None:
        """Has the turn answered; its own wish is what must hold."""
        said = "\n".join(message.content for message in one.messages if message.role == "user")
        async with self._free:
            seen = await self._turn(one.messages, None, Expectation("redial", one.id, said))
        targets = [self._ids[fold(title)] for title in one.targets if fold(title) in self._ids]
        if seen is not None and targets:
            found = {item.id for item in seen.plan.recommendations}
            self.results.recalled += [float(target in found) for target in targets]

    async def _read(self, one: Utterance, messages: Sequence[ChatMessage]) -> None:
        try:
            reading = await self._subject.reader.read(messages, Wish(), self._subject.model)
        except EngineError as error:
            self._note("read", "utterance", one.id, str(error))
            return
        self._note("read", "utterance", one.id, "")
        edit = reading.edit
        self._note("act", "utterance", one.id, "" if edit.act in one.acts else f"{edit.act}, not {one.edit.act}")
        self.results.slots[one.id] = slot_counts(resolved(edit, reading.titles, reading.wish), one)
        self.results.replies[f"{one.id} edit"] = edit.written()

    async def _turn(self, messages: Sequence[ChatMessage], wish: Wish | None, expected: Expectation) -> Seen | None:
        request = TurnRequest(tuple(messages), self._subject.model, wish, seed=SEED, voice=self._subject.voice)
        try:
            with self._subject.recorder.turn() as calls:
                seen = await _seen(self._subject.assistant, request, calls)
        except EngineError as error:
            self._note("answered", expected.part, expected.id, str(error))
            return None
        self._note("answered", expected.part, expected.id, "")
        if expected.part == "redial" and seen.plan.task == "recommend":
            expected = Expectation(expected.part, expected.id, expected.said, constraints=seen.plan.wish)
        self.results.scores += self._judge.scores(seen, expected)
        self.results.openings.append(opening(seen.text))
        self.results.replies[expected.id] = f"[{seen.plan.task}] {seen.text}"
        for stage, seconds in seen.done.trace.timings.items():
            self.results.timings.setdefault(stage, []).append(seconds)
        return seen

    def _note(self, measure: str, part: Part, where: str, fault: str) -> None:
        self.results.scores.append(Score(measure, part, where, float(not fault), fault))


@dataclass
class _State:
    """What a conversation has come to: the last list recommended, all recommended before, what was refused or seen."""

    list: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def _expectation(where: str, said: str, turn: GoldTurn, state: _State, library: Library) -> Expectation:
    checks = turn.checks
    places = {name: _resolved(getattr(checks.wish, name), state.list) for name in ("like", "dislike", "seen")}
    wish = checks.wish.model_copy(update=places)
    gone = tuple(item_id for ids in places.values() for item_id in ids)
    state.gone = (*state.gone, *gone, *_resolved(checks.excludes, state.list))
    constraints = checks.constraints.model_copy(update={**places, "seen": state.gone})
    if checks.era is not None:
        constraints = _bounded(constraints, checks.era, [item.year for item in library.catalogue.many(state.list)])
    return Expectation(
        part="conversation",
        id=where,
        said=said,
        task=checks.task,
        recommends=checks.recommends,
        constraints=constraints,
        declines=checks.task == ("decline",),
        speaks_of=_resolved(checks.speaks_of, state.list),
        checks=checks,
        wish=wish,
        before=state.before,
    )


def _resolved(values: Sequence[str], shown: Sequence[str]) -> tuple[str, ...]:
    """``values`` with places put in as ids; a place beyond the list is left out, as nobody could mean it."""
    found: list[str] = []
    for value in values:
        if not value.startswith("@"):
            found.append(value)
        elif value == "@all":
            found += shown
        else:
            place = len(shown) if value == "@last" else int(value[1:])
            found += shown[place - 1 : place] if place else ()
    return tuple(dict.fromkeys(found))


def _bounded(wish: Wish, era: str, years: Sequence[int | None]) -> Wish:
    """``wish`` bounded to before, or after, all of ``years``."""
    known = [year for year in years if year is not None]
    if not known:
        return wish
    return wish.model_copy(update={"year_to": min(known) - 1} if era == "older" else {"year_from": max(known) + 1})


async def _seen(assistant: Talker, request: TurnRequest, calls: Calls) -> Seen:
    plan: Plan | None = None
    done: Done | None = None
    pieces: list[str] = []
    async for event in assistant.stream(request):
        if isinstance(event, Plan):
            plan = event
        elif isinstance(event, Text):
            pieces.append(event.text)
        else:
            done = event
    if plan is None or done is None:
        raise EngineError("The reply ended without its plan or its last event.")
    return Seen(plan, tuple(pieces), done, calls)


async def _each(name: str, work: Iterable[Coroutine[Any, Any, None]], most: int, progress: Progress | None) -> None:
    for done, finished in enumerate(asyncio.as_completed(list(work)), 1):
        await finished
        if progress is not None:
            progress(name, done, most)
