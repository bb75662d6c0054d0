"""Is a stretch of text meant as a title or a name, or is it plain words? ("It", "up", "home", "love story")

Looks only at the message: capitals, quotation marks, the words before and after. What the catalogue
holds is `retrieval.linker`'s business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from retrieval.folding import Token
from retrieval.words import (
    CUES,
    FUNCTION_WORDS,
    GOES_ON,
    HEAD_NOUNS,
    JOINS,
    NEVER_NAMES,
    NOT_LIKINGS,
    OPINIONS,
    PERSON_CUES,
    TWO_WORD_CUES,
    WEAK_PERSON_CUES,
    common_words,
)

_QUOTES = "\"'“”‘’«»*_`„"
_SENTENCE_END = re.compile(r"(?:[.!?:;)\n]\s*|\s\s)[\"'“‘(*_-]*\s*$")
_YEAR_IN_BRACKETS = re.compile(r"[!?.]*\s*[(\[]\s*(?P<year>\d{4})\s*[)\]]")
_YEAR_AFTER = re.compile(r",?\s+(?:from\s+)?(?P<year>(?:1[89]|20)\d\d)(?![\w'’])")
_YEAR_BEFORE = re.compile(
    r"\b(?P<year>(?:1[89]|20)\d\d)(?:['’]s)?\s+(?:(?:version|remake)\s+of\s+)?(?:the\s+)?$",
    re.IGNORECASE,
)
_ARTICLE_BEFORE = re.compile(r"\b(?P<article>the|an?)\s+$", re.IGNORECASE)
_NEAR = 40
_LOOKAHEAD = 4
_LITTLE = 2.5
_SHOUTED = 0.8
_FEW_WORDS = 3


def weight_of(words: Sequence[str]) -> float:
    """How unlikely it is that ``words`` meet in plain text: the sum of the logarithms of their ranks by frequency."""
    ranks = common_words()
    return sum(
        _LITTLE if word in HEAD_NOUNS | OPINIONS else math.log(ranks.get(word, len(ranks)) + 2)
        for word in words
        if word in OPINIONS or word not in FUNCTION_WORDS
    )


class Message:
    """A text and its words, as `retrieval.folding.numerals` gives them, without English articles."""

    def __init__(self, text: str, words: Sequence[Token]) -> None:
        self.text = text
        self.words = words
        cased = [text[word.start] for word in words if text[word.start].isalpha()]
        upper = sum(letter.isupper() for letter in cased)
        self._capitals_tell = not (len(cased) > _FEW_WORDS and upper >= _SHOUTED * len(cased))

    def quoted(self, begin: int, end: int) -> bool:
        """Whether the characters ``begin`` to ``end`` stand in quotation marks of their own."""
        before, after = self.text[begin - 1 : begin], self.text[end : end + 1]
        return bool(before) and bool(after) and before in _QUOTES and after in _QUOTES

    def capitalised(self, first: int, last: int) -> bool:
        """Whether words ``first`` to ``last`` (exclusive) are written as a name and not just begin a sentence."""
        if not self._capitals_tell:
            return False
        telling = False
        for place in range(first, last):
            word = self.words[place]
            surface = self.text[word.start : word.end]
            if surface[0].isdigit() or (word.form in FUNCTION_WORDS and last - first > 1 and place > first):
                telling = telling or surface[0].isupper()
                continue
            if not surface[0].isupper():
                return False
            shouted = surface.isupper() and len(surface) > 1
            telling = telling or not (self.begins_sentence(place) or shouted or word.form in NEVER_NAMES)
        return telling and not self._inside_a_name(first, last)

    def begins_sentence(self, place: int) -> bool:
        """Whether a word is the first of its sentence."""
        start = self.words[place].start
        before = self.text[max(0, start - _NEAR) : start]
        return not before.strip(_QUOTES + " (-") or bool(_SENTENCE_END.search(before))

    def _inside_a_name(self, first: int, last: int) -> bool:
        """Whether a single word is joined by another capitalised one, and so is a part of some other name."""
        for place, gap in ((first - 1, first), (last, last)):
            if last - first > 1 or not 0 <= place < len(self.words) or not gap:
                continue
            word = self.words[place]
            alone = self.text[self.words[gap - 1].end : self.words[gap].start].strip()
            if not alone and self.text[word.start].isupper() and word.form not in FUNCTION_WORDS | CUES | NEVER_NAMES:
                return True
        return False

    def upper_case(self, place: int) -> bool:
        """Whether a word begins with a capital, in a message in which that says anything."""
        return self._capitals_tell and self.text[self.words[place].start].isupper()

    def liked(self, first: int, last: int) -> bool:
        """Whether words ``first`` to ``last`` follow a cue such as "loved" or "similar to" and end a phrase."""
        if not first:
            return False
        before = [self.words[place].form for place in range(max(0, first - 3), first)]
        while before and before[-1] in {"movie", "film"}:
            before.pop()
        if not before:
            return False
        near = before[-2] if len(before) > 1 else ""
        single = before[-1] in CUES and not (before[-1] == "like" and near in NOT_LIKINGS)
        double = f"{near}-{before[-1]}" in TWO_WORD_CUES
        named = self.words[first - 1].form in {"movie", "film"} and self.ends_phrase(last)
        return (single or double or named) and self.ends_phrase(last)

    def ends_phrase(self, last: int) -> bool:
        """Whether the phrase may end before word ``last``: no noun follows that the words before only describe."""
        for place in range(last, min(last + _LOOKAHEAD, len(self.words))):
            gap = self.text[self.words[place - 1].end : self.words[place].start]
            if gap.strip():
                return True
            form = self.words[place].form
            if form in HEAD_NOUNS:
                return False
            if place == last and (form == "of" or (form not in GOES_ON and form not in FUNCTION_WORDS)):
                return False
            if form not in JOINS and form in GOES_ON:
                return True
        return True

    def joined(self, last: int, first: int) -> bool:
        """Whether nothing but "and", "or" and commas stands between word ``last`` (exclusive) and word ``first``."""
        if first <= last - 1 or any(self.words[place].form not in JOINS for place in range(last, first)):
            return False
        gap = self.text[self.words[last - 1].end : self.words[first].start]
        return first > last or "," in gap or "/" in gap

    def credited(self, first: int, last: int) -> bool:
        """Whether words ``first`` to ``last`` stand where a person's name does: "by X", "starring X", "X's films"."""
        after = self.words[last].form if last < len(self.words) else ""
        return self._before(first) in PERSON_CUES or after in HEAD_NOUNS or self.possessive(last - 1)

    def weakly_credited(self, first: int) -> bool:
        """Whether word ``first`` follows "with", "from" and the like, after which a name may stand."""
        return self._before(first) in WEAK_PERSON_CUES

    def possessive(self, place: int) -> bool:
        """Whether a word is written with 's."""
        word = self.words[place]
        return self.text[word.end - 2 : word.end].lower() in {"'s", "’s"}

    def forms(self, place: int) -> tuple[str, ...]:
        """What a word may stand for: itself, and without its possessive s."""
        form = self.words[place].form
        owner = form[:-1]
        return (form, owner) if self.possessive(place) and owner not in FUNCTION_WORDS else (form,)

    def end(self, place: int, key: str) -> int:
        """Where a word ends as the last one of the name ``key``: before a possessive s that is not the name's."""
        word = self.words[place]
        return word.end - 2 if self.possessive(place) and not key.endswith(word.form) else word.end

    def article_before(self, begin: int) -> Token | None:
        """The English article right before the character ``begin``."""
        near = max(0, begin - _NEAR)
        found = _ARTICLE_BEFORE.search(self.text[near:begin])
        return Token(found["article"].lower(), near + found.start(), begin) if found else None

    def year_beside(self, begin: int, end: int, years: Collection[int]) -> tuple[int | None, int, int]:
        """The year written beside the characters ``begin`` to ``end``, and where both of them stand together.

        In brackets any year counts; a bare one must be one of ``years``, or next to one, to be more than a number.
        """
        near = max(0, begin - _NEAR)
        if found := _YEAR_IN_BRACKETS.match(self.text, end):
            return int(found["year"]), begin, found.end()
        for bare in (_YEAR_AFTER.match(self.text, end), _YEAR_BEFORE.search(self.text[near:begin])):
            if bare is not None and any(abs(int(bare["year"]) - year) <= 1 for year in years):
                after = bare.re is _YEAR_AFTER
                return int(bare["year"]), begin if after else near + bare.start(), bare.end() if after else end
        return None, begin, end

    def _before(self, first: int) -> str:
        if not first or self.article_before(self.words[first].start):
            return ""
        return self.words[first - 1].form
