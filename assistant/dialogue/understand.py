"""Reads a conversation: which titles and people are named, what each message changes, and the wish that results.

The model reads one message at a time and writes an `Edit`; `fold` carries the wish through the conversation.
Where the client sends the wish back only the last message is read, otherwise all are, at once. What a
message means depends on it and the items shown before it alone, so readings, and the items that each reply named,
are kept in memory for a while under a keyed hash: no text is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import TTLCache
from pydantic import ValidationError

from assistant.dialogue.edit import Edit, by_act, edit_schema
from assistant.dialogue.effort import Effort
from assistant.dialogue.evidence import EvidenceFinder
from assistant.dialogue.fold import fold
from assistant.dialogue.labels import Labelled, labelled
from assistant.dialogue.narrowing import insisting, narrowed
from assistant.dialogue.pointing import shown_labels
from assistant.dialogue.types import ChatMessage
from assistant.engine.gateway import Engine, Sampling
from prompts.build import ChatTokenizer, encode, understand_messages
from retrieval.item import Item
from retrieval.search import Library
from retrieval.wish import Wish

MAX_READ = 12
MAX_MESSAGE = 2000
EDIT_TOKENS = 160
CACHE_SIZE, CACHE_SECONDS = 4096, 1800.0


@dataclass(frozen=True)
class Reading:
    """What a conversation comes to. ``named`` are the ids of all titles the person named, ``past`` of all shown."""

    message: str
    wish: Wish
    before: Wish
    edit: Edit
    titles: dict[str, str]
    shown: tuple[Item, ...]
    past: tuple[str, ...]
    named: tuple[str, ...]
    effort: Effort = field(default_factory=Effort)

    @classmethod
    def of(cls, wish: Wish, past: tuple[str, ...] = ()) -> Reading:
        """The reading of a wish that came as data: there is no message, and nothing to understand."""
        return cls("", wish, wish, Edit(act="find"), {}, (), past, ())


class Understander:
    """Turns conversations into readings."""

    def __init__(self, library: Library, engine: Engine, tokenizer: ChatTokenizer) -> None:
        self._library, self._engine, self._tokenizer = library, engine, tokenizer
        self._finder: tuple[int, EvidenceFinder] | None = None
        self._key = secrets.token_bytes(32)
        self._edits: TTLCache[bytes, Edit] = TTLCache(CACHE_SIZE, CACHE_SECONDS)
        self._named: TTLCache[bytes, tuple[str, ...]] = TTLCache(CACHE_SIZE, CACHE_SECONDS)
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Loads and fits what reading takes, some seconds' work, so that no person's message waits for it."""
        self._library.linker.link("a film")
        self._evidence().prepare()

    async def read(self, messages: Sequence[ChatMessage], wish: Wish | None, model: str) -> Reading:
        """The reading of ``messages``, which end with a user's; ``wish`` is the one before it, if the client has it."""
        # Linking a long conversation takes a while, and other turns are not to wait for it.
        turns = await asyncio.to_thread(self._turns, messages)
        spoken = turns[-1:] if wish is not None else turns[-MAX_READ:]
        results = await asyncio.gather(*(self._edit(turn, model) for turn in spoken))
        before = current = wish or Wish()
        for turn, (edit, _) in zip(spoken, results, strict=True):
            before = current
            current = fold(current, edit, turn.labelled.titles, turn.labelled.people, turn.shown)
        last = turns[-1]
        return Reading(
            message=last.message,
            wish=current,
            before=before,
            edit=results[-1][0],
            titles=last.labelled.titles,
            shown=last.shown,
            past=tuple(dict.fromkeys(item.id for turn in turns for item in turn.shown)),
            named=tuple(
                dict.fromkeys(i for turn in turns for label, i in turn.labelled.titles.items() if label[0] == "T")
            ),
            effort=sum((effort for _, effort in results), Effort()),
        )

    def _turns(self, messages: Sequence[ChatMessage]) -> list[_Turn]:
        turns: list[_Turn] = []
        shown: tuple[Item, ...] = ()
        for message in messages:
            if message.role == "assistant":
                named = self._shown(message.content)
                # An answer about items shown before leaves the list as it was: "the first" still counts from its top.
                shown = named if not {item.id for item in named} <= {item.id for item in shown} else shown
            elif message.role == "user":
                text = message.content[:MAX_MESSAGE]
                turns.append(_Turn(text, shown, labelled(text, shown, self._library.linker.link(text))))
        return turns

    def _shown(self, reply: str) -> tuple[Item, ...]:
        """The items that a reply of Sotto's named, in order: their labels stand in it letter by letter.

        Linked once: the reply comes again with every turn of its conversation.
        """
        catalogue, key = self._library.catalogue, self._hash(reply)
        with self._lock:
            named = self._named.get(key)
        if named is None:
            found = [item_id for mention in self._library.linker.link(reply) for item_id in mention.ids]
            items = catalogue.many(list(dict.fromkeys(found)))
            named = tuple(item.id for item in items if item.label in reply)
            with self._lock:
                self._named[key] = named
        return tuple(catalogue.many(list(named)))

    async def _edit(self, turn: _Turn, model: str) -> tuple[Edit, Effort]:
        key = self._hash(model, turn.labelled.text, *(item.id for item in turn.shown))
        if (known := self._edits.get(key)) is not None:
            return known, Effort(cache_hits=1)
        labelled = turn.labelled
        evidence = await asyncio.to_thread(self._evidence().find, labelled.text, len(turn.shown))
        named = [label for label in labelled.titles if label[0] != "S"]
        titles = [*named, *shown_labels(labelled.text, len(turn.shown))]
        schema = narrowed(edit_schema(evidence, titles, list(labelled.people)), evidence)
        prompt = encode(self._tokenizer, understand_messages(labelled.text, turn.shown))
        edit, effort = await self._decode(prompt, labelled.text, schema, model)
        again = insisting(schema, evidence, edit)
        if again is not None:
            edit, more = await self._decode(prompt, labelled.text, again, model)
            effort += replace(more, retries=1)
        self._edits[key] = edit
        return edit, effort

    async def _decode(
        self, prompt: Sequence[int], text: str, schema: dict[str, Any], model: str
    ) -> tuple[Edit, Effort]:
        sampling = Sampling(max_tokens=EDIT_TOKENS, temperature=0.0)
        completion = await self._engine.complete(prompt, model=model, sampling=sampling, schema=by_act(schema))
        return _grounded(parse_edit(completion.text), text), Effort(completion.usage, calls=1)

    def _evidence(self) -> EvidenceFinder:
        library = self._library
        revision = library.catalogue.revision
        if self._finder is None or self._finder[0] != revision:
            self._finder = revision, EvidenceFinder(library.catalogue.facets, library.encoder, library.linker.is_topic)
        return self._finder[1]

    def _hash(self, *parts: str) -> bytes:
        """A key for ``parts`` and the catalogue as it is, which tells nothing without the process's secret."""
        text = json.dumps([self._library.catalogue.revision, *parts])
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=32).digest()


@dataclass(frozen=True)
class _Turn:
    message: str
    shown: tuple[Item, ...]
    labelled: Labelled


def parse_edit(text: str) -> Edit:
    """The edit in ``text``; one cut off by the token limit is read as far as it goes, at worst as a bare ``find``."""
    for end in (len(text), *sorted((m.start() for m in re.finditer(r',"', text)), reverse=True)):
        candidate = text if end == len(text) else text[:end] + "}"
        try:
            return Edit.model_validate_json(candidate)
        except ValidationError:
            continue
    return Edit(act="find")


def _grounded(edit: Edit, message: str) -> Edit:
    """``edit`` whose topic keeps only words that the message holds."""
    if not edit.about:
        return edit
    said = set(re.findall(r"\w+", message.lower()))
    words = [word for word in edit.about.split() if set(re.findall(r"\w+", word.lower())) <= said]
    return edit.model_copy(update={"about": " ".join(words)})
