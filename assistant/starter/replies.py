"""Makes replies to teach the respond prompt: what Sotto says about given records, in slots.

The wish is derived from the records, so that what a reply acknowledges and what its slots say agree. Whatever
would have to be copied (titles, names, years, parts of the wish) is a slot.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import Any

from assistant.dialogue.slots import Slots, UnknownSlot
from assistant.dialogue.types import Task
from assistant.starter.banks import bank
from assistant.starter.world import World
from prompts.build import Message, respond_messages
from prompts.records import wish_line
from retrieval.item import Item
from retrieval.lexicon import lexicon
from retrieval.wish import Wish

SLOT = re.compile(r"\[N(?:\.(\w+))?\]")
WISH_SLOT = re.compile(r"\[([a-z_]+|T\d)\]")
TELLS = {"genre": "genres", "a_genre": "genres", "mood": "moods", "place": "countries", "years": "year"}
COMPARED = {
    "year": re.compile(r"\b(newer|older|more recent|came out)\b"),
    "director": re.compile(r"\bdirect"),
    "moods": re.compile(r"\bmore |\b\w+er than\b|\bwhich (one )?is \w+er\b"),
}
MOST_STORIES = 2


@dataclass(frozen=True)
class ReplyExample:
    """The arguments of `prompts.build.respond_messages` and replies that it may get."""

    task: Task
    wish: Wish
    items: tuple[Item, ...]
    message: str
    liked: tuple[str, ...]
    missing: str
    replies: tuple[str, ...]

    def prompt(self) -> list[Message]:
        """The chat messages that call for the replies."""
        given = Slots(self.items, self.wish, self.liked, self.missing).given
        return respond_messages(
            self.task, self.wish, self.items, self.message, liked=self.liked, missing=self.missing, slots=given
        )


class Answerer:
    """Writes replies. Deterministic in ``rng``."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.style = random.Random(rng.random())
        self.replies, self.turns, self.lexicon = bank("replies"), bank("turns"), lexicon()
        self.mood_of = {p: m for m, groups in self.lexicon["mood_phrases"].items() for p in groups["adjective"]}
        self.genre_of = {p: g for g, words in self.lexicon["genre_adjectives"].items() for p in words}
        self.genre_of |= {p: g for g, words in self.lexicon["genre_nouns"].items() for p in words}
        self.makers = {
            "recommend": (self._recommend, 46), "relaxed": (self._relaxed, 9), "none": (self._none, 3),
            "clarify": (self._clarify, 4), "answer": (self._answer, 16), "compare": (self._compare, 6),
            "why": (self._why, 6), "chat": (self._chat, 5), "decline": (self._decline, 5),
        }  # fmt: skip

    def example(self, count: int = 1) -> ReplyExample:
        """A prompt with up to ``count`` different replies to it."""
        names = list(self.makers)
        make = self.makers[self.rng.choices(names, [weight for _, weight in self.makers.values()])[0]][0]
        state, drawn = self.rng.getstate(), []
        for _ in range(count):
            self.rng.setstate(state)
            drawn.append(make())
        return replace(drawn[0], replies=tuple(dict.fromkeys(reply for one in drawn for reply in one.replies)))

    def _say(self, options: Any) -> Any:
        """One of ``options`` for the reply: drawn apart, so that replies differ where the prompt does not."""
        return self.style.choice(options)

    def _now_and_then(self, probability: float) -> bool:
        """As `_chance`, for the reply."""
        return self.style.random() < probability

    def _pick(self, options: Any) -> Any:
        return self.rng.choice(options)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _wish_for(self, item: Item, facets: tuple[str, ...]) -> tuple[Wish, tuple[str, ...]]:
        """A wish that ``item`` fulfils in ``facets``, and the labels of liked titles."""
        fields: dict[str, Any] = {}
        liked: tuple[str, ...] = ()
        if "genre" in facets and item.genres:
            fields["genres"] = (self._pick(item.genres),)
        if "mood" in facets and item.moods:
            fields["moods"] = (self._pick(item.moods),)
        if "about" in facets:
            keyword = item.keywords and self._chance(0.2)
            fields["about"] = self._pick(item.keywords if keyword else self.lexicon["topics"])
        if "years" in facets and item.year:
            first: int | None = item.year // 10 * 10
            last: int | None = None if first is None else first + 9
            if self._chance(0.3):
                first, last = self._pick(
                    ((None, item.year + self.rng.randint(0, 9)), (item.year - self.rng.randint(0, 9), None))
                )
            fields["year_from"], fields["year_to"] = first, last
        if "place" in facets and item.countries:
            fields["countries"] = (item.countries[0],)
        if "like" in facets:
            other = self.world.draw(self.rng, 2)
            count = 1 if self._chance(0.75) else 2
            fields["like"] = tuple(film.id for film in other[:count])
            liked = tuple(film.label for film in other[:count])
        return Wish(**self._besides(item, fields)), liked

    def _besides(self, item: Item, fields: dict[str, Any]) -> dict[str, Any]:
        """``fields`` and now and then what else a wish may hold, true of ``item``, that no reply needs to speak of."""
        if item.names and self._chance(0.08):
            fields["people"] = (self._pick(sorted(item.names)),)
        if item.languages and self._chance(0.08):
            fields["languages"] = (item.languages[0],)
        if item.moods and self._chance(0.15):
            fields["moods"] = tuple(dict.fromkeys((*fields.get("moods", ()), self._pick(item.moods))))
        for name, known in (("genres", "genre_nouns"), ("moods", "mood_phrases")):
            refused = self._pick(sorted(self.lexicon[known]))
            if refused not in getattr(item, name) and self._chance(0.1):
                fields[f"not_{name}"] = (refused,)
        return fields

    def _earlier_wish(self) -> tuple[Wish, tuple[str, ...]]:
        """The wish that a conversation has come to before a message that wants nothing new, and the titles liked."""
        if self._chance(0.4):
            return Wish(), ()
        return self._wish_for(self.world.draw(self.rng, 1)[0], self._facets())

    def _facets(self) -> tuple[str, ...]:
        chances = {"genre": 0.55, "mood": 0.4, "about": 0.22, "years": 0.22, "place": 0.15, "like": 0.3}
        chosen = tuple(name for name, chance in chances.items() if self._chance(chance))
        return chosen or ("genre",)

    def _fitting(self, entries: list[dict[str, Any]], slots: Slots, telling: float = 0.9) -> str:
        """A text whose slots are given; one that uses what the wish gives is preferred, the more the better."""
        able = [entry for entry in entries if _can_say(entry["text"], slots)]
        apt = [entry for entry in able if entry["needs"]]
        if not apt or not self._now_and_then(telling):
            return str(self._say([entry for entry in able if not entry["needs"]])["text"])
        most = max(len(entry["needs"]) for entry in apt)
        if self._now_and_then(0.6):
            apt = [entry for entry in apt if len(entry["needs"]) == most]
        # First what the reply is tied to, then how: else the wishes with most lines would crowd out the others.
        needs = self._say(sorted({tuple(entry["needs"]) for entry in apt}))
        return str(self._say([entry for entry in apt if tuple(entry["needs"]) == needs])["text"])

    def _line(self, key: str, slots: Slots, number: int, used: set[str], told: set[str]) -> str:
        """A line of ``key`` that opens as none of ``used`` and repeats no fact of ``told``; empty if there is none."""
        able = [
            text
            for text in map(str, self.replies[key])
            if _opening(text) not in used
            and _can_say(text.replace("[N", f"[{number}"), slots)
            and not told & set(SLOT.findall(text))
        ]
        if not able:
            return ""
        text: str = self._say(able)
        used.add(_opening(text))
        return text.replace("[N", f"[{number}")

    def _message(self, wish: Wish, liked: tuple[str, ...]) -> str:
        """A message that asks for about what ``wish`` says; now and then one that only follows up."""
        if self._chance(0.2):
            return str(self._pick(self.turns["more"]))
        words = [self._pick(self.lexicon["mood_phrases"][mood]["adjective"]) for mood in wish.moods]
        words += [self._pick(self.lexicon["countries"].get(c, {}).get("adj") or [c]) for c in wish.countries]
        words.append(
            self._pick(self.lexicon["genre_nouns"].get(wish.genres[0], ["film"])) if wish.genres else "something"
        )
        if wish.about:
            words.append(f"about {wish.about}")
        if wish.years:
            words.append(self._pick(("from ", "")) + wish.years)
        if liked:
            words.append(f"like {liked[0].rsplit(' (', 1)[0]}")
        text = str(self._pick(self.turns["find_frames"])).replace("{find}", " ".join(words))
        return text.lower() if self._chance(0.3) else text

    def _body(self, slots: Slots, opening: str) -> list[str]:
        """What follows ``opening``, which names the first item: a line for each item, each in other words."""
        told = {TELLS[name] for name in WISH_SLOT.findall(opening) if name in TELLS}
        used = {_opening(opening)}
        parts = []
        if len(slots.items) == 1 or self._now_and_then(0.85):
            parts.append(self._line("recommend_fact", slots, 1, used, told))
        for number in range(2, len(slots.items) + 1):
            stories = sum(".about]" in part for part in parts)
            parts.append(
                self._line("recommend_next", slots, number, used, {"about"} if stories >= MOST_STORIES else set())
            )
        if self._now_and_then(0.35):
            parts.append(str(self._say(self.replies["recommend_close"])))
        return [part for part in parts if part]

    def _offer(self) -> tuple[Wish, tuple[str, ...], tuple[Item, ...]]:
        items = tuple(self.world.draw(self.rng, self._pick((1, 2, 3, 3, 3, 3, 3, 4, 5))))
        return (*self._wish_for(items[0], self._facets()), items)

    def _recommend(self) -> ReplyExample:
        wish, liked, items = self._offer()
        slots = Slots(items, wish, liked)
        message = self._message(wish, liked)
        whole = [text for text in map(str, self.replies["recommend_one"]) if _can_say(text, slots)]
        if len(items) == 1 and whole and self._now_and_then(0.5):
            telling = [text for text in whole if WISH_SLOT.search(text)]
            reply = str(self._say(telling if telling and self._now_and_then(0.8) else whole))
        else:
            opening = self._fitting(self.replies["recommend_open"], slots)
            reply = " ".join([opening, *self._body(slots, opening)])
        return ReplyExample("recommend", wish, items, message, liked, "", (reply,))

    def _missing(self) -> str:
        kinds = (
            lambda: f"{self.rng.randint(1920, 2020)} or {self._pick(('earlier', 'later'))}",
            self._decade,
            lambda: self._pick(sorted(self.lexicon["genre_nouns"])),
            lambda: f"from {self._pick(sorted(self.lexicon['countries'])).title()}",
            lambda: f"in {self._pick(sorted(self.lexicon['languages'])).title()}",
            lambda: f"with {self._pick(self.world.people)}",
            lambda: self._pick(sorted(self.lexicon["mood_phrases"])),
        )
        return str(self._pick(kinds)())

    def _decade(self) -> str:
        first = self.rng.randrange(1920, 2021, 10)
        return f"{first}-{first + 9}"

    def _relaxed(self) -> ReplyExample:
        wish, liked, items = self._offer()
        for _ in range(20):
            missing = self._missing()
            if not any(_is_true(missing, item) for item in items):
                break
        slots = Slots(items, wish, liked, missing)
        message = self._message(wish, liked)
        opening = str(self._say([text for text in map(str, self.replies["relaxed_open"]) if _can_say(text, slots)]))
        reply = " ".join([opening, *self._body(slots, opening)])
        return ReplyExample("relaxed", wish, items, message, liked, missing, (reply,))

    def _none(self) -> ReplyExample:
        wish, liked, _ = self._offer()
        missing = wish_line(wish) if self._chance(0.7) else self._missing()
        reply = str(self._say(self.replies["none"]))
        return ReplyExample("none", wish, (), self._message(wish, liked), liked, missing, (reply,))

    def _clarify(self) -> ReplyExample:
        message = str(self._pick(self.turns["empty"] if self._chance(0.8) else self.turns["more"]))
        return ReplyExample("clarify", Wish(), (), message, (), "", (str(self._say(self.replies["clarify"])),))

    def _answer(self) -> ReplyExample:
        entry = self._pick([entry for entry in self.turns["ask"] if entry["ref"] != "all"])
        item = self.world.draw(self.rng, 1)[0]
        text = self._pointing(entry)
        title = item.title.lower() if self._chance(0.4) else item.title
        reply = None
        # "How dark is it?" and "is it a drama or a thriller?" are not answered by yes or no.
        closed = not text.lower().startswith(("how", "what")) and " or " not in text
        if closed and entry["topic"] == "moods" and (adjective := self._word_in(text, self.mood_of)):
            mood = self.mood_of[adjective]
            if self._chance(0.5) and (same := [film for film in self.world.films if mood in film.moods][:4000]):
                item = self._pick(same)
            reply = str(self._say(self.replies["answer"]["yes_mood" if mood in item.moods else "no_mood"]))
        elif closed and entry["topic"] == "genres" and (noun := self._word_in(text, self.genre_of)):
            genre = self.genre_of[noun]
            if self._chance(0.5) and self.world.by_genre[genre]:
                item = self._pick(self.world.by_genre[genre])
            reply = str(self._say(self.replies["answer"]["yes_genre" if genre in item.genres else "no_genre"]))
        title = item.title.lower() if self._chance(0.4) else item.title
        slots = Slots((item,), Wish())
        if reply is None or not _can_say(reply, slots):
            options = self.replies["answer"].get(entry["topic"], self.replies["answer"]["unknown"])
            reply = self._say([t for t in options if _can_say(t, slots)] or ["My record of [1] does not say."])
        message = text.replace("{title}", title).replace("{shown}", title)
        wish, liked = self._earlier_wish()
        return ReplyExample("answer", wish, (item,), message, liked, "", (str(reply),))

    def _pointing(self, entry: dict[str, Any]) -> str:
        """The text of a question, pointing at the first item where it points at any."""
        ref = "it" if entry["ref"] == "it" else 1
        return str(entry["text"]).replace("{ref}", str(self._pick(self.turns["refs"][ref])))

    def _word_in(self, text: str, words: dict[str, str]) -> str | None:
        found = [word for word in words if re.search(rf"\b{re.escape(word)}\b", text)]
        return max(found, key=len) if found else None

    def _compare(self) -> ReplyExample:
        items = tuple(self.world.draw(self.rng, 2))
        entry = self._pick([e for e in self.turns["compare"] if len(e["refs"]) == 2])
        text = message = str(entry["text"]).replace("{than}", str(self._pick(self.turns["than"])))
        for ref, item in zip(entry["refs"], items, strict=True):
            message = message.replace("{" + str(ref) + "}", item.title)
        slots = Slots(items, Wish())
        able = [reply for reply in self.replies["compare"] if _can_say(reply, slots)]
        asked = next((fact for fact, words in COMPARED.items() if words.search(text.lower())), None)
        # The labels show the years already: say them only to who asks for them.
        apt = [t for t in able if (f"[1.{asked}]" in str(t) if asked else "[1.year]" not in str(t))]
        wish, liked = self._earlier_wish()
        return ReplyExample("compare", wish, items, message, liked, "", (str(self._say(apt or able)),))

    def _why(self) -> ReplyExample:
        item = self.world.draw(self.rng, 1)[0]
        wish, liked = self._wish_for(item, self._facets() if self._chance(0.85) else ())
        entry = self._pick(self.turns["why"])
        message = self._pointing(entry).replace("{shown}", item.title).replace("{title}", item.title)
        reply = self._fitting(self.replies["why"], Slots((item,), wish, liked), telling=1.0)
        return ReplyExample("why", wish, (item,), message, liked, "", (reply,))

    def _chat(self) -> ReplyExample:
        entry = self._pick(self.turns["chat"])
        wish, liked = self._earlier_wish()
        reply = str(self._say(self.replies["chat"][entry["mood"]]))
        return ReplyExample("chat", wish, (), str(entry["text"]), liked, "", (reply,))

    def _decline(self) -> ReplyExample:
        message = str(self._pick(self.turns["off_topic"]))
        wish, liked = self._earlier_wish()
        return ReplyExample("decline", wish, (), message, liked, "", (str(self._say(self.replies["decline"])),))


def _can_say(text: str, slots: Slots) -> bool:
    """True when every slot of ``text`` stands for something."""
    try:
        slots.fill(text)
    except UnknownSlot:
        return False
    return True


def _opening(text: str) -> str:
    """The words by which two lines sound alike."""
    return " ".join(text.split()[:2])


def _is_true(missing: str, item: Item) -> bool:
    """True when ``item`` has what a reply is to say is ``missing``."""
    years = [int(year) for year in re.findall(r"\b\d{4}\b", missing)]
    if years and item.year is not None:
        first = 0 if missing.endswith("earlier") else years[0]
        last = 9999 if missing.endswith("later") else years[-1]
        return first <= item.year <= last
    places = {f"from {name.title()}" for name in item.countries} | {f"in {name.title()}" for name in item.languages}
    return missing in {*item.genres, *item.moods, *places, *(f"with {name}" for name in item.names)}
