"""Where a message refuses what it names: spans found by rule, with the cues of ``language/reading.yaml``.

A refusal reaches from its cue ("no", "hate", "fed up with") to the end of the clause, over a list ("no war, horror or
musicals") and up to a word that turns ("but", "how about"); some stand after what they refuse ("annoys me"). Knows
nothing of the catalogue. Texts are lower case, with labels in them; spans are half-open and count characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from retrieval.lexicon import read_bank

LABEL = re.compile(r"\[[tps]\d+ [^\]]*\]")
HARD = re.compile(r"[.;!?:](?=\s|$)|\s-+\s")
SOFT = re.compile(r",")
LISTING = re.compile(r"^\s*(or|nor|and (no|not))\b")
JOINED = re.compile(r"\b(or|nor)\b")
FILLER = "·"
"""Stands for each character that is masked: no part of a word."""

Span = tuple[int, int]


@cache
def cues(name: str) -> re.Pattern[str]:
    """What says ``name`` in one of the ways of the bank, between words."""
    parts = read_bank("assistant.dialogue", "reading")[name]
    return re.compile(rf"(?<![\w'])(?:{'|'.join(f'(?:{part})' for part in parts)})(?!\w)")


@dataclass(frozen=True)
class Scope:
    """What ``cue`` reaches, from ``start`` to ``end``."""

    cue: Span
    start: int
    end: int

    def holds(self, start: int, end: int) -> bool:
        """Whether what stands from ``start`` to ``end`` is within reach."""
        return self.start <= start and end <= self.end


def refusals(text: str) -> tuple[Scope, ...]:
    """Each refusal of ``text``."""
    bare = _masked(LABEL, text)
    bare = _masked(cues("harmless"), bare)
    return (*_forward(bare), *_backward(bare))


def clause(text: str, at: int) -> Span:
    """The clause around ``at``: between marks of punctuation and words that turn."""
    bare = _masked(LABEL, text)
    ends = sorted([*(m.span() for m in HARD.finditer(bare)), *(m.span() for m in SOFT.finditer(bare)), *_turns(bare)])
    first = max((end for _, end in ends if end <= at), default=0)
    return first, min((start for start, _ in ends if start > at), default=len(text))


def _forward(bare: str) -> Iterator[Scope]:
    for cue in cues("refusing").finditer(bare):
        yield Scope(cue.span(), cue.end(), _reach(bare, cue.end()))


def _reach(bare: str, start: int) -> int:
    """Where a refusal ends whose cue ends at ``start``."""
    hard = HARD.search(bare, start)
    end = hard.start() if hard else len(bare)
    for turn in cues("turning").finditer(bare, start, end):
        # "I don't want just a comedy": right behind the cue it turns nothing.
        if bare[start : turn.start()].strip():
            end = turn.start()
            break
    for comma in SOFT.finditer(bare, start, end):
        rest = bare[comma.end() : end]
        if not (LISTING.match(rest) or JOINED.search(rest)):
            return comma.start()
    return end


def _backward(bare: str) -> Iterator[Scope]:
    for cue in cues("refused").finditer(bare):
        before = bare[: cue.start()].rstrip(" ,")
        marks = [m.end() for pattern in (HARD, SOFT) for m in pattern.finditer(before)]
        marks += [end for _, end in _turns(before)]
        yield Scope(cue.span(), max(marks, default=0), cue.start())


def _turns(bare: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"\b(but|however|though|although|instead)\b", bare)]


def _masked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: FILLER * len(match[0]), text)
