"""Which values of the catalogue's vocabulary a message gives evidence for: what its edit may hold.

A small model reads "western" right more often when it chooses among five genres than among twenty-seven. A value
stays in the schema when one of its known phrases stands in the message (typos forgiven) or when nothing is known of
how people say it; where no genre or mood is said outright, those whose names lie near the message in the encoder's
space stay. Years, counts and eras need a word that could mean them, and giving up what was wished before needs one
that gives up. This narrows what can be decoded; what is meant is still the model's to say. Only a reading that leaves
out what is said outright is asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from assistant.dialogue.pointing import counts, topics
from assistant.dialogue.edit import CLEARABLE, MAX_ABOUT, Edit, Vocabulary
from assistant.dialogue.verify import DENIAL
from retrieval.lexicon import bare, clearing, lexicon, phrases

NEAREST = {"genres": 3, "moods": 4}
FORGIVEN = 90.0
LEAST_FUZZY = 6
FACETS = ("genres", "moods", "countries", "languages")
LABEL = re.compile(r"\[[TPS]\d+ [^\]]*\]")
YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)(s?)")
BEFORE = re.compile(
    r"\b(before|until|till|older than|earlier than|up to|or (older|earlier)|no newer|not newer)\b|\bpre", re.I
)
AFTER = re.compile(
    r"\b(after|since|onwards?|newer than|later than|or (newer|later)|no older|not older|\w+ on)\b|\bpost", re.I
)
ERA = re.compile(
    r"\b(old|new|early|earlier|late|later|recent|modern|vintage|classic|back|before|after|fresh|past|present|"
    r"contemporary|dated|time|up to date)|\b(pre|post)",
    re.I,
)
OLDER = re.compile(r"\b(older|earlier|vintage|further back|old-school|too (new|modern|recent))\b", re.I)
GIVES_UP = re.compile(
    r"\b(forget|never ?mind|any\w*|what(so)?ever|whoever|wherever|matters?|mind|care|ignore|drop|skip|scrap|scratch|"
    r"leave out|(start|begin|try|go) (over|again|fresh|anew)|reset|wipe|erase|clear|clean|throw|lose|else|different|"
    r"instead|fine|ok|okay|open|flexible|necessarily|have to|need to|important|new|change|welcome|all|both|up to you|"
    r"no longer|not just|not only|square one|from the top|again|back to)\b",
    re.I,
)
NEWER = re.compile(r"\b(newer|later|fresher|more (recent|modern)|contemporary|too (old|dated))\b", re.I)


class Encoder(Protocol):
    """The text encoder of retrieval."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Evidence:
    """What one message supports; the fields of `Vocabulary`, and whether years, an era or a count can be meant."""

    genres: tuple[str, ...]
    moods: tuple[str, ...]
    countries: tuple[str, ...]
    languages: tuple[str, ...]
    kinds: tuple[str, ...]
    years: tuple[tuple[int, int], ...]
    era: tuple[str, ...]
    count: tuple[int, ...]
    about: tuple[str, ...] = ()
    """Stretches of the message that can be its topic."""
    clear: tuple[str, ...] = ()
    """What of the earlier wish may be given up: what is named in known words, else all where a word gives up."""
    outright: tuple[str, ...] = ()
    """The fields of the edit of which a value is said in known words."""


class EvidenceFinder:
    """Finds evidence for the values of ``vocabulary``; the names of genres and moods are encoded once."""

    def __init__(self, vocabulary: Vocabulary, encoder: Encoder) -> None:
        self._vocabulary, self._encoder = vocabulary, encoder
        self._names: dict[str, NDArray[np.float32]] = {}

    def find(self, message: str) -> Evidence:
        """The evidence in ``message``, which carries its labels."""
        words = " ".join(LABEL.sub(" ", message).lower().split())
        said = {name: tuple(_said(name, getattr(self._vocabulary, name), words)) for name in FACETS}
        given_up = tuple(part for part in CLEARABLE if any(_stands(p, words) for p in clearing(part)))
        open_ = {name: said[name] or self._near(name, words) for name in FACETS}
        unknown = {name: _unknown(name, getattr(self._vocabulary, name)) for name in FACETS}
        return Evidence(
            **{name: tuple(dict.fromkeys((*open_[name], *unknown[name]))) for name in FACETS},
            clear=given_up or (CLEARABLE if GIVES_UP.search(words) else ()),
            outright=(
                *(name for name in FACETS if said[name]),
                *(["era"] if len(_outright_eras(words)) == 1 else []),
                *(["clear"] if given_up else []),
            ),
            kinds=self._vocabulary.kinds,
            years=_years(words),
            era=_eras(words),
            count=counts(message),
            about=topics(message, MAX_ABOUT),
        )

    def _near(self, facet: str, words: str) -> tuple[str, ...]:
        most, values = NEAREST.get(facet), getattr(self._vocabulary, facet)
        if not most or not words or not values:
            return ()
        if facet not in self._names:
            self._names[facet] = self._encoder.encode([f"a {value} film" for value in values])
        likeness = self._names[facet] @ self._encoder.encode([words])[0]
        return tuple(values[at] for at in np.argsort(-likeness)[:most])


