"""Text brought to one form, so that spellings of one name meet: case, accents, punctuation, numerals, articles."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "½": " 1/2"}
)
_ACRONYM = re.compile(r"(?<!\w)[^\W\d_](?:[.*·][^\W\d_])+(?!\w)\.?")
_WORD = re.compile(r"[^\W_]+(?:['’`´][^\W_]+)*|&")
_APOSTROPHES = re.compile(r"['’`´]")
_ELIDED = frozenset({"l", "d", "qu", "dell", "all"})

_ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12"}
_LONE_ROMAN = {"i": "1", "v": "5", "x": "10"}
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}
_SPELLINGS = {"theatre": "theater", "centre": "center", "grey": "gray"}
_BRITISH = re.compile(r"(?<=\w\w\w)our(?=s?$)")
_PARTS = frozenset({"part", "episode", "chapter", "volume", "vol", "number", "pt"})

ENGLISH_ARTICLES = frozenset({"the", "a", "an"})
_FOREIGN_ARTICLES = (
    "le la les l un une der die das ein eine el los las il lo gli i o os as um uma de het een den det en ett"
)
ARTICLES = ENGLISH_ARTICLES | frozenset(_FOREIGN_ARTICLES.split())


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text: its folded form, and where it stands."""

    form: str
    start: int
    end: int


@functools.lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """``text`` in lower case without accents, punctuation or doubled blanks: ``Amélie, l'été!`` is ``amelie l ete``."""
    return " ".join(token.form for token in tokens(text))


def tokens(text: str) -> list[Token]:
    """The words of ``text`` in order, folded; numerals and articles are left as they are.

    ``S.W.A.T.`` is one word, ``&`` is "and", an apostrophe splits off an elided article only.
    """
    found: list[Token] = []
    position = 0
    for acronym in _ACRONYM.finditer(text):
        _words(text, position, acronym.start(), found)
        form = _plain("".join(char for char in acronym.group() if char.isalnum()))
        found.append(Token(form, acronym.start(), acronym.end()))
        position = acronym.end()
    _words(text, position, len(text), found)
    return found


def numerals(words: Sequence[Token]) -> list[Token]:
    """``words`` with number words and roman numerals as digits, without the "part" or "episode" before one.

    British spellings become American ones, so that ``My Neighbour Totoro`` is found.
    """
    found: list[Token] = []
    for token in words:
        after_part = bool(found) and found[-1].form in _PARTS
        form = _NUMBERS.get(token.form) or _ROMAN.get(token.form) or _BRITISH.sub("or", token.form)
        form = _SPELLINGS.get(form, form)
        if after_part:
            form = _LONE_ROMAN.get(form, form)
        if after_part and form.isdigit() and len(found) > 1:
            start = found.pop().start
            found.append(Token(form, start, token.end))
        else:
            found.append(Token(form, token.start, token.end))
    return found


def _words(text: str, begin: int, end: int, found: list[Token]) -> None:
    for match in _WORD.finditer(text, begin, end):
        word, start = match.group(), match.start()
        if word == "&":
            found.append(Token("and", start, match.end()))
            continue
        head, *rest = _APOSTROPHES.split(word, maxsplit=1)
        if rest and head.casefold() in _ELIDED and len(rest[0]) > 1:
            found.append(Token(_plain(head), start, start + len(head)))
            start += len(head) + 1
            word = rest[0]
        found.extend(Token(form, start, match.end()) for form in _plain(_APOSTROPHES.sub("", word)).split())


def _plain(word: str) -> str:
    # Folded again: a double-struck capital has no lower case until it is a plain one.
    spread = unicodedata.normalize("NFKD", word.casefold().translate(_LETTERS)).casefold()
    return re.sub(r"[^\w]+", " ", "".join(char for char in spread if not unicodedata.combining(char))).replace("_", " ")
