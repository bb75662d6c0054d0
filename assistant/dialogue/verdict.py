"""What a message says of a film or person, by example, where no known words tell (`stance`).

Knows nothing of fields' rules: it compares the sentence, with "it" or "him" for the label, with those of
``language/verdicts.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from assistant.dialogue.examples import Encoder, Examples
from assistant.dialogue.scope import HARD, LABEL, clause
from assistant.dialogue.stance import NAMED, TITLE_FIELDS, Stance
from retrieval.lexicon import read_bank

SAID = 0.0
"""The least score of a verdict on a film for it to count."""
REFUSED = 0.2
"""The least score of a refusal for a person to be refused without a word that refuses."""
CREDIT = re.compile(r"\b(by|with|w|starring|featuring|from|of|for|and|or|love|like) $")
CREDITED = re.compile(r"^'?s?\]?('s)? (films?|movies?|flicks?|stuff|pictures?)\b")


class Verdicts:
    """The examples, fitted when first needed."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def prepare(self) -> None:
        """Fits the examples."""
        self._examples  # noqa: B018

    def settled(self, message: str, to: Mapping[str, Stance]) -> dict[str, Stance]:
        """The stances ``to`` the labels of ``message`` and to shown items, read by example where words do not tell."""
        text = message.lower()
        found = dict(to)
        named = {match[1].upper(): match.span() for match in NAMED.finditer(text)}
        for label, stance in to.items():
            if label not in named:
                continue
            if label[0] == "P" and stance.fields == ("people",) and not _credited(text, named[label]):
                if self._score("person", _clause(text, named[label]))["not_people"] >= REFUSED:
                    found[label] = Stance(("not_people",), sure=True)
            elif label[0] != "P" and stance.fields == TITLE_FIELDS:
                verdict = self._title(_sentence(text, named[label]))
                if verdict in TITLE_FIELDS:
                    found[label] = Stance((verdict,), sure=True)
        pointed = [label for label in to if label not in named]
        if pointed and any(to[label].fields == TITLE_FIELDS for label in pointed):
            found |= self._pointed(text, {label: to[label] for label in pointed})
        return found

    def _pointed(self, text: str, to: Mapping[str, Stance]) -> Mapping[str, Stance]:
        """The stances to shown items that ``text`` points at without a label."""
        verdict = self._title(LABEL.sub("that one", text))
        if verdict not in TITLE_FIELDS:
            return {label: Stance(()) for label in to} if verdict else to
        return {
            label: replace(stance, fields=(verdict,), sure=stance.sure or len(to) == 1) for label, stance in to.items()
        }

    def _title(self, text: str) -> str:
        """The likeliest verdict of ``text`` on a film; empty where it is like none of the examples."""
        scores = self._score("title", text)
        best = max(scores, key=lambda name: scores[name])
        return best if scores[best] >= SAID else ""

    def _score(self, kind: str, text: str) -> dict[str, float]:
        return self._examples[kind].scores(self._encoder.encode([text])[0])

    @cached_property
    def _examples(self) -> Mapping[str, Examples]:
        bank: Mapping[str, Mapping[str, Sequence[str]]] = read_bank("assistant.dialogue", "verdicts")
        return {kind: Examples(texts, self._encoder) for kind, texts in bank.items()}


def _credited(text: str, span: tuple[int, int]) -> bool:
    """Whether what stands beside the name at ``span`` only says that it is one's."""
    return bool(not text[: span[0]].strip() or CREDIT.search(text[: span[0]])) or bool(CREDITED.search(text[span[1] :]))


def _sentence(text: str, span: tuple[int, int]) -> str:
    start = max((mark.end() for mark in HARD.finditer(text, 0, span[0])), default=0)
    mark = HARD.search(text, span[1])
    return _about(text, span, start, mark.start() if mark else len(text), "it", "that one")


def _clause(text: str, span: tuple[int, int]) -> str:
    return _about(text, span, *clause(text, span[0]), "him", "them")


def _about(text: str, span: tuple[int, int], start: int, end: int, one: str, others: str) -> str:
    """``text`` from ``start`` to ``end`` with words for the label at ``span`` and for the others."""
    words = LABEL.sub(others, text[start : span[0]]) + one + LABEL.sub(others, text[span[1] : end])
    return " ".join(words.split())