def _said(facet: str, values: Sequence[str], words: str) -> Iterator[str]:
    """The ``values`` that ``words`` say in one of the known ways."""
    known = phrases(facet)
    yield from (value for value in values if any(_stands(phrase, words) for phrase in (value, *known.get(value, ()))))


def _years(words: str) -> tuple[tuple[int, int], ...]:
    """The spans that years and decades in ``words`` can mean, 0 for an open end; none without any."""
    spans = [(int(year), int(year) + 9 if plural else int(year)) for year, plural in YEAR.findall(words)]
    for decade, more in lexicon()["decades"].items():
        first = int(decade)
        if (first, first + 9) not in spans and any(
            re.search(rf"(?<![\w']){re.escape(bare(p))}\b", words) for p in more
        ):
            spans.append((first, first + 9))
    if not spans:
        return ()
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    if len(spans) > 1:
        return ((first, last),)
    if BEFORE.search(words):
        return ((0, first - 1), (0, last))
    if AFTER.search(words):
        return ((first, 0), (last + 1, 0))
    return ((first, last),)


def _eras(words: str) -> tuple[str, ...]:
    """``older``, ``newer`` or both, as far as ``words`` leave it open; none where they speak of no time."""
    return _outright_eras(words) or (("older", "newer") if ERA.search(words) else ())


def _outright_eras(words: str) -> tuple[str, ...]:
    return tuple(era for era, cue in (("older", OLDER), ("newer", NEWER)) if cue.search(words))


def _unknown(facet: str, values: Sequence[str]) -> tuple[str, ...]:
    """The ``values`` of which no phrase is known."""
    known = phrases(facet)
    return tuple(value for value in values if value not in known)


def narrowed(schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """``schema`` without the fields for which a message gives no evidence."""
    gone = {name for name in ("years", "era", "count", "about", "clear") if not getattr(evidence, name)}
    properties = {name: value for name, value in schema["properties"].items() if name not in gone}
    if evidence.era:
        properties["era"] = {"enum": list(evidence.era)}
    for name in ("count", "about"):
        if options := getattr(evidence, name):
            properties[name] = {"enum": list(options)}
    if evidence.clear:
        properties["clear"] = {**properties["clear"], "items": {"enum": list(evidence.clear)}}
    if evidence.years:
        pairs = [[{"const": year} for year in pair] for pair in evidence.years]
        properties["years"] = {
            "anyOf": [{"type": "array", "prefixItems": pair, "items": False, "minItems": 2} for pair in pairs]
        }
    return {**schema, "properties": properties}


def insisting(schema: dict[str, Any], evidence: Evidence, edit: Edit, message: str) -> dict[str, Any] | None:
    """``schema`` of a wish that must hold what ``message`` says outright; None where ``edit`` leaves none of it out.

    A facet counts as left out when nothing at all was read and the message denies nothing: its words often mean
    something else beside a wish. What gives up and what asks for another time have no such double meanings.
    """
    if edit.act != "find":
        return None
    nothing_read = edit == Edit(act="find") and not DENIAL.search(message)
    binding = set(evidence.outright) if nothing_read else {"era", "clear"}
    missed = [name for name in evidence.outright if name in binding and not getattr(edit, name)]
    if "era" in missed and edit.years is not None:
        missed.remove("era")
    if not missed:
        return None
    kept = [name for name in schema["properties"] if name in missed or (name != "act" and getattr(edit, name, None))]
    return {**schema, "properties": {**schema["properties"], "act": {"enum": ["find"]}}, "required": ["act", *kept]}


def _stands(phrase: str, words: str) -> bool:
    if len(phrase) < LEAST_FUZZY:
        return re.search(rf"\b{re.escape(phrase)}\b", words) is not None
    return phrase in words or fuzz.partial_ratio(phrase, words, score_cutoff=FORGIVEN) >= FORGIVEN
