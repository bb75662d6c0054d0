"""What a device's store holds beside events: turns, conversations, impressions, judgements, and all of it as JSON.

Knows nothing of SQLite. What a person said and wished is left out of every ``repr``, so that no traceback shows it.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from federation.device.base import Event, Verdict

Role = Literal["user", "assistant"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
EXPORT_VERSION = 1


class RecordError(ValueError):
    """A record that cannot be kept; the message names the field, never what a person said."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation, at ``at`` in seconds since the epoch."""

    role: Role
    text: str = field(repr=False)
    at: float

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise RecordError(f"role is {' or '.join(get_args(Role))}")
        _check_text("text", self.text)
        _check_time("at", self.at)


@dataclass(frozen=True)
class Conversation:
    """The turns of one conversation in order; pruning takes the oldest of them first."""

    id: str
    started_at: float
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        _check_text("id", self.id)
        _check_time("started_at", self.started_at)
        if not self.turns:
            raise RecordError("a conversation has at least one turn")


def new_id() -> str:
    """The id of an impression that came without a recommendation_id."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Reply:
    """The reply that spoke of an impression: what the server's respond prompt was told, and what the model wrote then.

    ``task``, ``message`` (the person's), ``liked`` (labels of titles named), ``missing`` and ``slots`` are those of
    `prompts.build.respond_messages`. ``text`` is as the model wrote it, its slots not yet filled: ``[1]`` and no title.
    """

    task: str
    message: str = field(repr=False)
    text: str = field(repr=False)
    liked: tuple[str, ...] = field(default=(), repr=False)
    missing: str = field(default="", repr=False)
    slots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("task", "message", "text", "missing"):
            _check_text(name, getattr(self, name))
        for name in ("liked", "slots"):
            for value in getattr(self, name):
                _check_text(name, value)


@dataclass(frozen=True)
class Impression:
    """A ranking that the person met: ``candidates`` (item ids) in the order they were ranked, ``shown`` among them.

    ``wish`` is a `retrieval.wish.Wish` as JSON. ``id`` is the recommendation_id, or one of the device's own. ``reply``
    spoke of the items ``shown``, in their order, where it is known.
    """

    at: float
    wish: Mapping[str, Any] = field(repr=False)
    candidates: tuple[str, ...]
    shown: tuple[str, ...]
    id: str = field(default_factory=new_id)
    reply: Reply | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_text("id", self.id)
        _check_time("at", self.at)
        for item in (*self.candidates, *self.shown):
            _check_text("an item's id", item)
        if len(set(self.candidates)) < len(self.candidates):
            raise RecordError("candidates holds an item twice")
        if not set(self.shown) <= set(self.candidates):
            raise RecordError("shown holds an item that is not among the candidates")


@dataclass(frozen=True)
class Judgement:
    """A verdict that the person gave in Sotto: on an ``item``, met in an ``impression`` or not, or on a whole one."""

    at: float
    verdict: Verdict
    item: str | None = None
    impression: str | None = None

    def __post_init__(self) -> None:
        _check_time("at", self.at)
        _check_verdict(self.verdict)
        if self.item is None and self.impression is None:
            raise RecordError("a verdict is on an item or on an impression")
        for name, value in (("item", self.item), ("impression", self.impression)):
            if value is not None:
                _check_text(name, value)


Record = Event | Conversation | Impression | Judgement


def check_event(event: Event) -> Event:
    """``event``, or RecordError where it cannot be kept."""
    _check_time("at", event.at)
    _check_text("item", event.item)
    _check_verdict(event.verdict)
    return event


def check_id(name: str) -> str:
    """``name``, or RecordError where it can be no id."""
    _check_text("id", name)
    return name


def wish_text(wish: Mapping[str, Any]) -> str:
    """``wish`` in canonical JSON; RecordError where it is none."""
    try:
        text = json.dumps(dict(wish), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        raise RecordError("wish is no JSON object") from None
    _check_text("wish", text)
    return text


def reply_text(reply: Reply | None) -> str | None:
    """``reply`` in canonical JSON, or None."""
    return None if reply is None else json.dumps(asdict(reply), sort_keys=True, ensure_ascii=False)


def reply_of(values: Mapping[str, Any]) -> Reply:
    """The reply whose fields are ``values``; TypeError or RecordError where they are none's."""
    lists: dict[str, Any] = {name: tuple(values[name]) for name in ("liked", "slots") if name in values}
    return Reply(**{**values, **lists})


def header() -> dict[str, Any]:
    """The first object of an export: what it is, and of which version."""
    return {"kind": "sotto device export", "version": EXPORT_VERSION}


def is_header(row: Mapping[str, Any]) -> bool:
    """Whether ``row`` opens an export of any version; RecordError where this Sotto cannot read that one."""
    if row.get("kind") != header()["kind"]:
        return False
    if row.get("version") != EXPORT_VERSION:
        raise RecordError(
            f"the export is of version {row.get('version')} and this Sotto reads version {EXPORT_VERSION}: "
            "use the version of Sotto that wrote it"
        )
    return True


def to_row(record: Record) -> dict[str, Any]:
    """``record`` as a JSON object that `from_row` reads back."""
    match record:
        case Event():
            return {"kind": "event", "at": record.at, "item": record.item, "verdict": record.verdict}
        case Conversation():
            turns = [{"role": turn.role, "text": turn.text, "at": turn.at} for turn in record.turns]
            return {"kind": "conversation", "id": record.id, "started_at": record.started_at, "turns": turns}
        case Impression():
            lists = {"candidates": list(record.candidates), "shown": list(record.shown)}
            reply = {} if record.reply is None else {"reply": asdict(record.reply)}
            return {"kind": "impression", "id": record.id, "at": record.at, "wish": dict(record.wish), **lists, **reply}
        case Judgement():
            on = {"item": record.item, "impression": record.impression}
            return {"kind": "verdict", "at": record.at, "verdict": record.verdict, **on}


def from_row(row: Mapping[str, Any]) -> Record:
    """The record that `to_row` wrote as ``row``; RecordError where it is none."""
    values = {name: value for name, value in row.items() if name != "kind"}
    try:
        match row.get("kind"):
            case "event":
                return check_event(Event(**values))
            case "conversation":
                turns = tuple(Turn(**turn) for turn in values.pop("turns"))
                return Conversation(turns=turns, **values)
            case "impression":
                lists: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("candidates", "shown")}
                reply = values.pop("reply", None)
                return Impression(**lists, **values, reply=None if reply is None else reply_of(reply))
            case "verdict":
                return Judgement(**values)
    except RecordError:
        raise
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"a field of the {row['kind']} is missing, unknown or of the wrong kind") from None
    raise RecordError("kind is event, conversation, impression or verdict")


def _check_time(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecordError(f"{name} is a number of seconds since the epoch")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise RecordError(f"{name} is a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{name} holds half a character") from None


def _check_verdict(value: object) -> None:
    if value not in VERDICTS:
        raise RecordError(f"a verdict is {', '.join(VERDICTS)}")
