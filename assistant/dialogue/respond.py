"""Streams the reply: the model writes slots and words, each sentence is verified and then shown with its facts."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from assistant.dialogue.edit import Vocabulary
from assistant.dialogue.effort import Effort
from assistant.dialogue.grammar import OPENINGS, asked
from assistant.dialogue.slots import Slots, listed
from assistant.dialogue.types import FinishReason, Objection, Task, TurnRequest, Usage
from assistant.dialogue.verify import Sentences, Verifier
from assistant.engine.gateway import Engine, Sampling
from prompts.build import ChatTokenizer, encode, respond_messages
from retrieval.item import Item
from retrieval.wish import Wish

TRIES = 3
RETRY_TEMPERATURE = 0.6
REPEATING = 0.4
"""Of the replies to a wish, how many may begin by repeating it: left to itself a small model nearly always does."""
FEW = 2
"""Openings that are drawn for a reply, of which the model takes the one that suits it."""
OFFERS: frozenset[Task] = frozenset({"recommend", "relaxed"})
"""The tasks of which every item is to be named."""


@dataclass(frozen=True)
class Brief:
    """What a reply is to say: its task, the wish, the items it may speak of and the message it answers."""

    task: Task
    wish: Wish
    items: tuple[Item, ...]
    message: str
    liked: tuple[str, ...] = ()
    missing: str = ""

    @property
    def slots(self) -> Slots:
        """The slots that the reply may hold."""
        return Slots(self.items, self.wish, self.liked, self.missing)


@dataclass
class Outcome:
    """How the reply went, filled in while it streams. ``token_at`` is when its first token came, by `perf_counter`.

    ``written`` is the text of the whole reply with its slots, once all of it is the model's own.
    """

    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    objections: list[Objection] = field(default_factory=list)
    calls: int = 0
    token_at: float | None = None
    written: str | None = None

    @property
    def effort(self) -> Effort:
        """What it took of the engine."""
        return Effort(self.usage, self.calls, retries=max(0, self.calls - 1), objections=tuple(self.objections))


class Responder:
    """Writes replies with a model."""

    def __init__(self, engine: Engine, tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> None:
        self._engine, self._tokenizer, self._vocabulary = engine, tokenizer, vocabulary

    async def stream(self, brief: Brief, request: TurnRequest, outcome: Outcome) -> AsyncGenerator[str, None]:
        """Verified sentences, ready to show.

        At a sentence that does not hold, generation begins again behind the last good one with another seed, at
        most `TRIES` times in all. Items that were to be offered and are not named by then are named plainly, as they
        are if nothing good comes, where the limit has room for it.
        """
        slots, offers = brief.slots, brief.task in OFFERS
        verifier = Verifier(slots, self._vocabulary, brief.message, offers)
        prompt = encode(
            self._tokenizer,
            respond_messages(
                brief.task,
                brief.wish,
                brief.items,
                brief.message,
                liked=brief.liked,
                missing=brief.missing,
                slots=slots.given,
            ),
        )
        said = ""
        for attempt in range(TRIES):
            faults = len(outcome.objections)
            fresh = not said
            pattern = slots.pattern(
                _openings(brief, request, attempt) if fresh else (),
                asked(brief.message) if fresh and brief.task == "answer" else (),
            )
            async with aclosing(self._sentences(prompt, said, pattern, request, attempt, outcome)) as sentences:
                async for sentence in sentences:
                    if objection := verifier.objection(sentence):
                        outcome.objections.append(objection)
                        break
                    said += sentence
                    yield slots.fill(sentence)
            if len(outcome.objections) == faults and said.strip():
                break
        plain = _rest(brief, slots, said)
        if not plain:
            outcome.written = said
        else:
            fits = self._count(said) + self._count(plain) <= request.max_tokens
            outcome.finish_reason = "stop" if fits else "length"
            if fits:
                yield plain

    async def _sentences(
        self, prompt: Sequence[int], said: str, pattern: str, request: TurnRequest, attempt: int, outcome: Outcome
    ) -> AsyncGenerator[str, None]:
        written = self._encode(said)
        left = request.max_tokens - len(written)
        if left <= 0:
            outcome.finish_reason = "length"
            return
        sampling = Sampling(
            max_tokens=left,
            # Drawn as before, a sentence that did not hold would come again.
            temperature=request.temperature if attempt == 0 else max(request.temperature, RETRY_TEMPERATURE),
            top_p=request.top_p,
            seed=None if request.seed is None else request.seed + attempt,
            pattern=pattern,
        )
        cutter = Sentences()
        outcome.calls += 1
        generated, usage = "", None
        try:
            voice = request.speaker
            stream = self._engine.generate(
                [*prompt, *written], model=voice.model, sampling=sampling, soft_prompt=voice.soft_prompt
            )
            async with aclosing(stream) as deltas:
                async for delta in deltas:
                    if delta.text and outcome.token_at is None:
                        outcome.token_at = time.perf_counter()
                    generated += delta.text
                    usage = delta.usage or usage
                    if delta.finish_reason is not None:
                        outcome.finish_reason = "length" if delta.finish_reason == "length" else "stop"
                    for sentence in cutter.push(delta.text):
                        yield sentence
        finally:
            # The engine counts only what it ends itself; broken off here, at a fault or a stop, it is counted here.
            outcome.usage += usage or Usage(len(prompt) + len(written), self._count(generated))
        rest = cutter.rest()
        if outcome.finish_reason == "length" and rest.rfind("[") > rest.rfind("]"):
            rest = rest[: rest.rfind("[")]  # the limit fell into the middle of a slot
        if rest:
            yield rest

    def _encode(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text, add_special_tokens=False) if text else []

    def _count(self, text: str) -> int:
        return len(self._encode(text))


def _openings(brief: Brief, request: TurnRequest, attempt: int) -> Sequence[str]:
    """Openings of which a reply has to take one: a few drawn ones, for variety; none where it may repeat the wish."""
    if brief.task != "recommend":
        return ()
    drawn = request.seed is None and request.temperature > 0
    draw = random.Random(None if drawn else f"{request.seed} {attempt} {brief.message}")
    # What failed to repeat the wish the first time is not asked to again.
    if attempt == 0 and brief.slots.given and draw.random() < REPEATING:
        return ()
    return draw.sample(OPENINGS, FEW)


def _rest(brief: Brief, slots: Slots, said: str) -> str:
    """What is left to say plainly behind ``said``, with its slots: nothing, the items it does not name, or all."""
    if not said.strip() or (brief.items and not slots.numbers(said)):
        return plain_reply(brief)
    left = [item.label for place, item in enumerate(brief.items, 1) if place not in slots.named(said)]
    if brief.task not in OFFERS or not left:
        return ""
    return f"{'' if said[-1].isspace() else ' '}There is also {listed(left)}."


def plain_reply(brief: Brief) -> str:
    """The last resort when the model writes nothing that holds: the items by name, or an honest word."""
    if brief.items:
        return f"I found {listed([item.label for item in brief.items])}."
    if brief.missing:
        return f"I found nothing for {brief.missing}."
    if brief.task == "decline":
        return "I can only help to find something in the catalogue. What do you feel like?"
    return "I am Sotto, and I help to find something you will like. What do you feel like?"
