"""What a message can be about: what stands in a governing construction, before "movies", or is a known topic.

The longest stretch in a governing construction ("set in paris", "about time travel") is the topic for certain; what is
left of the sentence is offered to the model where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

from rapidfuzz import fuzz, process

from assistant.dialogue.cues import gives_away, without_periods
from assistant.dialogue.pointing import STOP, topics
from assistant.dialogue.scope import FILLER, LABEL, refusals
from assistant.dialogue.values import PLACES, Choice, Saying
from retrieval.lexicon import lexicon, phrases, read_bank
from retrieval.words import common_words

BREAK = re.compile(r"[.,;:!?\[\]()·]|\s-\s")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
DATE = re.compile(
    r"\b((in|from|of) )?(the )?(early |late |mid[ -]?)?"
    r"('?\d0'?s|(19|20)\d\ds?|(twen|thir|for|fif|six|seven|eigh|nine)ties)\b"
)
MOST_WORDS = 8
LEAST_RARE, ALIKE = 5, 72.0
"""The shortest word that can be a topic by itself, and how alike a word of a facet with a typo is, in percent."""
IsTopic = Callable[[str], bool]


def topic(message: str, said: Sequence[Saying], longest: int, is_topic: IsTopic) -> Choice:
    """The topic of ``message``, sure where a construction governs it; stretches that can be one otherwise.

    ``said`` are the values of facets that the message says; none is a topic by itself. Only stretches of at most
    ``longest`` characters count; ``is_topic`` tells whether words are a keyword of the catalogue.
    """
    message = without_periods(message)
    text = DATE.sub(lambda m: "." * len(m[0]), LABEL.sub(lambda m: FILLER * len(m[0]), message.lower()))
    scopes = refusals(message.lower())
    governed = [
        (start, stretch)
        for start, stretch in (*_governed(text, said), *_before_heads(text, said, is_topic))
        if len(stretch) <= longest and not gives_away(text, start)
    ]
    sure = [stretch for start, stretch in governed if not any(scope.holds(start, start + 1) for scope in scopes)]
    sure = [stretch for stretch in sure if stretch and '"' not in stretch and "\\" not in stretch]
    if sure:
        return Choice((sure[0],), ())
    facets = {word for one in said if not one.double for word in text[one.start : one.end].split()}
    free = [one for one in topics(message, longest) if not facets & set(one.lower().split())]
    free = [one for one in free if not set(one.lower().split()) <= _plain()]
    # What is refused is no topic: "no war".
    low = message.lower()
    free = [one for one in free if not any(scope.holds(at := low.find(one.lower()), at + len(one)) for scope in scopes)]
    known = [one for one in free if _known(one.lower()) or is_topic(one)]
    alone = [one for one in known if any(_says_only(one, part) for part in BREAK.split(text))]
    if alone:
        return Choice((max(alone, key=len),), ())
    return Choice((), tuple(known))


def gives_up_topic(message: str) -> bool:
    """Whether ``message`` says that an earlier topic need not be kept: "it doesn't have to be set in space"."""
    text = message.lower()
    return any(gives_away(text, start) for start, _ in _governed(text, ()))


def _says_only(stretch: str, part: str) -> bool:
    """Whether all that ``part`` of a sentence says is ``stretch``."""
    words = WORD.findall(part)
    own = stretch.lower().split()
    return stretch.lower() in part and all(word in STOP or word in own for word in words)


def _governed(text: str, said: Sequence[Saying]) -> Iterator[tuple[int, str]]:
    """What follows a word that governs a topic; behind "with" and the like no mood, which ``said`` holds."""
    bank = _read()
    for frame in re.finditer(rf"\b(?:{'|'.join(bank['governing'])})\s+", text):
        if stretch := _stretch(text[frame.end() :]):
            yield frame.end(), stretch
    for frame in re.finditer(rf"(?<=\w )(?:{bank['weakly_governing']})\s+", text):
        head = text[: frame.start()].split()[-1:]
        if not head or not (head[0] in _heads() or head[0] in _genre_nouns() or head[0] == "but"):
            continue
        if re.match(rf"(?:{bank['not_governed']})\b", text[frame.end() :]):
            continue
        if (stretch := _stretch(text[frame.end() :])) and not _is_facet(text, frame.end(), stretch, said):
            yield frame.end(), stretch


def _is_facet(text: str, at: int, stretch: str, said: Sequence[Saying]) -> bool:
    """Whether all that the words of ``stretch``, behind ``at``, tell is a mood or a country: "with some laughs"."""
    at = text.find(stretch, at)
    telling = [word for word in WORD.finditer(text, at, at + len(stretch)) if word[0] not in STOP | _plain()]
    facets = [one for one in said if one.facet in {"moods", *PLACES} and not one.double]
    return bool(telling) and all(_covered(word, facets) for word in telling)


def _before_heads(text: str, said: Sequence[Saying], is_topic: IsTopic) -> Iterator[tuple[int, str]]:
    """The words right before "movie" or a genre that are neither a facet nor say nothing: "heist movie"."""
    for head in _head().finditer(text):
        words = list(WORD.finditer(text, 0, head.start()))
        if not words or text[words[-1].end() : head.start()].strip():
            continue
        last = words[-1]
        telling = last
        if last[0] in _plain() and len(words) > 1 and text[words[-2].end() : last.start()] == " ":
            # "An election night drama": the words before tell.
            telling = words[-2]
        if _says_nothing(telling, said):
            continue
        first = last
        for word in reversed(words[:-1]):
            if _says_nothing(word, said) or text[word.end() : first.start()] != " ":
                break
            first = word
        stretch = text[first.start() : last.end()]
        if any(_known(words) or is_topic(words) for words in (stretch, telling[0])) or _is_rare(telling[0]):
            yield first.start(), stretch


def _says_nothing(word: re.Match[str], said: Iterable[Saying]) -> bool:
    """Whether ``word`` is no part of a topic: a plain word, a number or a facet's."""
    return word[0] in _plain() or word[0] in STOP or word[0].isdigit() or _covered(word, said)


