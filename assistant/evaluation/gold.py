"""The gold and the development set: messages and conversations written by hand as people write, with what they mean.

Both were written apart from the starter model's training text, and neither is trained on. Rules and thresholds of
reading are chosen on the development set alone, so that the gold set stays a test. An item id stands for a title, a
name as the catalogue writes it for a person. Where readings differ fairly, all are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from assistant.dialogue.edit import Edit
from assistant.dialogue.types import Task
from assistant.evaluation.sets import SETS, SetName
from retrieval.item import Item
from retrieval.wish import Wish

TITLE_FIELDS = ("of", "like", "dislike", "seen")
NAME_FIELDS = ("people", "not_people")
FACET_FIELDS = ("genres", "not_genres", "moods", "not_moods", "countries", "languages")
HARD_FIELDS = ("people", "not_people", "genres", "not_genres", "not_moods", "countries", "languages")
PLACE = re.compile(r"@(?:\d+|last|all)")

Row = TypeVar("Row")
Model = TypeVar("Model", bound=BaseModel)
Free = Literal[
    "like", "dislike", "seen", "people", "not_people", "genres", "not_genres", "moods", "not_moods", "countries",
    "languages", "years",
]  # fmt: skip


class Utterance(BaseModel):
    """One message and the edit it means, with item ids and names in place of labels.

    ``shown`` are the items of the reply before it. ``accept`` lists, for a field, every value that is as right as the
    one in ``edit``; each of ``readings`` replaces some fields of ``edit`` together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tag: str
    shown: tuple[str, ...] = ()
    message: Annotated[str, Field(min_length=1)]
    edit: Edit
    accept: dict[str, tuple[JsonValue, ...]] = Field(default_factory=dict)
    readings: tuple[dict[str, JsonValue], ...] = ()

    def meanings(self) -> Iterator[dict[str, JsonValue]]:
        """Every reading as fields of an `Edit`, JSON values, without the alternatives of single fields."""
        main = self.edit.model_dump(mode="json")
        yield main
        for reading in self.readings:
            yield main | reading

    @property
    def acts(self) -> tuple[JsonValue, ...]:
        """Every right value of ``act``."""
        return self.accept.get("act", (self.edit.act,))

    @property
    def constraints(self) -> Wish:
        """What every item recommended in answer must hold: the fields on which all readings agree."""
        doubtful = {*self.accept, *(name for reading in self.readings for name in reading)}
        if self.edit.act != "find":
            return Wish()
        sure = {name: getattr(self.edit, name) for name in (*HARD_FIELDS, *TITLE_FIELDS[1:]) if name not in doubtful}
        first, last = (0, 0) if "years" in doubtful or self.edit.years is None else self.edit.years
        return Wish(**sure, year_from=first or None, year_to=last or None)


class Checks(BaseModel):
    """What must hold after a turn, whatever was recommended before.

    ``wish`` is the whole wish by then: its hard fields must be equal but for those in ``free``, which the words leave
    open; likes, refusals and moods must be among the real wish's. ``@2`` is the second item of the last list
    recommended, ``@last`` its last, ``@all`` each. ``era`` bounds the years by that list. ``excludes`` must not be
    recommended, ``speaks_of`` are the items an answer is about.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: tuple[Task, ...] = ()
    recommends: bool | None = None
    wish: Wish = Wish()
    free: tuple[Free, ...] = ()
    era: Literal["older", "newer"] | None = None
    excludes: tuple[str, ...] = ()
    speaks_of: tuple[str, ...] = ()

    @property
    def constraints(self) -> Wish:
        """The wish without the fields that are left open."""
        open_fields = {part: None if part.startswith("year") else () for name in self.free for part in _parts(name)}
        return self.wish.model_copy(update=open_fields)


class GoldTurn(BaseModel):
    """A message within a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message: Annotated[str, Field(min_length=1)]
    checks: Checks


class Conversation(BaseModel):
    """Messages of one person in a row; the replies between them are the assistant's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tag: str
    turns: Annotated[tuple[GoldTurn, ...], Field(min_length=3, max_length=8)]


class Gold(BaseModel):
    """The whole set."""

    model_config = ConfigDict(frozen=True)

    utterances: tuple[Utterance, ...]
    conversations: tuple[Conversation, ...]

    def limited(self, most: int | None) -> Gold:
        """At most ``most`` utterances and as many conversations, spread evenly over each."""
        return Gold(utterances=spread(self.utterances, most), conversations=spread(self.conversations, most))


def load_gold(name: SetName = "gold") -> Gold:
    """The bundled set of that name; ValidationError where a row is malformed."""
    return Gold(
        utterances=_rows(name, "utterances", Utterance), conversations=_rows(name, "conversations", Conversation)
    )


def gold_messages() -> Iterator[str]:
    """Every message of both sets: none of them may be trained on."""
    for name in SETS:
        gold = load_gold(name)
        yield from (one.message for one in gold.utterances)
        yield from (turn.message for conversation in gold.conversations for turn in conversation.turns)


def spread(rows: Sequence[Row], most: int | None) -> tuple[Row, ...]:
    """At most ``most`` of ``rows``, at even distances."""
    if most is None or most >= len(rows):
        return tuple(rows)
    return tuple(rows[place * len(rows) // most] for place in range(most))


def faults(gold: Gold, items: Iterable[Item]) -> list[str]:
    """Every id, name and facet of the gold set that the catalogue ``items`` does not hold."""
    everything = list(items)
    ids = {item.id for item in everything}
    names = {name for item in everything for name in item.names}
    facets = {
        name: {value for item in everything for value in getattr(item, name.removeprefix("not_"))}
        for name in FACET_FIELDS
    }
    found = []
    for where, name, value in _mentions(gold):
        known = ids if name in (*TITLE_FIELDS, "shown") else names if name in NAME_FIELDS else facets[name]
        if value not in known and not (known is ids and PLACE.fullmatch(value)):
            found.append(f"{where}: {name} {value!r} is not in the catalogue")
    return found


def _mentions(gold: Gold) -> Iterator[tuple[str, str, str]]:
    """Where, in which field and which value, for all ids, names and facets."""
    fields = (*TITLE_FIELDS, *NAME_FIELDS, *FACET_FIELDS)
    for one in gold.utterances:
        yield from ((one.id, "shown", value) for value in one.shown)
        alternatives = [{name: value} for name, values in one.accept.items() for value in values]
        for meaning in (*one.meanings(), *alternatives):
            for name in fields:
                values = meaning.get(name) or []
                yield from ((one.id, name, str(value)) for value in (values if isinstance(values, list) else [values]))
    for conversation in gold.conversations:
        for turn in conversation.turns:
            wish, checks = turn.checks.wish, turn.checks
            yield from ((conversation.id, "of", value) for value in (*checks.excludes, *checks.speaks_of))
            yield from ((conversation.id, name, value) for name in fields[1:] for value in getattr(wish, name))


def _parts(name: str) -> tuple[str, ...]:
    return ("year_from", "year_to") if name == "years" else (name,)


def _rows(folder: SetName, name: str, kind: type[Model]) -> tuple[Model, ...]:
    with (files("assistant.evaluation") / folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return tuple(kind.model_validate_json(line) for line in lines)
