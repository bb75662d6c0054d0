"""A small library, a scripted assistant and reader, and gold to measure them by."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant.dialogue.edit import Edit
from assistant.dialogue.types import (
    Adapter,
    Done,
    Event,
    Plan,
    Recommendation,
    Stage,
    StageTrace,
    Text,
    Trace,
    TurnRequest,
    Usage,
)
from assistant.dialogue.understand import Reading
from assistant.engine.gateway import Completion, Delta
from assistant.evaluation.judge import Seen
from assistant.evaluation.record import Calls
from assistant.evaluation.run import Subject
from retrieval.item import Item
from retrieval.linker import Linker
from retrieval.wish import Wish
from tests.retrieval.fakes import MemoryCatalogue

ALIEN = Item(
    id="alien-1979",
    title="Alien",
    year=1979,
    genres=("horror", "science fiction"),
    moods=("scary",),
    countries=("united kingdom",),
    languages=("english",),
    people={"director": ("Ridley Scott",), "cast": ("Sigourney Weaver",)},
    description="The crew of a space tug answers a distress call and brings something back aboard.",
    popularity=90,
)
SOLARIS = Item(
    id="solaris-1972",
    title="Solaris",
    year=1972,
    genres=("drama", "science fiction"),
    moods=("slow",),
    countries=("soviet union",),
    languages=("russian",),
    people={"director": ("Andrei Tarkovsky",)},
    description="A psychologist is sent to a station over an ocean that reads its visitors' grief.",
    popularity=50,
)
AIRPLANE = Item(
    id="airplane-1980",
    title="Airplane!",
    year=1980,
    genres=("comedy",),
    moods=("funny",),
    languages=("english",),
    people={"cast": ("Leslie Nielsen",)},
    description="A nervous pilot must land a plane whose crew ate the fish.",
    popularity=70,
)
FILMS = (ALIEN, SOLARIS, AIRPLANE)


class FakeLibrary:
    """As much of a library as judging needs."""

    def __init__(self, items: Iterable[Item] = FILMS) -> None:
        self.catalogue = MemoryCatalogue(items)
        self.linker = Linker(self.catalogue)


def plan(task: str = "recommend", items: Sequence[Item] = (), wish: Wish | None = None) -> Plan:
    shown = tuple(items)
    chosen = shown if task in {"recommend", "relaxed"} else ()
    recommendations = tuple(
        Recommendation(id=item.id, title=item.title, year=item.year, rank=n, score=0.5, reason="")
        for n, item in enumerate(chosen, 1)
    )
    return Plan(task, wish or Wish(), recommendations, shown, "rec_1" if chosen else None, Adapter())


def trace(seconds: dict[Stage, float]) -> Trace:
    return Trace(stages=tuple(StageTrace(stage=stage, seconds=took) for stage, took in seconds.items()))


def seen(text: str, of: Plan, finish: str = "stop", readings: Sequence[str] = ()) -> Seen:
    calls = Calls([Completion(one, "stop", Usage()) for one in readings], generations=1)
    return Seen(of, (text,), Done(finish, Usage(), trace({"respond": 0.5})), calls)


Answer = Callable[[TurnRequest], Sequence[Event | Exception]]


@dataclass
class ScriptedAssistant:
    """Answers each turn as ``answer`` says; remembers what it was asked."""

    answer: Answer
    requests: list[TurnRequest] = field(default_factory=list)

    async def stream(self, request: TurnRequest) -> AsyncIterator[Event]:
        self.requests.append(request)
        for event in self.answer(request):
            if isinstance(event, Exception):
                raise event
            yield event


@dataclass
class ScriptedReader:
    """Reads every message as ``edit``, with ``titles`` behind its labels."""

    edit: Edit
    titles: dict[str, str] = field(default_factory=dict)

    async def read(self, messages: Sequence[Any], wish: Wish | None, model: str) -> Reading:
        after = Wish(people=("Ridley Scott",)) if self.edit.people else Wish()
        return Reading(messages[-1].content, after, Wish(), self.edit, self.titles, (), (), ())


class FakeEngine:
    """Writes the same JSON and the same words always."""

    async def complete(self, prompt: Sequence[int], **_: Any) -> Completion:
        return Completion('{"act":"find"}', "stop", Usage(3, 2))

    async def generate(self, prompt: Sequence[int], **_: Any) -> AsyncGenerator[Delta, None]:
        yield Delta("Hello.", "stop")


def reply(text: str, of: Plan) -> Sequence[Event]:
    return (of, Text(text), Done("stop", Usage(), trace({"understand": 0.1, "respond": 0.3})))


def subject(answer: Answer, reader: ScriptedReader | None = None) -> Subject:
    from assistant.evaluation.record import Recorder

    return Subject(
        ScriptedAssistant(answer),
        reader or ScriptedReader(Edit(act="find")),
        Recorder(FakeEngine()),
        FakeLibrary(),
        "m",
    )
