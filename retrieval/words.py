"""The words by which a title or a name is told from plain text."""

from __future__ import annotations

import functools
from importlib import resources


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    """
    the a an i me my mine we us our you your he him his she her hers it its they them their this that these
    those one some any all both each none more most much many few other another such what which who whom whose
    when where why how be am is are was were been being have has had do does did doing will would shall should
    can could may might must not no nor yes and or but if so as at by for from in into of off on onto out over
    to too up down with without about after again against before below between during through under until then
    than there here now just only own same very also tonight today tomorrow yesterday later something anything
    everything nothing someone anyone everyone lets im ive dont didnt isnt thats whats well ok okay hello hi hey
    thanks thank please bye sure maybe help stop next good great nice bad best better old new older newer wont
    cant couldnt wouldnt shouldnt doesnt arent wasnt werent hasnt havent hadnt youre hes shes theyre weve ive
    youll theyll gonna wanna gotcha oh yeah greetings
    """
)
"""Words that tell nothing: a title made of them alone is linked only where it is written as one."""

CUES = _words(
    """
    like liked likes love loved loves loving adore adored enjoy enjoyed enjoying seen saw watch watched watching
    rewatched rewatch hate hated dislike disliked prefer called titled named finished directed wrote compare versus vs
    """
)
"""A title is likely to follow one of these."""

OPINIONS = _words("great good nice bad best better old new older newer little")
"""Adjectives that tell little, but something as a part of a longer title."""

TWO_WORD_CUES = _words(
    """
    similar-to compared-to sequel-to akin-to close-to fan-of fans-of version-of remake-of such-as reminded-of
    reminds-of tired-of reminiscent-of vibe-as mood-as feel-as style-as good-as spirit-of vein-of
    stars-in starred-in plays-in acts-in cast-of who-directed who-made director-of ending-of who-in s-in
    """
)
"""As `CUES`, in two words."""

NOT_LIKINGS = _words("feel feels felt feeling look looks looked sound sounds seem seems would d id")
""""like" after one of these is no liking."""

PERSON_CUES = _words("by starring directed featuring feat stars star director actor actress")
"""A person is likely to follow one of these."""

WEAK_PERSON_CUES = _words("with from love like loved liked adore and or no not without any more nor minus")
"""A person may follow one of these."""

HEAD_NOUNS = _words(
    """
    film films movie movies flick flicks picture pictures comedy comedies story stories one ones stuff thing
    things people genre genres drama dramas thriller thrillers romance romances show shows series book books
    novel novels music scene scenes effect effects explosion explosions role roles budget fan fans
    """
)
"""What an adjective before them describes: films, and their parts."""

GOES_ON = _words("and or but with by from the was is because so too as a an very it i then also for in on")
"""Words that may follow a title without being described by it."""

JOINS = _words("and or nor plus")
"""Words between the parts of an enumeration."""

NEVER_NAMES = _words(
    """
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december christmas halloween easter hollywood bollywood american english netflix
    disney oscar oscars tv i well thank thanks okay ok hello hi hey yes no yeah oh greetings
    """
)
"""Words that are capitalised without being titles."""


@functools.cache
def common_words() -> dict[str, int]:
    """Ordinary English words with their rank by frequency, 0 being the most frequent."""
    text = (resources.files("retrieval") / "common_words.txt").read_text(encoding="utf-8")
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    return {word: rank for rank, word in enumerate(words)}
