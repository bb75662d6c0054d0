"""What a message gives evidence for: what its edit may hold, and what it must.

What is said in known words is decided by rule: which genres, moods, places and tongues, and whether they are refused
(`values`); where a label goes (`stance`); what stands in a construction that governs a topic (`topic`); how many
(`pointing`). A small model would guess at these. It chooses where words have two meanings, typos or none of the known
forms: then a value stays possible when a phrase for it nearly stands in the message, when nothing is known of how
people say it, or when its name lies very near in the encoder's space. Years and eras need a word that could mean them;
giving up a part of the wish needs a word that gives up and one that names the part (`cues`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from assistant.dialogue.cues import (
    KIN,
    acts_said,
    eras_said,
    gives_away,
    gives_up,
    gives_up_all,
    names_period,
    outright_eras,
    parts_given_up,
    parts_named,
    spelt,
    without_periods,
    years_said,
)
from assistant.dialogue.edit import ACTS, ASKING, CLEARABLE, MAX_ABOUT, Act, Vocabulary
from assistant.dialogue.examples import Encoder, Examples
from assistant.dialogue.pointing import counts, governed_counts, pointed
from assistant.dialogue.scope import clause
from assistant.dialogue.stance import Stance, stances
from assistant.dialogue.subject import Subjects, possible
from assistant.dialogue.topic import gives_up_topic, topic
from assistant.dialogue.values import PLACES, TASTES, Choice, Saying, choices, ignored, sayings
from assistant.dialogue.verdict import Verdicts
from retrieval.lexicon import clearing, phrases, read_bank
from retrieval.words import common_words

NEAREST = {"genres": 3, "moods": 4}
LIKELY = 0.6
"""The least cosine of a message with a genre or mood for it to be meant though nothing says it."""
KEPT, GIVEN_UP, CLEARLY = 0.3, -0.4, 0.05
"""How like the examples that give up nothing a message must be to give up nothing, and those of a part to give it up.

