"""Makes messages a person might write, with the `Edit` each one means: the text for the understand prompt.

A message is put together from one to four segments (a wish, a liking, a refusal, a follow-up ...), each with
its meaning, so every combination comes with its exact answer. Mentions and topics go in as marks and are
labelled at the end, in the order in which they stand, as the linker will label them.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from assistant.dialogue.edit import MAX_FACETS, MAX_POINTERS, Edit
from assistant.starter.banks import bank
from assistant.starter.world import World
from retrieval.item import Item
from retrieval.lexicon import lexicon

MARK = re.compile("⟦(\\d+)⟧")
KEYBOARD = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t", "l": "k", "c": "v"}
LIKENESS = ("like {}", "similar to {}", "in the style of {}", "along the lines of {}", "à la {}")
CREDIT = ("with {}", "by {}", "starring {}", "directed by {}", "from {}", "with {} in it")
HEADS = ("film", "movie", "flick", "picture")
JOINTS = {", ": 8, ". ": 7, ", and ": 3, ", but ": 2, " - ": 2, "; ": 1, " ": 2}
CLOSED_JOINTS = {". ": 6, ", but ": 2, ". But ": 1, "; ": 1, " - ": 1}


@dataclass
class Mention:
    """A title or person named in a message. ``shown`` is its place among the items shown, or None."""

    kind: str
    surface: str
    shown: int | None = None


@dataclass
class Draft:
    """A message under construction: its segments, its marks and what it means so far."""

    segments: list[str] = field(default_factory=list)
    marks: list[Mention | str] = field(default_factory=list)
    meaning: dict[str, Any] = field(default_factory=lambda: {"act": "find"})
    closed: set[str] = field(default_factory=set)
    """Segments that refuse something: what comes after them must not read as refused too."""

    def mark(self, value: Mention | str) -> str:
        self.marks.append(value)
        return f"⟦{len(self.marks) - 1}⟧"

    def refuse(self, segment: str) -> None:
        self.segments.append(segment)
        self.closed.add(segment)

    def add(self, key: str, *values: Any) -> None:
        if values:
            self.meaning.setdefault(key, []).extend(values)


@dataclass(frozen=True)
class TurnExample:
    """``message`` carries its labels; ``edit`` points at them."""

    message: str
    shown: tuple[Item, ...]
    edit: Edit


class Asker:
    """Writes messages. Deterministic in ``rng``."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.turns, self.lexicon = bank("turns"), lexicon()
        self.genres = sorted(self.lexicon["genre_nouns"])
        self.moods = sorted(self.lexicon["mood_phrases"])
        self.countries = self._weighted("countries")
        self.languages = self._weighted("languages")
        self.makers = {
            "wish": (self._wish, 27), "short": (self._short, 11), "like": (self._like, 10), "refine": (self._refine, 7),
            "person": (self._person, 6), "refuse": (self._refuse, 6), "position": (self._position, 7),
            "follow": (self._follow, 14), "era": (self._era, 5), "clear": (self._clear, 6),
            "more": (self._more, 4), "empty": (self._empty, 3), "ask": (self._ask, 11), "compare": (self._compare, 5),
            "why": (self._why, 4), "chat": (self._chat, 7), "off_topic": (self._off_topic, 8),
        }  # fmt: skip

    def example(self) -> TurnExample:
        """One message with what was shown before it and its meaning."""
        rng = self.rng
        names = list(self.makers)
        kind = rng.choices(names, [weight for _, weight in self.makers.values()])[0]
        needs_shown = kind in {"position", "follow", "era", "why", "more"} or (
            kind in {"ask", "compare"} and rng.random() < 0.6
        )
        shown = (
            tuple(self.world.draw(rng, rng.choice((1, 2, 3, 3, 3, 3, 4, 5))))
            if needs_shown or rng.random() < 0.45
            else ()
        )
        draft = Draft()
        if kind == "clear" and not self._chance(0.35):
            # What is given up comes last: nothing may be wished and given up at once.
            self._decorate(draft, shown, kind)
            self._clear(draft, shown)
        elif kind == "clear":
            self._clear_all(draft, shown)
            self._decorate(draft, shown, kind)
        else:
            self.makers[kind][0](draft, shown)
            if kind in {"wish", "like", "person", "era", "position", "refuse"}:
                self._decorate(draft, shown, kind)
        return TurnExample(*self._finish(draft, shown))

    def _weighted(self, facet: str) -> tuple[list[str], list[float]]:
        """The values of a facet, those of many films more often, but by the square root: rare ones must be met too."""
        counts = self.world.counts(facet)
        values = sorted(self.lexicon[facet])
        return values, [1.0 + counts[value] ** 0.5 / 4 for value in values]

    def _pick(self, options: Any) -> Any:
        return self.rng.choice(options)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _decorate(self, draft: Draft, shown: tuple[Item, ...], kind: str) -> None:
        extras = [
            self._like,
            self._refuse,
            self._person,
            self._seen,
            self._count,
            self._clear,
            self._wish,
            self._not_clause,
        ]
        makers = self.rng.sample(extras, self.rng.choices((0, 1, 2), (0.58, 0.33, 0.09))[0])
        for maker in sorted(makers, key=lambda maker: maker == self._clear):
            if (maker, kind) not in {(self._wish, "wish"), (self._clear, "clear")}:
                maker(draft, shown)

    def _title(self, draft: Draft, shown: tuple[Item, ...] = (), among_shown: float = 0.0) -> tuple[str, int]:
        if shown and self._chance(among_shown):
            place = self.rng.randrange(len(shown))
            mention = Mention("S", self._surface(shown[place]), place)
        else:
            mention = Mention("T", self._surface(self._pick(self.world.films)))
        return draft.mark(mention), len(draft.marks) - 1

    def _surface(self, film: Item) -> str:
        title = film.title
        if self._chance(0.15):
            title = re.sub(r"^(The|A|An) ", "", title)
        if self._chance(0.12):
            title = f"{title} ({film.year})" if self._chance(0.5) else f"{title} {film.year}"
        if self._chance(0.12):
            title = self._typo(title)
        return title.lower() if self._chance(0.4) else title

    def _name(self, draft: Draft) -> tuple[str, int]:
        name = self._pick(self.world.people)
        if self._chance(0.3):
            name = name.split()[-1]
        if self._chance(0.1):
            name = self._typo(name)
        return draft.mark(Mention("P", name.lower() if self._chance(0.35) else name)), len(draft.marks) - 1

    # --- what people want -------------------------------------------------------------------------

    def _wish(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        find = self._noun_phrase(draft)
        frame = self._pick(self.turns["find_frames"])
        draft.segments.append(re.sub(r"\bany (an?|some|a few) ", "any ", frame.replace("{find}", find)))
        if self._chance(0.12):
            self._not_clause(draft, shown)

    def _refine(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        if self._chance(0.5):
            draft.segments.append(self._pick(self.turns["refine_frames"]).replace("{find}", self._noun_phrase(draft)))
        elif self._chance(0.5):
            mood = self._pick(self.moods)
            frames = (
                "something more {}",
                "make it {}",
                "{}, please",
                "more {}",
                "{} this time",
                "a bit more {}",
                "but {}",
                "can it be {}",
            )
            draft.segments.append(
                self._pick(frames).format(self._pick(self.lexicon["mood_phrases"][mood]["adjective"]))
            )
            draft.add("moods", mood)
        else:
            self._not_clause(draft, shown)

    def _noun_phrase(self, draft: Draft) -> str:
        before: list[str] = []
        after: list[str] = []
        moods: list[str] = []
        genres: list[str] = []
        self._mood_words(before, after, moods)
        self._time(draft, before, after)
        self._origin(draft, before, after)
        head = self._head(before, moods, genres)
        self._tail(draft, after)
        self.rng.shuffle(after)
        draft.add("moods", *(mood for mood in moods if mood not in draft.meaning.get("not_moods", ())))
        draft.add("genres", *(genre for genre in genres if genre not in draft.meaning.get("not_genres", ())))
        phrase = " ".join(filter(None, [" ".join(before).replace(" ,", ","), head, *after])).strip()
        return self._article(phrase)

    def _mood_words(self, before: list[str], after: list[str], moods: list[str]) -> None:
        """Now and then a mood, as an adjective before the noun or a clause behind it, and perhaps a second."""
        if not self._chance(0.42):
            return
        phrases = self.lexicon["mood_phrases"]
        moods.append(self._pick(self.moods))
        if not self._chance(0.7):
            after.append(self._pick(phrases[moods[0]]["clause"]))
            return
        before.append(self._pick(phrases[moods[0]]["adjective"]))
        other = self._pick(self.moods)
        if self._chance(0.2) and other not in moods:
            before.append(self._pick(("and ", ", ", "but ")) + self._pick(phrases[other]["adjective"]))
            moods.append(other)

    def _origin(self, draft: Draft, before: list[str], after: list[str]) -> None:
        """Now and then a country or a language."""
        if self._chance(0.22):
            country = self.rng.choices(*self.countries)[0]
            forms = self.lexicon["countries"][country]
            if forms.get("adj") and self._chance(0.65):
                before.append(self._pick(forms["adj"]))
            else:
                after.append(self._place(self._pick(forms["place"])))
            draft.add("countries", country)
        elif self._chance(0.1):
            language = self.rng.choices(*self.languages)[0]
            after.append(self._pick(self.lexicon["languages"][language]))
            draft.add("languages", language)

    def _time(self, draft: Draft, before: list[str], after: list[str]) -> None:
        """Now and then years: a decade before the noun, or any span behind it."""
        if "years" in draft.meaning or not self._chance(0.26):
            return
        if self._chance(0.35):
            before.append(self._decade(draft))
        else:
            after.append(self._years(draft))

    def _tail(self, draft: Draft, after: list[str]) -> None:
        """Now and then a topic, a title it should be like or a person."""
        if self._chance(0.24):
            after.append(self._pick(self.lexicon["topic_frames"]).replace("{about}", self._topic(draft)))
        if self._chance(0.13):
            mark, index = self._title(draft)
            after.append(self._pick(LIKENESS).format(mark))
            draft.add("like", index)
        if self._chance(0.13):
            mark, index = self._name(draft)
            after.append(self._pick(CREDIT).format(mark))
            draft.add("people", index)

    def _head(self, before: list[str], moods: list[str], genres: list[str]) -> str:
        rng, lexicon = self.rng, self.lexicon
        roll = rng.random()
        if roll < 0.09:
            combo = self._pick(lexicon["combos"])
            genres.extend(combo.get("genres") or [])
            moods.extend(mood for mood in combo.get("moods") or [] if mood not in moods)
            return str(combo["phrase"])
        if roll < 0.72:
            genre = self._pick(self.genres)
            genres.append(genre)
            adjectives = lexicon["genre_adjectives"].get(genre)
            if adjectives and self._chance(0.35):
                if self._chance(0.25):
                    other = self._pick(self.genres)
                    if other != genre and lexicon["genre_adjectives"].get(other):
                        before.append(self._pick(lexicon["genre_adjectives"][other]))
                        genres.append(other)
                return f"{self._pick(adjectives)} {self._pick(HEADS)}{self._pick(('', 's'))}"
            if self._chance(0.12):
                other = self._pick(self.genres)
                if other != genre:
                    genres.append(other)
                    nouns = lexicon["genre_nouns"]
                    return f"{self._pick(nouns[genre])} {self._pick(('or', 'and'))} {self._pick(nouns[other])}"
            return str(self._pick(lexicon["genre_nouns"][genre]))
        if before:
            return str(self._pick(("film", "movie", "films", "movies", "one", "flick", "stuff")))
        return "something"

    def _article(self, phrase: str) -> str:
        first, last = phrase.split(" ", 1)[0], phrase.lower()
        if first in {"something", "a", "an", "some", "the"} or self._chance(0.25):
            return phrase
        plural = re.match(r"^[^⟦]*?(films|movies|flicks|stuff|\w{3,}s)\b", last)
        if plural:
            return f"{self._pick(('some', 'good', 'a few'))} {phrase}" if self._chance(0.4) else phrase
        return f"{'an' if first[0].lower() in 'aeiou8' else 'a'} {phrase}"

    def _place(self, phrase: str) -> str:
        return phrase if re.match(r"(from|made|set|out of|in|shot|produced)\b", phrase) else f"from {phrase}"

    def _topic(self, draft: Draft) -> str:
        topic = str(self._pick(self.lexicon["topics"]))
        draft.meaning.setdefault("about", topic)
        return draft.mark(topic) if draft.meaning["about"] == topic else str(draft.meaning["about"])

    def _decade(self, draft: Draft) -> str:
        """A decade as it stands before a noun: 80s, eighties."""
        decade = int(self._pick(sorted(self.lexicon["decades"])))
        draft.meaning["years"] = [decade, decade + 9]
        bare = [phrase for phrase in self.lexicon["decades"][decade] if " " not in phrase]
        return str(self._pick(bare))

    def _years(self, draft: Draft) -> str:
        rng, frames = self.rng, self.lexicon["year_frames"]
        if self._chance(0.55):
            decade = int(self._pick(sorted(self.lexicon["decades"])))
            phrase = str(self._pick(self.lexicon["decades"][decade]))
            draft.meaning["years"] = [decade, decade + 9]
            if phrase.startswith(("from", "made", "in ")):
                return phrase
            the = "" if phrase.startswith(("the ", "this ")) else "the "
            return self._pick((f"from {the}", f"from {the}", f"from {the}", f"in {the}", "")) + phrase
        year = rng.randint(1925, 2022)
        kind = rng.choices(("before", "after", "between", "exact"), (0.35, 0.35, 0.15, 0.15))[0]
        frame = str(self._pick(frames[kind]))
        if kind == "between":
            last = min(2025, year + rng.randint(2, 30))
            draft.meaning["years"] = [year, last]
            return frame.replace("{y1}", str(year)).replace("{y2}", str(last))
        draft.meaning["years"] = {"before": [0, year - 1], "after": [year, 0], "exact": [year, year]}[kind]
        return frame.replace("{y}", str(year))

    def _negation(self, draft: Draft, genres: list[str], moods: list[str]) -> str:
        if self._chance(0.5):
            genre = self._pick([name for name in self.genres if name not in genres])
            draft.add("not_genres", genre)
            frame = str(self._pick(self.lexicon["not_genre_phrases"]))
            return frame.replace("{genre_plural}", str(self._pick(self.lexicon["genre_plural"][genre]))).replace(
                "{genre}", genre
            )
        mood = self._pick([name for name in self.moods if name not in moods])
        draft.add("not_moods", mood)
        return str(self._pick(self.lexicon["not_mood_phrases"][mood]))

    def _not_clause(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        meaning = draft.meaning
        draft.refuse(self._negation(draft, meaning.get("genres", []), meaning.get("moods", [])))

    # --- titles, people, positions ------------------------------------------------------------------

    def _like(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        first, index = self._title(draft, shown, 0.15)
        draft.add("like", index)
        if self._chance(0.22):
            second, other = self._title(draft)
            draft.add("like", other)
            draft.segments.append(
                self._pick(self.turns["like2_frames"]).replace("{title}", first).replace("{title2}", second)
            )
        else:
            draft.segments.append(self._pick(self.turns["like_frames"]).replace("{title}", first))

    def _refuse(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        if self._chance(0.3):
            mark, index = self._name(draft)
            draft.add("not_people", index)
            draft.refuse(self._pick(self.turns["not_person_frames"]).replace("{person}", mark))
            return
        mark, index = self._title(draft, shown, 0.4)
        draft.add("dislike", index)
        draft.refuse(self._pick(self.turns["dislike_frames"]).replace("{title}", mark))

    def _seen(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        mark, index = self._title(draft, shown, 0.5)
        draft.add("seen", index)
        draft.refuse(self._pick(self.turns["seen_frames"]).replace("{title}", mark))

    def _person(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        mark, index = self._name(draft)
        draft.add("people", index)
        draft.segments.append(self._pick(self.turns["person_frames"]).replace("{person}", mark))

    def _position(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        entry = self._pick([entry for entry in self.turns["not_that"] if self._fits(entry["ref"], shown)])
        text = self._pointing(draft, entry["as"], entry, shown)
        draft.segments.append(text)
        if entry["as"] != "like":
            draft.closed.add(text)

    def _pointing(self, draft: Draft, key: str, entry: dict[str, Any], shown: tuple[Item, ...]) -> str:
        """The text of ``entry`` with ``key`` set to the shown item it points at; ``{ref}`` is any of them."""
        ref, text = entry["ref"], str(entry["text"])
        if ref == "any":
            ref = self._pick([ref for ref in self.turns["refs"] if ref != "it" and self._fits(ref, shown)])
            text = text.replace("{ref}", str(self._pick(self.turns["refs"][ref])))
        elif ref == "it":
            text = text.replace("{ref}", str(self._pick(self.turns["refs"]["it"])))
        draft.add(key, *self._labels(ref, shown))
        return text

    def _fits(self, ref: Any, shown: tuple[Item, ...]) -> bool:
        if ref == "it":
            return len(shown) == 1 or (len(shown) > 1 and self._chance(0.3))
        if ref == "two":
            return len(shown) == 2
        return bool(shown) and (not isinstance(ref, int) or ref <= len(shown))

    def _labels(self, ref: Any, shown: tuple[Item, ...]) -> list[str]:
        """The labels that ``ref`` points at; "it" and "that one" are the only item or else the first, the main one."""
        if ref in {"all", "two"}:
            return [f"S{n}" for n in range(1, min(len(shown), 6) + 1)]
        return [f"S{len(shown)}" if ref == "last" else "S1" if ref == "it" else f"S{ref}"]

    # --- a few plain words ----------------------------------------------------------------------------

    def _short(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        """A few plain words, as most people type."""
        self._entry(draft, self._pick(self.turns["short"][self._pick(sorted(self.turns["short"]))]), shown)

    def _follow(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        """A short change to the wish: back to something, another decade, a shown item with a difference ..."""
        group = self.turns["follow_ups"][self._pick(sorted(self.turns["follow_ups"]))]
        self._entry(draft, self._pick(group), shown)

    def _entry(self, draft: Draft, entry: Any, shown: tuple[Item, ...]) -> None:
        entry = {"text": entry} if isinstance(entry, str) else entry
        for key, value in entry.get("edit", {}).items():
            draft.meaning[key] = list(value) if isinstance(value, list) else value
        text = self._pointing(draft, entry["as"], entry, shown) if "ref" in entry else str(entry["text"])
        draft.segments.append(re.sub(r"\{(\w+)\}", lambda match: self._word(draft, match.group(1)), text))

    def _word(self, draft: Draft, name: str) -> str:
        """A word or phrase for the blank ``name``, its meaning added to ``draft``.

        ``not_`` before the name makes it refused; ``any_`` makes it named without being wished.
        """
        lexicon = self.lexicon
        if name.startswith("any_"):
            return self._word(Draft(), name.removeprefix("any_"))
        refused, name = ("not_" if name.startswith("not_") else ""), name.removeprefix("not_")
        if name in {"genre_nouns", "genre_plural", "genre_adjectives"}:
            said = {*draft.meaning.get("genres", ()), *draft.meaning.get("not_genres", ())}
            genre = self._pick([genre for genre in self.genres if genre not in said])
            draft.add(f"{refused}genres", genre)
            return str(self._pick(lexicon[name][genre]))
        if name in {"adjective", "clause", "noun", "comparative"}:
            phrases = lexicon["mood_phrases"]
            said = {*draft.meaning.get("moods", ()), *draft.meaning.get("not_moods", ())}
            mood = self._pick([mood for mood in self.moods if phrases[mood].get(name) and mood not in said])
            draft.add(f"{refused}moods", mood)
            return str(self._pick(phrases[mood][name]))
        if name in {"decade", "years"}:
            return self._decade(draft) if name == "decade" else self._years(draft)
        if name in {"country", "place"}:
            part = "adj" if name == "country" else "place"
            country = self.rng.choices(*self.countries)[0]
            while not lexicon["countries"][country].get(part):
                country = self.rng.choices(*self.countries)[0]
            draft.add("countries", country)
            return str(self._pick(lexicon["countries"][country][part]))
        if name == "language":
            language = self.rng.choices(*self.languages)[0]
            draft.add("languages", language)
            return str(self._pick(lexicon["languages"][language]))
        if name == "title":
            mark, index = self._title(draft)
            draft.add("like", index)
            return mark
        raise KeyError(name)

    # --- follow-ups and the rest --------------------------------------------------------------------

    def _era(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        era = self._pick(("older", "newer"))
        draft.meaning["era"] = era
        draft.segments.append(str(self._pick(self.lexicon["era"][era])))

    def _clear(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        """Gives up one part of the wish, said before or after the rest of the message."""
        if "all" in draft.meaning.get("clear", []):
            return
        parts = [part for part in self.lexicon["clear"] if part not in {"all", "kind"} and not draft.meaning.get(part)]
        part = self._pick(parts)
        draft.add("clear", part)
        draft.segments.insert(
            0 if self._chance(0.35) else len(draft.segments), str(self._pick(self.lexicon["clear"][part]))
        )

    def _clear_all(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        """Starts over, mostly with a new wish."""
        draft.add("clear", "all")
        draft.segments.append(str(self._pick(self.lexicon["clear"]["all"])))
        if self._chance(0.6):
            lead = self._pick(("", "", "now ", "how about ", "this time ", "I want ", "let's try ", "give me "))
            draft.segments.append(lead + self._noun_phrase(draft))

    def _count(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        count = self._pick(sorted(self.lexicon["counts"]))
        draft.meaning["count"] = int(count)
        draft.segments.append(str(self._pick(self.lexicon["counts"][count])))

    def _more(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.segments.append(self._pick(self.turns["more"]))

    def _empty(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.segments.append(self._pick(self.turns["empty"]))

    def _chat(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.meaning = {"act": "chat"}
        draft.segments.append(self._pick(self.turns["chat"])["text"])

    def _off_topic(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.meaning = {"act": "off_topic"}
        draft.segments.append(self._pick(self.turns["off_topic"]))

    def _about_item(self, draft: Draft, entry: dict[str, Any], shown: tuple[Item, ...]) -> str:
        """The text of a question with its title marked, and ``of`` set to what it is about."""
        if entry["ref"] not in {"title", "shown"}:
            return self._pointing(draft, "of", entry, shown)
        mark, index = self._title(draft, shown, 1.0 if entry["ref"] == "shown" else 0.0)
        draft.add("of", index)
        return str(entry["text"]).replace("{title}", mark).replace("{shown}", mark)

    def _ask(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.meaning = {"act": "ask"}
        fitting = [e for e in self.turns["ask"] if e["ref"] == "title" or (shown and self._fits(e["ref"], shown))]
        draft.segments.append(self._about_item(draft, self._pick(fitting), shown))

    def _why(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.meaning = {"act": "why"}
        fitting = [e for e in self.turns["why"] if self._fits(e["ref"], shown)]
        draft.segments.append(self._about_item(draft, self._pick(fitting), shown))

    def _compare(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        draft.meaning = {"act": "compare"}
        entries = [e for e in self.turns["compare"] if all(r in {"title", "title2"} for r in e["refs"])]
        if len(shown) > 1 and self._chance(0.6):
            entries = [
                e for e in self.turns["compare"]
                if not {"title", "title2"} & set(map(str, e["refs"])) and all(self._fits(r, shown) for r in e["refs"])
            ]  # fmt: skip
        entry = self._pick(entries)
        text, places = str(entry["text"]), self.rng.sample(range(len(shown)), min(2, len(shown)))
        text = text.replace("{than}", str(self._pick(self.turns["than"])))
        for ref in entry["refs"]:
            if ref in {"all", "two"}:
                draft.add("of", *self._labels(ref, shown))
                continue
            if ref in {"any", "any2"}:
                place = min(places) if ref == "any" else max(places)
                words = self.turns["refs"].get(place + 1) or [f"number {place + 1}"]
                text = text.replace("{" + ref + "}", str(self._pick(words)))
                draft.add("of", f"S{place + 1}")
                continue
            if isinstance(ref, int):
                draft.add("of", f"S{ref}")
                continue
            mention = Mention("T", self._surface(self._pick(self.world.films)))
            if ref in {"shown", "shown2"}:
                place = places[0 if ref == "shown" else 1]
                mention = Mention("S", self._surface(shown[place]), place)
            text = text.replace("{" + ref + "}", draft.mark(mention))
            draft.add("of", len(draft.marks) - 1)
        draft.segments.append(text)

    # --- finishing ----------------------------------------------------------------------------------

    def _finish(self, draft: Draft, shown: tuple[Item, ...]) -> tuple[str, tuple[Item, ...], Edit]:
        text = draft.segments[0] if draft.segments else ""
        for before, segment in zip(draft.segments, draft.segments[1:], strict=False):
            joints = CLOSED_JOINTS if before in draft.closed else JOINTS
            joint = self.rng.choices(list(joints), list(joints.values()))[0]
            text = text.rstrip(" .,;")
            joint = " " if text.endswith(("?", "!")) else joint
            text += joint + (segment[:1].upper() + segment[1:] if joint == ". " and self._chance(0.6) else segment)
        if draft.meaning["act"] == "find" and self._chance(0.18):
            text = f"{self._pick(self.turns['openers'])} {text}"
        if draft.meaning["act"] == "find" and self._chance(0.12):
            text = f"{text} {self._pick(self.turns['closers'])}"
        if self._chance(0.3):
            text = text.lower()
        if self._chance(0.2):
            text = text.rstrip(".!?")
        if self._chance(0.12):
            text = self._typo_outside_marks(text)
        if self._chance(0.04):
            text = self._stray_label(draft, text)
        text, labels = self._label(draft, " ".join(text.split()))
        meaning = {key: _ordered(key, value, labels) for key, value in draft.meaning.items()}
        return text, shown, Edit.model_validate(meaning)

    def _label(self, draft: Draft, text: str) -> tuple[str, dict[int, str]]:
        labels: dict[int, str] = {}
        counts = {"T": 0, "P": 0}

        def labelled(match: re.Match[str]) -> str:
            index = int(match.group(1))
            mention = draft.marks[index]
            if isinstance(mention, str):
                return mention
            if mention.shown is not None:
                labels[index] = f"S{mention.shown + 1}"
            else:
                counts[mention.kind] += 1
                labels[index] = f"{mention.kind}{counts[mention.kind]}"
            return f"[{labels[index]} {mention.surface}]"

        return MARK.sub(labelled, text), labels

    def _stray_label(self, draft: Draft, text: str) -> str:
        """A word that the linker took for a title though it is none: the model learns to pass it by."""
        words = text.split(" ")
        places = [i for i, word in enumerate(words) if re.fullmatch(r"[A-Za-z]{3,}", word)]
        if not places:
            return text
        place = self._pick(places)
        words[place] = draft.mark(Mention("T", words[place]))
        return " ".join(words)

    def _typo_outside_marks(self, text: str) -> str:
        words = text.split(" ")
        for _ in range(self.rng.choice((1, 1, 2))):
            place = self.rng.randrange(len(words))
            if "⟦" not in words[place] and not any(c.isdigit() for c in words[place]):
                words[place] = self._typo(words[place])
        return " ".join(words)

    def _typo(self, word: str) -> str:
        if len(word) < 5:
            return word
        place = self.rng.randrange(1, len(word) - 1)
        kind = self.rng.randrange(4)
        if kind == 0:
            return word[:place] + word[place + 1 :]
        if kind == 1:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        if kind == 2:
            return word[:place] + word[place] + word[place:]
        return word[:place] + KEYBOARD.get(word[place].lower(), word[place]) + word[place + 1 :]


POINTERS = frozenset({"of", "like", "dislike", "seen", "people", "not_people"})


def _ordered(key: str, value: Any, labels: dict[int, str]) -> Any:
    """A list in the one order in which it is always written: labels by their number, facets by the alphabet."""
    if not isinstance(value, list) or key == "years":
        return value
    if key in POINTERS:
        named = {labels[one] if isinstance(one, int) else str(one) for one in value}
        return sorted(named, key=lambda label: (label[0], int(label[1:])))[:MAX_POINTERS]
    return sorted(set(value))[:MAX_FACETS]
