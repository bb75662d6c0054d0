"""Which shown items, numbers and topics the words of a message can mean: pure functions over its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from retrieval.lexicon import lexicon, read_bank
from retrieval.wish import MAX_COUNT
from retrieval.words import CUES, FUNCTION_WORDS

LABEL = re.compile(r"\[([TPS])(\d+) [^\]]*\]")
ORDINALS = (
    r"(?<!watch )(?<!see )(?<!try )first|1st|top one|(number|no\.?|nr\.?|#) ?(1|one)",
    r"second|2nd|middle|(number|no\.?|nr\.?|#) ?(2|two)",
    r"third|3rd|(number|no\.?|nr\.?|#) ?(3|three)",
    r"fourth|4th|(number|no\.?|nr\.?|#) ?(4|four)",
    r"fifth|5th|(number|no\.?|nr\.?|#) ?(5|five)",
)
SEVERAL = re.compile(
    r"\b(both|all|those|these|them|they|two|three|other|others|any|none|neither|each|either|your)\b", re.I
)
ONE = re.compile(
    r"\b(that|this|it|its|it's|one|ones|he|she|the film|the movie|list|no|why|how|whats?|whos?|which)\b", re.I
)
MAIN = re.compile(
    r"\b(tell (me|us) (a (bit|little) )?more|say more|go on|elaborate)"
    r"(?=\s*($|[.,;:!?]|(about|on|please|pls|plz|then)\b))"
    r"|\b(more|any|some|further|the) (details|info|information)\b|\b(convince|persuade|sell) (me|us)\b",
    re.I,
)
"""Asks after the first of the shown items without a word for it."""
LAST = re.compile(
    r"\b(last(?! (year|month|week|weekend|night|time|summer|winter|spring|autumn|christmas)\b)|final|latter|bottom)\b",
    re.I,
)
HEADS = (
    "film",
    "films",
    "movie",
    "movies",
    "flick",
    "flicks",
    "picture",
    "pictures",
    "one",
    "ones",
    "show",
    "find",
    "give",
)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
OTHER_NUMBER = re.compile(
    rf"\b(all|these|those|both|(world war|ww|part|volume|episode|season|chapter|aged?|(the )?(first|last|other|same)))"
    rf" ?(\d+|{'|'.join(NUMBERS)})\b(?! (films|movies|more|please|pls|options))"
    rf"|\b(gave|showed|listed|suggested|offered|got)( me| us)?( only| just)? (\d+|{'|'.join(NUMBERS)})\b"
    r"|\blooking 4\b|\b\w+ ?(out of|/) ?(10|ten|5|five)\b"
)
"""A number that tells which, or of what, and not how many are wanted."""
MAX_TOPICS, TOPIC_WORDS = 60, 8
STOP = FUNCTION_WORDS | CUES - {"love"} | frozenset(HEADS)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FRAMES = tuple(
    sorted({frame.split("{about}")[0].strip().lower() for frame in lexicon()["topic_frames"]}, key=len, reverse=True)
)
_FRAME = re.compile(rf"\b(?:{'|'.join(map(re.escape, _FRAMES))})\s+", re.I)
_BREAK = re.compile(r"[.,;:!?\[\]()]|\s-\s")


def shown_labels(message: str, shown: int) -> tuple[str, ...]:
    """Of the labels S1 to S``shown``, those that ``message`` can point at.

    The ones it carries and the ones it counts off ("the second one"); where it counts nothing off and a word could
    mean any, all; where it only asks to be told more and names nothing, the first.
    """
    carried = {int(number) for kind, number in LABEL.findall(message) if kind == "S"}
    words = LABEL.sub(" ", message)
    counted = {n for n, form in enumerate(ORDINALS, 1) if re.search(rf"(?<!\w)(?:{form})(?!\w)", words, re.I)}
    if LAST.search(words):
        counted.add(shown)
    digits = {int(digit) for digit in re.findall(r"(?<![\d.])([1-9])(?![\d.]\d|\d)", words)}
    places = {place for place in carried | counted if place <= shown}
    rest = re.sub(rf"(?<!\w)(?:{'|'.join(ORDINALS)})(?!\w)", " ", words, flags=re.I)
    if SEVERAL.search(rest) or (not places and ONE.search(rest)):
        places |= set(range(1, shown + 1))
    places |= digits
    if not places and words == message and MAIN.search(rest):
        places.add(1)
    return tuple(f"S{n}" for n in sorted(places) if 1 <= n <= shown)


def pointed(message: str, shown: int) -> tuple[tuple[str, ...], bool]:
    """The labels of shown items on which ``message`` gives a verdict, and whether it counts off exactly these."""
    words = LABEL.sub(" ", message)
    counted = {n for n, form in enumerate(ORDINALS, 1) if re.search(rf"(?<!\w)(?:{form})(?!\w)", words, re.I)}
    if LAST.search(words):
        counted.add(shown)
    exact = tuple(f"S{n}" for n in sorted(counted) if 1 <= n <= shown)
    return (exact, True) if exact else (shown_labels(message, shown), False)


def governed_counts(message: str) -> tuple[int, ...]:
    """The number of recommendations that ``message`` asks for in so many words: none, or one number."""
    words = OTHER_NUMBER.sub("·", LABEL.sub("·", message).lower())
    found = {number for number, pattern in _counted() for _ in pattern.finditer(words)}
    if not found and _one().search(words):
        return (1,)
    return tuple(found) if len(found) == 1 else ()


def _else() -> str:
    return str(read_bank("assistant.dialogue", "reading")["counting_else"])


@cache
def _one() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(read_bank('assistant.dialogue', 'reading')['counted_one'])})(?!\w)")


@cache
def _counted() -> tuple[tuple[int, re.Pattern[str]], ...]:
    """Each number from two on with what asks for so many."""
    frames = read_bank("assistant.dialogue", "reading")["counted"]
    named = {n: {str(n), NUMBERS[n - 1]} for n in range(2, MAX_COUNT + 1)}
    named[2] |= {"a couple( of)?", "a pair( of)?", "couple of", "pair of", "a duo of", "a brace of"}
    named[3].add("a trio of")
    named[6].add("half a dozen")
    named[10] |= {"a dozen", "12", "twelve"}
    return tuple(
        (
            n,
            re.compile(
                "|".join(rf"(?<![\w#])(?:{frame.format(n='(?:' + '|'.join(names) + ')')})(?!\w)" for frame in frames)
            ),
        )
        for n, names in named.items()
    )


def counts(message: str) -> tuple[int, ...]:
    """The numbers of recommendations that ``message`` can ask for, 1 to `MAX_COUNT`."""
    words = OTHER_NUMBER.sub("·", LABEL.sub(" ", message).lower())
    said = {int(digits) for digits in re.findall(rf"(?<!\d)\d{{1,2}}(?!\d)(?! ?-?(?:{_else()})\b)", words)}
    # "One" is mostly a pronoun: `governed_counts` knows where it counts.
    said |= {n for n, name in enumerate(NUMBERS[1:], 2) if re.search(rf"\b{name}\b(?! ?-?(?:{_else()})\b)", words)}
    for number, phrases in lexicon()["counts"].items():
        frames = [phrase.lower() for phrase in phrases if phrase not in NUMBERS]
        if any(re.search(rf"\b{re.escape(phrase)}\b", words) for phrase in frames):
            said.add(int(number))
    return tuple(sorted(n for n in said if 1 <= n <= MAX_COUNT))


def topics(message: str, longest: int) -> tuple[str, ...]:
    """The stretches of ``message``, at most ``longest`` characters each, that can be its topic.

    After words such as "about" it is what follows; elsewhere one to three words that carry meaning.
    """
    found: list[str] = []
    for frame in _FRAME.finditer(message):
        rest = _BREAK.split(message[frame.end() :], maxsplit=1)[0]
        found += _prefixes(rest)
    if not found:
        for stretch in _BREAK.split(LABEL.sub(".", message)):
            found += _runs(stretch)
    fitting = (topic for topic in dict.fromkeys(found) if topic and len(topic) <= longest and '"' not in topic)
    return tuple(topic for topic in fitting if "\\" not in topic)[:MAX_TOPICS]


def _prefixes(text: str) -> Sequence[str]:
    """The first one to `TOPIC_WORDS` words of ``text`` whose last word carries meaning."""
    words = list(_WORD.finditer(text))[:TOPIC_WORDS]
    return [text[words[0].start() : word.end()] for word in words if word[0].lower() not in STOP]


def _runs(text: str) -> Sequence[str]:
    words = list(_WORD.finditer(text))
    return [
        text[words[first].start() : words[last].end()]
        for first in range(len(words))
        for last in range(first, min(first + 3, len(words)))
        if words[first][0].lower() not in STOP and words[last][0].lower() not in STOP
    ]