The latter by how much more than the former.
"""
FORGIVEN = 90.0
ALIKE = 70.0
LEAST_FUZZY = 6
TITLES = ("like", "dislike", "seen")
FACETS = ("genres", "moods", "countries", "languages")
LABEL = re.compile(r"\[[TPS]\d+ [^\]]*\]")
STRAY = re.compile(r"\[T\d+ ([a-z]+)\]")
REQUEST = re.compile(r"(anything|something|films?|movies?|more) (by|with|from|like|of|directed|starring|in)\b[^?]*$")
WORD = re.compile(r"\[T\d+ (\w+)\]")
TITLE = re.compile(r"\[[TS]\d+ ", re.IGNORECASE)
PERSON = re.compile(r"\[P\d+ ", re.IGNORECASE)


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
    acts: tuple[Act, ...] = ACTS
    """What the message can do: only what has the words of a question asks one."""
    about: tuple[str, ...] = ()
    """Stretches of the message that can be its topic."""
    clear: tuple[str, ...] = ()
    """What of the earlier wish may be given up: what is said in known words, else what is named beside a cue."""
    outright: tuple[str, ...] = ()
    """Of another time and giving up, what is said in known words."""
    choices: Mapping[str, Choice] = field(default_factory=dict)
    """What the fields can hold that rules decide: facets, labels, the topic, the count."""


class EvidenceFinder:
    """Finds evidence for the values of ``vocabulary``; the names of genres and moods are encoded once."""

    def __init__(
        self, vocabulary: Vocabulary, encoder: Encoder, is_topic: Callable[[str], bool] = lambda words: False
    ) -> None:
        self._vocabulary, self._encoder, self._is_topic = vocabulary, encoder, is_topic
        self._verdicts = Verdicts(encoder)
        self._known = {name: getattr(vocabulary, name) for name in FACETS}

    def prepare(self) -> None:
        """Fits all examples and encodes the names of facets."""
        self._verdicts.prepare()
        self._subjects, self._parts, self._names  # noqa: B018

    def find(self, message: str, shown: int = 0) -> Evidence:
        """The evidence in ``message``, which carries its labels and follows a list of ``shown`` items."""
        text = without_periods(message.lower().replace("’", "'"))
        words = " ".join(LABEL.sub(" ", message).lower().split())
        # A plain word may have been taken for a title: what it would say stays possible, but is not said outright.
        loose = " ".join(LABEL.sub(" ", STRAY.sub(r"\1", message)).lower().split())
        everything = sayings(text, self._known)
        away = {one.facet for one in everything if gives_away(text, one.start)}
        spoken = tuple(one for one in everything if not gives_away(text, one.start))
        said = {name: tuple(_said(name, self._known[name], loose)) for name in FACETS}
        about = topic(message, spoken, MAX_ABOUT, self._is_topic)
        decided = choices(text, _outside(spoken, text, about), self._left(message, everything))
        vector = cache(lambda: self._encoder.encode([words])[0])
        self._add_unsaid(decided, words, vector, near=not about.sure)
        decided["about"] = about
        pointing, exactly = pointed(message, shown)
        # What a topic's words say is of the topic: "about two older people", "about starting over".
        outside = _without(about.sure, message)
        rest = " ".join(_without(about.sure, KIN.sub(" ", LABEL.sub(" ", message).lower())).split())
        count = governed_counts(outside)
        to = self._verdicts.settled(message, stances(message, pointing, exactly, bool(spoken or count)))
        decided |= _pointers(to)
        given_up, may = self._giving_up(message, text, rest, away, spoken, decided, said, vector)
        if given_up and not exactly:
            # "It need not be like that after all": no verdict on what was shown.
            decided |= {name: _without_shown(decided[name], message) for name in TITLES}
        decided["clear"] = Choice(given_up, may)
        eras = outright_eras(rest)
        if names_period(words) and "years" not in given_up:
            decided["years"] = Choice(sure=("period",))
        if count:
            decided["count"] = Choice(sure=tuple(str(n) for n in count))
        years = years_said(words)
        filmic = bool(LABEL.search(message) or eras or given_up or count or exactly)
        likeness = cache(lambda: self._subjects.likeness(vector()))
        firm = any(one.facet in TASTES and not one.double for one in spoken)
        acts = (
            possible(
                words,
                filmic,
                bool(spoken or years),
                likeness,
                topical=bool(about.sure),
                pointing=bool(pointing),
                firm=firm,
            )
            if words
            else ACTS
        )
        if given_up:
            acts = tuple(act for act in acts if act not in {"chat", "off_topic"}) or acts
        return Evidence(
            **{name: _union(decided, name, said[name]) for name in FACETS},
            clear=decided["clear"].values,
            outright=("era",) if len(eras) == 1 else (),
            kinds=self._vocabulary.kinds,
            years=() if "years" in given_up else years or years_said(loose),
            # A new search is no newer film.
            era=eras or (() if given_up else eras_said(loose)),
            count=count or counts(outside),
            acts=tuple(act for act in _acts(message, shown) if act in acts),
            about=decided["about"].values,
            choices=decided,
        )

    def _add_unsaid(
        self, decided: dict[str, Choice], words: str, vector: Callable[[], NDArray[np.float32]], *, near: bool
    ) -> None:
        """Adds the genres and moods that may be meant though no known phrase says them, if ``near`` those nearest."""
        near = near and bool(words) and not any(decided[name].sure for name in NEAREST)
        for name in NEAREST:
            if near and not decided[name].values and not decided[f"not_{name}"].values:
                decided[name] = Choice(open=self._near(name, vector))
            unknown = _unknown(name, self._known[name])
            for part in (name, f"not_{name}") if unknown else ():
                decided[part] = replace(decided[part], open=(*decided[part].open, *unknown))

    @cached_property
    def _subjects(self) -> Subjects:
        return Subjects(self._encoder)

    @cached_property
    def _names(self) -> Mapping[str, NDArray[np.float32]]:
        """The vectors of the values of `NEAREST` facets, each float32 (values, dim)."""
        values = {facet: [f"a {value} film" for value in getattr(self._vocabulary, facet)] for facet in NEAREST}
        return {facet: self._encoder.encode(texts) for facet, texts in values.items()}

    @cached_property
    def _parts(self) -> Examples:
        return Examples(read_bank("assistant.dialogue", "giving_up"), self._encoder)

    def _giving_up(
        self,
        message: str,
        text: str,
        words: str,
        away: Collection[str],
        spoken: Sequence[Saying],
        decided: dict[str, Choice],
        said: Mapping[str, Sequence[str]],
        vector: Callable[[], NDArray[np.float32]],
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The parts of the earlier wish that are given up, by rule or by example, and else those that may be.

        What is said of such a part in the same clause leaves ``decided``: "no longer insist on funny".
        """
        if given_up := self._given_up(message, text, words, away):
            return given_up, ()
        loose = " ".join(LABEL.sub(" ", STRAY.sub(r"\1", message)).lower().split())
        may = self._may_give_up(loose, message, said, decided)
        if not (may or gives_up(words) or gives_up_all(words)):
            return (), ()
        scores = self._parts.scores(vector())
        part = max(scores, key=lambda name: scores[name])
        clearly = scores[part] >= GIVEN_UP and scores[part] - scores["none"] >= CLEARLY
        if part == "none" or not clearly:
            return (), may if scores["none"] < KEPT else ()
        if decided.get(f"not_{part}", Choice()).sure:
            return (), ()
        decided[part] = _kept(decided[part], part, spoken, text) if part in FACETS else Choice()
        return (part,), ()

    def _given_up(self, message: str, text: str, words: str, away: Collection[str]) -> tuple[str, ...]:
        """The parts of the earlier wish that are given up without a doubt, by name or by a value in ``away``."""
        parts = {part for part in self._clearable() if any(spelt(phrase, words) for phrase in clearing(part))}
        parts |= parts_given_up(words) | {*away}
        if not {"countries", "languages"}.isdisjoint(away):
            # "French" may have been read as either.
            parts |= {"countries", "languages"}
        for pattern, part in ((PERSON, "people"), (TITLE, "like")):
            named = (match.start() for match in pattern.finditer(text))
            if any(gives_away(text, at) and not STRAY.match(message, at) for at in named):
                parts.add(part)
        if gives_up_topic(text):
            parts.add("about")
        if "all" in parts:
            return ("all",)
        return tuple(part for part in self._clearable() if part in parts)

    def _may_give_up(
        self, words: str, message: str, said: Mapping[str, Sequence[str]], decided: Mapping[str, Choice]
    ) -> tuple[str, ...]:
        """The parts that ``words`` may give up: those named beside a word that gives up, or all."""
        parts = {"all"} if gives_up_all(words) else set()
        if gives_up(words):
            parts |= parts_named(words)
            parts |= {part for part in ("genres", "moods") if said[part]}
            if said["countries"] or said["languages"]:
                # "French" may have been read as either.
                parts |= {"countries", "languages"}
            if years_said(words):
                parts.add("years")
            if PERSON.search(message):
                parts.add("people")
        if not parts:
            parts = {part for part in self._clearable() if any(_stands(phrase, words) for phrase in clearing(part))}
        return tuple(part for part in self._clearable() if part in parts and not decided.get(part, Choice()).sure)

    def _left(self, message: str, spoken: Sequence[Saying]) -> dict[str, tuple[str, ...]]:
        """The values that what is left of ``message`` may say in passing or with a typo."""
        for one in spoken:
            message = message[: one.start] + " " * (one.end - one.start) + message[one.end :]
        words = " ".join(LABEL.sub(" ", STRAY.sub(r"\1", message)).lower().split())
        return {name: tuple(_said(name, self._known[name], words)) for name in FACETS}

    def _clearable(self) -> tuple[str, ...]:
        return tuple(part for part in CLEARABLE if part != "kind" or len(self._vocabulary.kinds) > 1)

    def _near(self, facet: str, vector: Callable[[], NDArray[np.float32]]) -> tuple[str, ...]:
        """The values of ``facet`` nearest to ``vector``, which is only made where there are any."""
        most, values = NEAREST.get(facet), getattr(self._vocabulary, facet)
        if not most or not values:
            return ()
        likeness = self._names[facet] @ vector()
        return tuple(values[at] for at in np.argsort(-likeness)[:most] if likeness[at] >= LIKELY)


