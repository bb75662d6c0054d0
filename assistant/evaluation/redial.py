"""People's turns of ReDial's test split (Li et al. 2018): each recommender turn with what was said before it.

Consecutive messages of one speaker merge; a turn that nothing was said before is left out. Evaluation only: the texts
are never trained on.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.dialogue.types import ChatMessage
from retrieval.folding import fold
from retrieval.item import Item

_MENTION = re.compile(r"@(\d+)")


@dataclass(frozen=True)
class RedialTurn:
    """The messages before a recommender's turn, the last one the seeker's, and the titles the recommender then names.

    ``targets`` are new to the dialogue, written ``Title (year)``.
    """

    id: str
    messages: tuple[ChatMessage, ...]
    targets: tuple[str, ...]


def redial_turns(path: Path) -> tuple[RedialTurn, ...]:
    """The turns of a split in the original format, gzipped or not, in its order.

    ValueError where a line is no dialogue of that format.
    """
    turns: list[RedialTurn] = []
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                turns += _turns(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number} is no ReDial dialogue ({error!r}); use test_data.jsonl"
                ) from error
    return tuple(turns)


def ids_by_label(items: Iterable[Item]) -> dict[str, str]:
    """Item ids by folded ``Title (year)``, to find `RedialTurn.targets` in a catalogue."""
    return {fold(item.label): item.id for item in items}


def _turns(dialogue: Mapping[str, Any]) -> Iterator[RedialTurn]:
    # ReDial writes an empty list where no title is mentioned.
    titles = {str(key): " ".join(str(title).split()) for key, title in dict(dialogue["movieMentions"] or {}).items()}
    before: list[ChatMessage] = []
    known: set[str] = set()
    for role, raw in _merged(dialogue):
        mentioned = [titles[key] for key in _MENTION.findall(raw) if titles.get(key)]
        if role == "assistant" and before:
            targets = tuple(dict.fromkeys(title for title in mentioned if title not in known))
            yield RedialTurn(f"{dialogue['conversationId']}-{len(before)}", tuple(before), targets)
        known.update(mentioned)
        text = _MENTION.sub(lambda match: titles.get(match[1]) or "", raw)
        before.append(ChatMessage(role, text))


def _merged(dialogue: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Role and text of each turn; the seeker is the user."""
    role, texts = "", list[str]()
    for message in dialogue["messages"]:
        speaker = "user" if message["senderWorkerId"] == dialogue["initiatorWorkerId"] else "assistant"
        if speaker != role and texts:
            yield role, " ".join(texts)
            texts = []
        role = speaker
        texts.append(str(message["text"]))
    if texts:
        yield role, " ".join(texts)
