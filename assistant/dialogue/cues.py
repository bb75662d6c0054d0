"""Words that date, ask for another time, give up what was wished or ask about items: read by rule, not by the model.

All texts are lower case and without labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from retrieval.lexicon import bare, lexicon, read_bank

YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)(s?)")
BOUND = re.compile(
    r"(?P<no>(\b(no|not|nothing|none|never|without)|n'?t)"
    r"( (be|from|made|released|out|anything|any|films?|movies?|stuff|ones?|it|much))* )?"
    r"\b((?P<before>before|until|till|(older|earlier) than|up to|prior to|pre|as late as|by)"
    r"|(?P<after>after|since|(newer|later|more recent|younger) than|from|start(ing|s)? (from|in)|as early as|post))"
    r"( the)?( year)?( (about|around|roughly|circa|say))? ?-?$"
)
"""What bounds the years that follow; "no older than" bounds them the other way."""
OR_BEFORE = re.compile(r"^,? ((or|and) (older|earlier|before)|at the latest|latest|max|tops)\b")
OR_AFTER = re.compile(
    r"^,?( or (newer|later|after)\b| and (up|after|later|newer|on)\b| on(wards?)?\b|\+| at the earliest\b| earliest\b)"
)
CENTURY = re.compile(r"\b((?P<new>(this|21st|twenty-?first|current))|(last|20th|twentieth)) century\b")
UP_TO = ("until", "till", "up to", "as late as", "by")
"""The year itself is meant: "up to 1990", unlike "before 1990"; so it is where a bound is denied."""
BEYOND = ("after", "post", "newer than", "later than", "more recent than", "younger than")
"""The year itself is not meant: "after 1990", unlike "since 1990" and "no older than 1990"."""
SHORT = re.compile(
    r"(?<![\w'’])(?P<mark>['’]|\b(?:from|since|before|after|pre|post)[ -])(?P<year>[2-9]\d)(?![\w%'’:.-])"
    r"(?! ?(min|years?|hours?|films?|movies?|people|euros?|dollars?|of)\b)"
)
"""A year without its century: "'94", "from 87"."""
LATELY = re.compile(
    r"\b(last|past|previous|recent) (?P<many>\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|fifteen|twenty"
    r"|thirty|few|couple( of)?)? ?(?P<unit>years?|decades?)\b(?! of (his|her|their|the))"
)
"""So many years back from today."""
ERA = re.compile(
    r"\b(old|new|early|earlier|late|later|recent|modern|vintage|classic|back|before|after|fresh|past|present|current|"
    r"today|ago|ancient|contemporary|dated|time\b(?! (travel|loop|machine|to))|up to date)|\b(pre|post)",
)
KIN = re.compile(
    r"\b(older|elder|newer) (brother|sister|sibling|son|daughter|kid|child|cousin|people|man|woman|couple)"
    r"|\d+[ -]?(years?|yrs?)[ -]old"
)
_OLD, _NEW = (
    "old|ancient|vintage|dated|antique|old-school|old-fashioned|prehistoric",
    "new|modern|recent|contemporary|current|up to date",
)
_SO = r"(really |bit |tad |little |way |far |all |just |pretty |kinda |rather |quite |so |too |that |very )"
_MORE = r"(more|a (bit|tad|little)( more)?|slightly more|rather more)"
_ALL = r"too|way too|all so|so|all"
OLDER = re.compile(
    rf"\b(older|earlier|further back|longer ago|{_MORE} (vintage|old-school|dated|antique)"
    rf"|(less|not|aren'?t|isn'?t|nothing) {_SO}*({_NEW})|({_ALL}) ({_NEW}))\b"
)
NEWER = re.compile(
    rf"\b(newer|later|fresher|younger ones|{_MORE} ({_NEW.removeprefix('new|')})"
    rf"|(less|not|aren'?t|isn'?t|nothing) {_SO}*({_OLD})"
    rf"|({_ALL}|are|look|looks|seem|seems|feel|feels) {_SO}*({_OLD})"
    r"|(came|come|coming|made|released) (out )?since)\b"
)
PARTS = {
    "people": r"actors?|actress(es)?|directors?|cast|stars?|who(ever)?|anyone|him|hers?|them",
    "genres": r"genres?|categor(y|ies)|types?|sorts?|kinds?",
    "moods": r"moods?|tones?|vibes?|feel(ing)?",
    "countries": r"countr(y|ies)|where(ver)?|from|there|anywhere|foreign",
    "languages": r"languages?|subtitle[sd]?|subs|dubbed|spoken|speak|read(ing)?",
    "years": r"years?|decades?|eras?|dates?|when|old|new|\d*\d0s",
    "about": r"topics?|subjects?|plots?|story|stories|themes?|about",
    "like": r"similar|like|comparison",
    "kind": r"formats?|kinds?|series|shows?",
}
OUTRIGHT = {
    "people": r"actors?|actress(es)?|directors?|cast|who('s| is|s) in it|who (directed|made) it|anyone in it",
    "genres": r"genres?|categor(y|ies)|(types?|kinds?|sorts?) of (film|movie)s?|goes genre ?wise",
    "moods": r"moods?|tones?|vibes?",
    "countries": r"countr(y|ies)|where it('s| is|s| was)?( from| made)?|nationality",
    "languages": r"languages?|what they speak",
    "years": r"old or new|age of (film|movie)s?|(release )?(years?|decades?|eras?|dates?)|"
    r"when it( was|'s| is)? (made|from|came out)|"
    r"(the )?(early |late )?('?\d0'?s|(19|20)\d0s|(twen|thir|for|fif|six|seven|eigh|nine)ties)",
    "about": r"topics?|subjects?|plots?|themes?|what it('s| is|s) about",
    "like": r"comparisons?",
    "kind": r"formats?",
}
"""How a part of a wish is named where nothing else can be meant."""
NAMES = {part: re.compile(rf"\b({words})\b") for part, words in PARTS.items()}
SOME = re.compile(
    r"\b(forget|never ?mind|nvm|what(so)?ever|whichever|matters?|(n'?t|not|no) mind|care|ignore|drop|scrap|scratch|"
    r"fine|ok|okay|alright|open|flexible|necessarily|(have|has|need|needs) to be|needn'?t|important|no longer|"
    r"any ?more|not (just|only)|let go of|fixed on|insist|after all|"
    r"up to you|no particular|in particular|both|irrelevant|skip the|leave out the|"
    rf"(any|all|other) ({'|'.join(PARTS.values())}))\b",
)
ALL = re.compile(
    r"\b(forget|never ?mind|nvm|ignore|scrap|scratch|reset|wipe|erase|clear|clean|throw|square one|from the top|fresh|"
    r"(start|begin|try|go) (over|again|anew)|new (search|request|idea|topic|wish)|change of plans?|"
    r"(completely|totally|entirely|wholly) (different|new)|(else|different) entirely)\b",
)

QUESTION = re.compile(
    r"\?|\b(wh(o|at|en|ere|ich|ose|y)s?|how|is|are|was|were|do|does|did|has|have|can|could|will|would|y|tell|say|describe|"
    r"explain|summari[sz]e|sum up|know|info|information|details?|idea of|plot|story|cast|directors?|themes?|keywords|"
    r"year of|rating|runtime|running time|about)\b"
)
REASON = re.compile(
    r"\b(why|whyd|y|how come|how (do|did|does|is)|reasons?|reasoning|explain|convince|persuade|sell|really|bas(is|ed)|"
    r"ma[dk]es? you|made you|match|fits?|suits?|relevant|on the list|in there|doing there|to do with)\b"
)
COMPARISON = re.compile(
    r"\b(or|vs|versus|against|which|better|best|than|compared?|difference|differ(ent)?|between|common|similar|alike|like|"
    r"apart|decide|choose|pick|rank|torn|both|share|rather|most|only watch|side by side|next to each other)\b"
)


def acts_said(words: str, named: int) -> frozenset[str]:
    """Of asking about an item, why it was chosen and which of several it is to be, what ``words`` can do.

    ``named`` is how many titles the message names.
    """
    cues = {"ask": QUESTION.search(words), "why": REASON.search(words), "compare": COMPARISON.search(words)}
    return frozenset(act for act, found in cues.items() if found or (act == "compare" and named > 1))


def years_said(words: str) -> tuple[tuple[int, int], ...]:
    """The spans that years and decades in ``words`` can mean, 0 for an open end; none without any."""
    found = list(_dates(words))
    if not found:
        return _spans(words)
    first, last = min(date.first for date in found), max(date.last for date in found)
    if len({(date.first, date.last) for date in found}) > 1:
        return ((first, last),)
    bounds = (_bounded(words, date) for date in found)
    return (next((bound for bound in bounds if bound), (first, last)),)


def _bounded(words: str, date: _Date) -> tuple[int, int] | None:
    """The span that ``date`` is the bound of: "before", "no older than", "or later"."""
    bound, behind = BOUND.search(words[: date.start]), words[date.end :]
    if OR_AFTER.search(behind):
        return date.first, 0
    if OR_BEFORE.search(behind):
        return 0, date.last
    if bound is None or (bound["after"] == "from" and not bound["no"]):
        return None
    if bool(bound["before"]) != bool(bound["no"]):
        return 0, date.last if bound["no"] or bound["before"] in UP_TO else date.first - 1
    return (date.last + 1 if bound["after"] in BEYOND and not bound["no"] else date.first), 0


def _spans(words: str) -> tuple[tuple[int, int], ...]:
    """The span of what names one without a year: a century, a period of film, the last so many years."""
    if century := CENTURY.search(words):
        return ((2000, 0),) if century["new"] else ((1900, 1999),)
    for pattern, span in _periods():
        if pattern.search(words):
            return (span,)
    if lately := LATELY.search(words):
        many = lately["many"] or "one"
        years = int(many) if many.isdigit() else _MANY.get(many.split()[0], 1)
        return ((datetime.now(UTC).year - years * (10 if lately["unit"].startswith("decade") else 1), 0),)
    return ()


def without_periods(text: str) -> str:
    """``text`` with as many stops for each period that it names: no word of "golden age" is a topic."""
    for pattern, _ in _periods():
        text = pattern.sub(lambda match: "." * len(match[0]), text)
    return text


def names_period(words: str) -> bool:
    """Whether ``words`` name a span of years in a way that means nothing else."""
    return not any(_dates(words)) and bool(_spans(words))


_MANY = {
    word: n for n, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
} | {"couple": 2, "few": 3, "fifteen": 15, "twenty": 20, "thirty": 30}


@cache
def _periods() -> tuple[tuple[re.Pattern[str], tuple[int, int]], ...]:
    """The periods that the bank names, with their first and last year."""
    bank = read_bank("assistant.dialogue", "reading")["periods"]
    return tuple(
        (re.compile(rf"(?<![\w'])(?:{one['said']})(?!\w)"), (int(one["years"][0]), int(one["years"][1])))
        for one in bank
    )


@dataclass(frozen=True)
class _Date:
    """A year or decade and where it stands."""

    first: int
    last: int
    start: int
    end: int


def _dates(words: str) -> Iterator[_Date]:
    for match in YEAR.finditer(words):
        year = int(match.group(1))
        yield _Date(year, year + 9 if match.group(2) else year, match.start(), match.end())
    for match in SHORT.finditer(words):
        year = 1900 + int(match["year"])
        yield _Date(year, year, match.start("year") - (match["mark"] in "'’"), match.end())
    for decade, pattern in _decades().items():
        for match in pattern.finditer(words):
            yield _Date(decade, decade + 9, match.start(), match.end())


@cache
def _decades() -> Mapping[int, re.Pattern[str]]:
    """What names each decade in words; a year with its century is read by `YEAR`."""
    return {
        int(decade): re.compile(
            "|".join(rf"(?<![\w']){re.escape(bare(p))}\b" for p in sorted(more, key=len, reverse=True))
        )
        for decade, more in lexicon()["decades"].items()
    }


def outright_eras(words: str) -> tuple[str, ...]:
    """``older`` or ``newer`` where ``words`` ask for it in known words, both where they ask for both."""
    words = KIN.sub(" ", words)
    longest = {
        era: max((len(phrase) for phrase in more if spelt(phrase.lower(), words)), default=0)
        for era, more in lexicon()["era"].items()
    }
    if any(longest.values()):
        return tuple(era for era, length in longest.items() if length == max(longest.values()))
    return tuple(era for era, cue in (("older", OLDER), ("newer", NEWER)) if cue.search(words))


def eras_said(words: str) -> tuple[str, ...]:
    """``older``, ``newer`` or both, as far as ``words`` leave it open; none where they speak of no time."""
    return outright_eras(words) or (("older", "newer") if ERA.search(KIN.sub(" ", words)) else ())


def gives_up(words: str) -> bool:
    """True when ``words`` may give up some part of what was wished, if it is named beside."""
    return SOME.search(words) is not None


def gives_up_all(words: str) -> bool:
    """True when ``words`` may give up everything that was wished."""
    return ALL.search(words) is not None


def parts_given_up(words: str) -> set[str]:
    """The parts of a wish, or ``all``, that ``words`` give up without a doubt."""
    found = {part for part, pattern in _giving_up().items() if pattern.search(words)}
    if "years" in found and years_said(_giving_up()["years"].sub(" ", words)):
        # "Any year after 1990" gives up none.
        found.remove("years")
    return {"all"} if "all" in found else found


@cache
def _giving_up() -> Mapping[str, re.Pattern[str]]:
    bank = read_bank("assistant.dialogue", "reading")
    frames = {
        part: [frame.format(part=f"(?:{name})") for frame in bank["giving_up"]] for part, name in OUTRIGHT.items()
    }
    return {
        part: re.compile(rf"(?<![\w'])(?:{'|'.join(f'(?:{frame})' for frame in more)})(?![\w'])")
        for part, more in {**frames, "all": bank["giving_up_all"]}.items()
    }


def gives_away(words: str, at: int) -> bool:
    """Whether ``words``, with labels or without, give up what stands at ``at``: a cue right before it says so."""
    return _giving_away().search(words[:at]) is not None


@cache
def _giving_away() -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{read_bank('assistant.dialogue', 'reading')['giving_away']})(?: \w+){{0,3}} ?$")


def parts_named(words: str) -> set[str]:
    """The parts of a wish that ``words`` name by what they are: year, language, actor ..."""
    return {part for part, name in NAMES.items() if name.search(words)}


def spelt(phrase: str, words: str) -> bool:
    """True when ``phrase`` stands in ``words`` letter by letter, between other words."""
    return phrase in words and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", words) is not None
