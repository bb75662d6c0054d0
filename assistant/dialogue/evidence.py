"""Which values of the catalogue's vocabulary a message gives evidence for: what its edit may hold.

A small model reads "western" right more often when it chooses among five genres than among twenty-seven. A value
stays in the schema when one of its known phrases stands in the message (typos forgiven) or when nothing is known of
how people say it; where no genre or mood is said outright, those whose names lie near the message in the encoder's
space stay. Years, counts and eras need a word that could mean them. This narrows what can be decoded; what is meant
is still the model's to say. Only a reading that finds nothing where something is said outright is asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from assistant.dialogue.edit import Vocabulary
from assistant.starter.banks import bank

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
NEWER = re.compile(r"\b(newer|later|fresher|more (recent|modern)|contemporary|too (old|dated))\b", re.I)
COUNT = re.compile(
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|single|couple|pair|few|several|handful|dozen|list|many)\b",
    re.I,
)


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
    count: bool
    outright: tuple[str, ...] = ()
    """The facets of which a value is said in known words."""


class EvidenceFinder:
    """Finds evidence for the values of ``vocabulary``; the names of genres and moods are encoded once."""

    def __init__(self, vocabulary: Vocabulary, encoder: Encoder) -> None:
        self._vocabulary, self._encoder = vocabulary, encoder
        self._names: dict[str, NDArray[np.float32]] = {}

    def find(self, message: str) -> Evidence:
        """The evidence in ``message``, which carries its labels."""
        words = " ".join(LABEL.sub(" ", message).lower().split())
        said = {name: tuple(_said(name, getattr(self._vocabulary, name), words)) for name in FACETS}
        open_ = {name: said[name] or self._near(name, words) for name in FACETS}
        unknown = {name: _unknown(name, getattr(self._vocabulary, name)) for name in FACETS}
        return Evidence(
            **{name: tuple(dict.fromkeys((*open_[name], *unknown[name]))) for name in FACETS},
            outright=tuple(name for name in FACETS if said[name]),
            kinds=self._vocabulary.kinds,
            years=_years(words),
            era=_eras(words),
            count=bool(COUNT.search(words)),
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
    for decade, more in bank("lexicon")["decades"].items():
        first = int(decade)
        if (first, first + 9) not in spans and any(
            re.search(rf"(?<![\w']){re.escape(_bare(p))}\b", words) for p in more
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
    outright = tuple(era for era, cue in (("older", OLDER), ("newer", NEWER)) if cue.search(words))
    return outright or (("older", "newer") if ERA.search(words) else ())


def _unknown(facet: str, values: Sequence[str]) -> tuple[str, ...]:
    """The ``values`` of which no phrase is known."""
    known = phrases(facet)
    return tuple(value for value in values if value not in known)


def narrowed(schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """``schema`` without the fields for which a message gives no evidence."""
    gone = {name for name in ("years", "era", "count") if not getattr(evidence, name)}
    properties = {name: value for name, value in schema["properties"].items() if name not in gone}
    if evidence.era:
        properties["era"] = {"enum": list(evidence.era)}
    if evidence.years:
        pairs = [[{"const": year} for year in pair] for pair in evidence.years]
        properties["years"] = {
            "anyOf": [{"type": "array", "prefixItems": pair, "items": False, "minItems": 2} for pair in pairs]
        }
    return {**schema, "properties": properties}


def insisting(schema: dict[str, Any], evidence: Evidence) -> dict[str, Any] | None:
    """``schema`` of a wish that must hold what is said outright; None where nothing is."""
    if not evidence.outright:
        return None
    properties = {**schema["properties"], "act": {"enum": ["find"]}}
    return {**schema, "properties": properties, "required": ["act", *evidence.outright]}


def _stands(phrase: str, words: str) -> bool:
    if len(phrase) < LEAST_FUZZY:
        return re.search(rf"\b{re.escape(phrase)}\b", words) is not None
    return phrase in words or fuzz.partial_ratio(phrase, words, score_cutoff=FORGIVEN) >= FORGIVEN


@cache
def phrases(facet: str) -> Mapping[str, tuple[str, ...]]:
    """How people say the values of ``facet``, lower case."""
    said: dict[str, list[str]] = {}
    for value, phrase in _sayings(facet, bank("lexicon")):
        said.setdefault(value, []).append(_bare(phrase))
    return {value: tuple(dict.fromkeys(filter(None, more))) for value, more in said.items()}


def _sayings(facet: str, lexicon: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each value of ``facet`` with a phrase for it."""
    groups = {
        "genres": [lexicon["genre_nouns"], lexicon["genre_adjectives"], lexicon["genre_plural"]],
        "moods": [*_parts(lexicon["mood_phrases"]), lexicon["not_mood_phrases"]],
        "countries": _parts(lexicon["countries"]),
        "languages": [lexicon["languages"]],
    }[facet]
    for group in groups:
        for value, more in group.items():
            yield from ((value, phrase) for phrase in more or ())
    for combo in lexicon["combos"]:
        yield from ((value, combo["phrase"]) for value in combo.get(facet) or ())


def _parts(nested: Mapping[str, Mapping[str, Sequence[str]]]) -> list[dict[str, Sequence[str]]]:
    """``value -> part -> phrases`` as one mapping a part."""
    parts = sorted({part for forms in nested.values() for part in forms})
    return [{value: forms.get(part) or () for value, forms in nested.items()} for part in parts]


def _bare(phrase: str) -> str:
    """``phrase`` without an article or a preposition in front, in lower case."""
    return re.sub(r"^(a|an|the|some|from|in|made in|out of|that|that's|with)\s+", "", phrase.lower()).strip()