def _covered(word: re.Match[str], said: Iterable[Saying]) -> bool:
    return any(one.start < word.end() and word.start() < one.end for one in said)


def _stretch(rest: str) -> str:
    """The topic at the beginning of ``rest``: to the end of its clause, without what says nothing at either end."""
    rest = BREAK.split(rest, maxsplit=1)[0]
    rest = re.split(rf"\b(?:{_read()['ending']})\b", f" {rest}", maxsplit=1)[0]
    words = list(WORD.finditer(rest))[:MOST_WORDS]
    while words and words[-1][0] in STOP:
        words.pop()
    if not words or all(word[0] in STOP for word in words):
        return ""
    return rest[words[0].start() : words[-1].end()]


@cache
def _is_rare(word: str) -> bool:
    """Whether ``word`` is no ordinary one and no facet's with a typo: "a bitcoin film"."""
    if len(word) < LEAST_RARE or not word.isalpha() or word in common_words() or word.rstrip("s") in common_words():
        return False
    return process.extractOne(word, _facet_words(), scorer=fuzz.ratio, score_cutoff=ALIKE) is None


@cache
def _facet_words() -> tuple[str, ...]:
    facets = ("genres", "moods", "countries", "languages")
    said = {value for facet in facets for value, more in phrases(facet).items() for value in (value, *more)}
    return tuple({word for phrase in said for word in phrase.split()})


def _known(stretch: str) -> bool:
    """Whether ``stretch`` is a topic of the bank, in the singular or the plural."""
    return _stem(stretch) in _topics()


def _stem(phrase: str) -> str:
    return re.sub(r"(?<=\w{3})(ies|es|s|y)$", "", re.sub(r"^(a|an|the) ", "", phrase))


@cache
def _topics() -> frozenset[str]:
    """The topics of the bank as wholes: their single words mean other things by themselves."""
    return frozenset(_stem(phrase.lower()) for phrase in lexicon()["topics"])


@cache
def _heads() -> frozenset[str]:
    return frozenset(_read()["heads"].split("|"))


@cache
def _head() -> re.Pattern[str]:
    kind = r"(?:kind|sort|type) of (?:film|movie|flick|thing|story|stuff)"
    return re.compile(rf"\b(?:{kind}|(?:film|movie|flick|story|storie|stuff)s?|{'|'.join(sorted(_genre_nouns()))})\b")


@cache
def _plain() -> frozenset[str]:
    return frozenset(_read()["plain"].split("|"))


@cache
def _genre_nouns() -> frozenset[str]:
    groups = (lexicon()["genre_nouns"], lexicon()["genre_plural"], lexicon()["genre_adjectives"])
    return frozenset(phrase.lower().split()[-1] for group in groups for more in group.values() for phrase in more)


def _read() -> Mapping[str, str]:
    return read_bank("assistant.dialogue", "reading")
