"""Measures a release before anybody meets it: how it ranks held-out events, and how it talks on the gold conversations.

Runs on one replica beside the traffic. A release that nobody wants yet is loaded for as long as it is measured, and
the reconciler is told that it is in use; the live one is measured once and remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic
from pydantic import ConfigDict, Field

from assistant.dialogue.rank import MOST_CANDIDATES, Ranker
from assistant.dialogue.turn import Assistant
from assistant.dialogue.types import Voice
from assistant.dialogue.understand import Understander
from assistant.engine.fleet import Replica
from assistant.errors import InvalidRequest
from assistant.evaluation.gold import Gold, faults, load_gold, spread
from assistant.evaluation.record import Recorder
from assistant.evaluation.run import Subject, run
from assistant.rollout.checks import Ranking, Talk
from assistant.rollout.routing import Router
from federation.releases.manifest import GLOBAL
from prompts.build import ChatTokenizer
from retrieval.search import Candidate, Library
from retrieval.wish import Wish

GOOD = ("grounded", "sound")
"""The measures of `assistant.evaluation` that every reply must pass."""


class HeldOut(pydantic.BaseModel):
    """A choice that was made, and was held out of all training: one line of the file of held-out events.

    ``history`` are ids of liked items, latest last; ``chosen`` is one of ``candidates``. ``activity`` is how many
    events its person has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: tuple[str, ...] = ()
    candidates: tuple[str, ...] = Field(min_length=2, max_length=MOST_CANDIDATES)
    chosen: str
    cohort: str = GLOBAL
    activity: int = Field(0, ge=0)

    @pydantic.model_validator(mode="after")
    def _is_choice(self) -> HeldOut:
        if self.chosen not in self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError("chosen is not one of the candidates, or a candidate stands twice")
        return self


def read_held_out(path: Path) -> tuple[HeldOut, ...]:
    """The events of a JSON Lines file; InvalidRequest, naming the line, where it holds others."""
    found: list[HeldOut] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The held-out events {path} cannot be read: {error}. Check SOTTO_GATE_EVENTS.") from error
    for number, line in enumerate(lines, 1):
        try:
            found.append(HeldOut.model_validate_json(line))
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise InvalidRequest(f"Line {number} of {path} is no held-out event: {fault}. Mend the line.") from error
    return tuple(found)


@dataclass(eq=False)
class Evaluator:
    """Measures on ``replica``, over ``library``. ``conversations`` of the gold set are talked, 0 for none.

    For one event loop; measures one release at a time.
    """

    router: Router
    replica: Replica
    library: Library
    tokenizer: ChatTokenizer
    events: Sequence[HeldOut] = ()
    conversations: int = 0

    def __post_init__(self) -> None:
        self._measuring = asyncio.Lock()
        self._rankings: dict[str | None, Ranking] = {}
        self._talks: dict[str | None, Talk] = {}

    async def ranking(self, release: str | None) -> Ranking:
        """How ``release``, None for the base model, ranks the held-out events, each under its cohort."""
        async with self._measuring:
            if release not in self._rankings:
                async with self._loaded(release):
                    ndcg = [await self._ndcg(release, event) for event in self.events]
                cohorts = tuple(event.cohort for event in self.events)
                activity = np.array([event.activity for event in self.events], dtype=np.int64)
                self._rankings[release] = Ranking(np.array(ndcg, dtype=np.float64), cohorts, activity)
            return self._rankings[release]

    async def talk(self, release: str | None) -> Talk:
        """How ``release`` talks: for each turn of the gold conversations whether the reply is grounded and sound."""
        async with self._measuring:
            if release not in self._talks:
                async with self._loaded(release):
                    self._talks[release] = await self._talk(release)
            return self._talks[release]

    def gold(self) -> Gold:
        """The conversations that are talked: none where the catalogue is another than theirs."""
        everything = load_gold()
        if not self.conversations or faults(everything, self.library.catalogue):
            return Gold(utterances=(), conversations=())
        return Gold(utterances=(), conversations=tuple(spread(everything.conversations, self.conversations)))

    async def _talk(self, release: str | None) -> Talk:
        recorder = Recorder(self.replica.engine)
        subject = Subject(
            Assistant(self.library, recorder, self.tokenizer),
            Understander(self.library, recorder, self.tokenizer),
            recorder,
            self.library,
            self.router.model,
            self._voice(release),
        )
        results = await run(subject, self.gold(), concurrency=1)
        good: dict[str, bool] = {}
        for score in results.scores:
            if score.measure in (*GOOD, "answered"):
                good[score.id] = good.get(score.id, True) and score.value == 1.0
        return Talk(good)

    async def _ndcg(self, release: str | None, event: HeldOut) -> float:
        """1 / log2(1 + the place of the chosen item): NDCG with one relevant item (Järvelin & Kekäläinen 2002)."""
        catalogue = self.library.catalogue
        candidates = [Candidate(item, 0.0, {}) for item in catalogue.many(event.candidates)]
        history = catalogue.many(event.history)
        voice = self._voice(release, event.cohort)
        ranked, _ = await Ranker(self.replica.engine, self.tokenizer).rank(Wish(), history, candidates, voice)
        places = [place for place, one in enumerate(ranked, 1) if one.item.id == event.chosen]
        return float(1.0 / np.log2(1.0 + places[0])) if places else 0.0

    def _voice(self, release: str | None, cohort: str = GLOBAL) -> Voice:
        if release is None or self.replica.adapters is None:
            return Voice(self.router.model)
        with self.replica.adapters.policy(release, cohort) as policy:
            return Voice(policy.model, policy.soft_prompt)

    @asynccontextmanager
    async def _loaded(self, release: str | None) -> AsyncIterator[None]:
        """The replica holds ``release``, and nobody takes it away."""
        if release is None or self.replica.adapters is None:
            yield
            return
        with self.router.in_use(release):
            await self.replica.adapters.load(release)
            yield
