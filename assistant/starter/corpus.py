"""Turns examples into token ids: the shared prefix of a task once, then one row an example.

All examples of a task begin with the same system message. `prefix_ids` is that beginning; a row holds what
follows it. Training runs the prefix once a batch and lets every row attend to it, which saves the two thirds
of the work that would repeat it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.starter.choices import Chooser
from assistant.starter.drafts import TurnExample
from assistant.starter.replies import Answerer
from assistant.starter.tokenizer import END, START
from assistant.starter.turns import Asker
from assistant.starter.world import World
from prompts.build import RANK_LABELS, Message, encode, label_ids, rank_messages, respond_messages, understand_messages
from retrieval.item import Item

TaskName = Literal["understand", "rank", "respond"]
TASKS: tuple[TaskName, ...] = ("understand", "rank", "respond")
REAL_SHARE = 0.06
SORTED_TOGETHER = 8
REPLIES = 5


@dataclass(frozen=True)
class Choice:
    """What a rank row teaches about its n candidates, each field (n,).

    ``labels`` are their token ids, ``target`` the wanted probabilities, ``places`` where in the context each label
    stands behind its candidate, ``relevance`` how well each suits.
    """

    labels: tuple[int, ...]
    target: tuple[float, ...]
    places: tuple[int, ...]
    relevance: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """Token ids after the prefix: a context, and either one or more answers to it or a choice at its end."""

    context: list[int]
    answers: tuple[list[int], ...] = ()
    choice: Choice | None = None

    def __len__(self) -> int:
        return len(self.context) + sum(map(len, self.answers))


class Corpus:
    """An endless stream of rows. Deterministic in ``seed``; a step's rows depend on the seed and step alone.

    A message that says the same as one of ``held_out`` is never among them.
    """

    def __init__(
        self,
        tokenizer: Any,
        films: Sequence[Item],
        seed: int,
        real_turns: Sequence[TurnExample] = (),
        held_out: Iterable[str] = (),
    ) -> None:
        self.tokenizer, self.world, self.seed = tokenizer, World(films), seed
        self.real_turns = list(real_turns)
        self.held_out = frozenset(map(folded, held_out))
        self._drawn: dict[TaskName, tuple[int, int, list[list[Row]]]] = {}
        self.end = tokenizer.convert_tokens_to_ids(END)
        self.start = tokenizer.convert_tokens_to_ids(START)
        self.labels = label_ids(tokenizer, len(RANK_LABELS))
        self.closing = int(tokenizer.encode("(A)", add_special_tokens=False)[-1])

    def rows(self, task: TaskName, step: int, count: int) -> list[Row]:
        """``count`` rows of ``task`` for training step ``step``, of about one length, so that little is padded.

        The rows of `SORTED_TOGETHER` steps are drawn at once, sorted by length and dealt to the steps at random.
        """
        group, place = divmod(step, SORTED_TOGETHER)
        drawn = self._drawn.get(task)
        if drawn is None or drawn[:2] != (group, count):
            rng = random.Random(f"{self.seed}/{task}/{group}")
            make = {"understand": self._understand, "rank": self._rank, "respond": self._respond}[task]
            rows = sorted(make(rng, count * SORTED_TOGETHER), key=len)
            batches = [rows[at : at + count] for at in range(0, len(rows), count)]
            rng.shuffle(batches)
            drawn = self._drawn[task] = (group, count, batches)
        return drawn[2][place]

    def prefix_ids(self, task: TaskName) -> list[int]:
        """The tokens that every prompt of ``task`` begins with: its system message."""
        ids = self._encode(rank_messages_sample(self.world, task))
        return ids[: self._user_from(ids)]

    def _understand(self, rng: random.Random, count: int) -> list[Row]:
        asker = Asker(self.world, rng)
        rows = []
        for _ in range(count):
            real = self.real_turns and rng.random() < REAL_SHARE
            example = rng.choice(self.real_turns) if real else asker.example()
            while folded(example.message) in self.held_out:
                example = asker.example()
            rows.append(self._text_row(understand_messages(example.message, example.shown), example.edit.written()))
        return rows

    def _respond(self, rng: random.Random, count: int) -> list[Row]:
        answerer = Answerer(self.world, rng)
        rows = []
        for _ in range(count):
            one = answerer.example(REPLIES)
            chat = one.prompt()
            rows.append(self._text_row(chat, *one.replies))
        return rows

    def _rank(self, rng: random.Random, count: int) -> list[Row]:
        chooser = Chooser(self.world, rng)
        rows = []
        for _ in range(count):
            one = chooser.example()
            context = self._after_prefix(rank_messages(one.wish, one.history, one.candidates))
            labels = self.labels[: len(one.candidates)]
            places = _places(context, labels, self.closing)
            choice = Choice(tuple(labels), tuple(one.target), places, tuple(one.relevance))
            rows.append(Row(context, choice=choice))
        return rows

    def _text_row(self, chat: list[Message], *answers: str) -> Row:
        written = (self.tokenizer.encode(answer, add_special_tokens=False) for answer in answers)
        return Row(self._after_prefix(chat), tuple([*ids, self.end] for ids in written))

    def _after_prefix(self, chat: list[Message]) -> list[int]:
        ids = self._encode(chat)
        return ids[self._user_from(ids) :]

    def _encode(self, chat: list[Message]) -> list[int]:
        return encode(self.tokenizer, chat)

    def _user_from(self, ids: list[int]) -> int:
        return ids.index(self.start, 1)


def rank_messages_sample(world: World, task: TaskName) -> list[Message]:
    """Any prompt of ``task``: its system message is the same in all."""
    item = world.films[0]
    if task == "understand":
        return understand_messages("hello")
    if task == "rank":
        return rank_messages(Chooser(world, random.Random(0)).example().wish, (), (item,))
    return respond_messages("chat", Chooser(world, random.Random(0)).example().wish, (), "hello")


def _places(context: Sequence[int], labels: Sequence[int], closing: int) -> tuple[int, ...]:
    """Where in ``context`` each label stands in brackets, one behind the other."""
    places: list[int] = []
    for label in labels:
        start = places[-1] + 1 if places else 0
        places.append(next(n for n in range(start, len(context)) if context[n : n + 2] == [label, closing]))
    return tuple(places)


def tokenizer_texts(films: Sequence[Item], seed: int, extra: Sequence[str] = (), count: int = 12_000) -> list[str]:
    """Text to train the tokenizer on: examples of all three tasks, and ``extra`` (real dialogue)."""
    world, texts = World(films), list(extra)
    asker, answerer = Asker(world, random.Random(seed)), Answerer(world, random.Random(seed + 1))
    for _ in range(count):
        turn, reply = asker.example(), answerer.example()
        texts += [understand_messages(turn.message, turn.shown)[1]["content"], turn.edit.written(), *reply.replies]
        texts.append(reply.prompt()[1]["content"])
    return texts


def folded(message: str) -> str:
    """``message`` without labels, case and punctuation: two that fold alike say the same."""
    return " ".join(re.findall(r"\w+", re.sub(r"\[[TPS]\d+ ([^\]]*)\]", r"\1", message).lower()))