def _without(stretches: Sequence[str], text: str) -> str:
    """``text`` without ``stretches`` of it."""
    for stretch in stretches:
        text = re.sub(re.escape(stretch), " · ", text, flags=re.IGNORECASE)
    return text


def _kept(choice: Choice, facet: str, said: Sequence[Saying], text: str) -> Choice:
    """``choice`` of ``facet`` without what is ``said`` in a clause that gives up: "no longer insist on funny"."""
    gone = {
        one.value
        for one in said
        if one.facet == facet and gives_up(LABEL.sub(" ", text[slice(*clause(text, one.start))]))
    }
    keep = tuple(value for value in choice.sure if value not in gone)
    return replace(choice, sure=keep, open=tuple(value for value in choice.open if value not in gone))


def _without_shown(choice: Choice, message: str) -> Choice:
    """``choice`` without the shown items that ``message`` carries no label for."""
    carried = tuple(label for label in choice.values if f"[{label} " in message)
    return Choice(tuple(x for x in choice.sure if x in carried), tuple(x for x in choice.open if x in carried))


def _outside(said: Sequence[Saying], text: str, about: Choice) -> tuple[Saying, ...]:
    """``said`` without countries and tongues that are of the topic: "about the french revolution"."""
    start = text.find(about.sure[0].lower()) if about.sure else -1
    end = start + len(about.sure[0]) if start >= 0 else -1
    return tuple(one for one in said if one.facet not in PLACES or not (start <= one.start and one.end <= end))


