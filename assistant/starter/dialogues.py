"""Real messages for the understand prompt, from ReDial's openly licensed training dialogues (CC BY 4.0).

A seeker's message is used where its meaning is beyond doubt: titles that the seeker said they liked, genres it
names, greetings and thanks. A message with a question or a negation is passed over.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.dialogue.edit import Edit
from assistant.starter.drafts import TurnExample
from prompts.records import plain
from retrieval.lexicon import lexicon

DOUBT = re.compile(
    r"\?|\b(not|no|never|didn|don|isn|wasn|hate|hated|haven|seen|watched|any ?thing but|except)\b|n't", re.I
)
MENTION = re.compile(r"@(\d+)")
SMALL_TALK = re.compile(
    r"^(hi|hello|hey|good (morning|evening|afternoon)|thanks?|thank you|bye|goodbye|you too|great|ok|okay|sure)\b", re.I
)
LONGEST = 240


def read_dialogues(path: Path) -> Iterator[dict[str, Any]]:
    """ReDial dialogues from JSON Lines, gzip by its name."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def real_turns(path: Path) -> Iterator[TurnExample]:
    """The messages whose meaning is certain."""
    genres = _genre_patterns()
    for dialogue in read_dialogues(path):
        answers = dialogue["initiatorQuestions"] or {}
        for message in dialogue["messages"]:
            if message["senderWorkerId"] != dialogue["initiatorWorkerId"] or len(message["text"]) > LONGEST:
                continue
            example = _example(message["text"], dialogue["movieMentions"] or {}, answers, genres)
            if example is not None:
                yield example


def plain_texts(path: Path) -> Iterator[str]:
    """Every message as it stands, for the tokenizer."""
    for dialogue in read_dialogues(path):
        names = dialogue["movieMentions"] or {}
        for message in dialogue["messages"]:
            text = str(message["text"])
            for key in set(MENTION.findall(text)):
                text = text.replace(f"@{key}", str(names.get(key) or ""))
            yield text


def _genre_patterns() -> dict[str, re.Pattern[str]]:
    nouns, adjectives = lexicon()["genre_nouns"], lexicon()["genre_adjectives"]
    words = {genre: [*nouns[genre], *(adjectives.get(genre) or [])] for genre in nouns}
    return {
        g: re.compile(rf"\b({'|'.join(map(re.escape, sorted(w, key=len, reverse=True)))})\b", re.I)
        for g, w in words.items()
    }


def _example(
    text: str, names: dict[str, str], answers: dict[str, dict[str, int]], genres: dict[str, re.Pattern[str]]
) -> TurnExample | None:
    if (
        SMALL_TALK.match(text)
        and len(text.split()) <= 6
        and "@" not in text
        and not any(p.search(text) for p in genres.values())
    ):
        return TurnExample(plain(text), (), Edit(act="chat"))
    if DOUBT.search(text):
        return None
    mentioned = list(dict.fromkeys(MENTION.findall(text)))
    if any(answers.get(key, {}).get("liked") != 1 or not names.get(key) for key in mentioned):
        return None
    labels = {key: f"T{n}" for n, key in enumerate(mentioned, 1)}
    surface = {key: plain(re.sub(r"\s*\(\d{4}\)\s*$", "", names[key])) for key in mentioned}
    bare = MENTION.sub(" ", text)
    wanted = tuple(genre for genre, pattern in genres.items() if pattern.search(bare))
    if (not mentioned and not wanted) or len(wanted) > 4 or len(mentioned) > 6:
        return None
    message = MENTION.sub(lambda match: f"[{labels[match[1]]} {surface[match[1]]}]", plain(text))
    return TurnExample(message, (), Edit(act="find", like=tuple(labels.values()), genres=wanted))