def _union(decided: Mapping[str, Choice], facet: str, said: Sequence[str]) -> tuple[str, ...]:
    """All values of ``facet``, wanted or refused."""
    refused = decided.get(f"not_{facet}", Choice())
    return tuple(dict.fromkeys((*decided[facet].values, *refused.values, *said)))


def _said(facet: str, values: tuple[str, ...], words: str) -> Iterator[str]:
    """The ``values`` that ``words`` say in one of the known ways, in a long one with a typo or two."""
    forms = _forms(facet, values)
    # A shorter text would be looked for in the phrase.
    near = [phrase for phrase in forms if len(phrase) >= LEAST_FUZZY and len(words) >= len(phrase) - 1]
    odd = [word for word in words.split() if word not in common_words()]
    if facet == "languages" or not odd:
        # Tongues differ by a letter or two: "where they speak danish" is not Spanish with a typo. Nor is an ordinary
        # word one of a facet: "serial" is not Serbian.
        near = []
    ratios = process.cdist([words], near, scorer=fuzz.partial_ratio, score_cutoff=FORGIVEN)[0] if near else ()
    found = {phrase for phrase, ratio in zip(near, ratios, strict=True) if ratio >= FORGIVEN and _misspelt(phrase, odd)}
    long = LEAST_FUZZY if facet != "languages" else len(words) + 1
    found |= {phrase for phrase in forms if (phrase in words if len(phrase) >= long else spelt(phrase, words))}
    said = {value for phrase in found for value in forms[phrase]}
    yield from (value for value in values if value in said)


def _misspelt(phrase: str, odd: Sequence[str]) -> bool:
    """Whether one of the words ``odd``, which are no ordinary ones, may be a word of ``phrase`` with a typo."""
    return any(fuzz.ratio(word, part) >= ALIKE for word in odd for part in phrase.split())


@cache
def _forms(facet: str, values: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Each way to say one of ``values``, with the values it says."""
    known = phrases(facet)
    forms: dict[str, tuple[str, ...]] = {}
    for value in values:
        for phrase in (value, *known.get(value, ())):
            if phrase in ignored():
                continue
            forms[phrase] = (*forms.get(phrase, ()), value)
    return forms


def _unknown(facet: str, values: Sequence[str]) -> tuple[str, ...]:
    """The ``values`` of which no phrase is known."""
    known = phrases(facet)
    return tuple(value for value in values if value not in known)


def _acts(message: str, shown: int) -> tuple[Act, ...]:
    if (not shown and not LABEL.search(message)) or REQUEST.match(message.lower()):
        # There is nothing to ask about, or something to find.
        return tuple(act for act in ACTS if act not in ASKING)
    # A title of one word may be none: "[T1 Who] directed that?"
    words = LABEL.sub(" ", WORD.sub(r"\1", message)).lower()
    possible = acts_said(words, len(TITLE.findall(message)))
    return tuple(act for act in ACTS if act not in ASKING or act in possible)


def _pointers(to: Mapping[str, Stance]) -> dict[str, Choice]:
    """What the fields that hold labels can hold, by the stance ``to`` each."""
    found: dict[str, Choice] = {}
    for name in (*TITLES, "people", "not_people"):
        mine = {label: one for label, one in to.items() if name in one.fields}
        certain = tuple(label for label, one in mine.items() if one.sure)
        rest = tuple(label for label in mine if label not in certain)
        needed = any(one.needed for one in mine.values())
        found[name] = Choice(certain, rest, needed)
    return found


def _stands(phrase: str, words: str) -> bool:
    """True when ``words`` hold ``phrase``, a long one with a typo or two."""
    if len(phrase) < LEAST_FUZZY:
        return spelt(phrase, words)
    if phrase in words:
        return True
    # A shorter text would be looked for in the phrase.
    return len(words) >= len(phrase) - 1 and fuzz.partial_ratio(phrase, words, score_cutoff=FORGIVEN) >= FORGIVEN
