"""Noun phrases and single words for what people look for, with what each means."""

from __future__ import annotations

import random
import re
from typing import Any

from assistant.starter.drafts import Draft, Finisher, Mention
from assistant.starter.world import World
from retrieval.item import Item
from retrieval.lexicon import lexicon

LIKENESS = ("like {}", "similar to {}", "in the style of {}", "along the lines of {}", "à la {}")
CREDIT = ("with {}", "by {}", "starring {}", "directed by {}", "from {}", "with {} in it")
HEADS = ("film", "movie", "flick", "picture")


class Phraser:
    """Writes phrases and adds their meaning to the draft. Deterministic in ``rng``."""

    def __init__(self, world: World, rng: random.Random, finisher: Finisher) -> None:
        self.world, self.rng, self.finisher, self.lexicon = world, rng, finisher, lexicon()
        self.genres = sorted(self.lexicon["genre_nouns"])
        self.moods = sorted(self.lexicon["mood_phrases"])
        self.countries = self._weighted("countries")
        self.languages = self._weighted("languages")

    def _weighted(self, facet: str) -> tuple[list[str], list[float]]:
        """The values of a facet, those of many films more often, but by the square root: rare ones must be met too."""
        counts = self.world.counts(facet)
        values = sorted(self.lexicon[facet])
        return values, [1.0 + counts[value] ** 0.5 / 4 for value in values]

    def _pick(self, options: Any) -> Any:
        return self.rng.choice(options)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def title(self, draft: Draft, shown: tuple[Item, ...] = (), among_shown: float = 0.0) -> tuple[str, int]:
        """A title, marked, and its index; now and then one of those shown."""
        if shown and self._chance(among_shown):
            place = self.rng.randrange(len(shown))
            mention = Mention("S", self.surface(shown[place]), place)
        else:
            mention = Mention("T", self.surface(self._pick(self.world.films)))
        return draft.mark(mention), len(draft.marks) - 1

    def surface(self, film: Item) -> str:
        """A title as people write it."""
        title = film.title
        if self._chance(0.15):
            title = re.sub(r"^(The|A|An) ", "", title)
        if self._chance(0.12):
            title = f"{title} ({film.year})" if self._chance(0.5) else f"{title} {film.year}"
        if self._chance(0.12):
            title = self.finisher.typo(title)
        return title.lower() if self._chance(0.4) else title

    def name(self, draft: Draft) -> tuple[str, int]:
        """A person, marked, and the index of the mark."""
        name = self._pick(self.world.people)
        if self._chance(0.3):
            name = name.split()[-1]
        if self._chance(0.1):
            name = self.finisher.typo(name)
        return draft.mark(Mention("P", name.lower() if self._chance(0.35) else name)), len(draft.marks) - 1

    def noun_phrase(self, draft: Draft) -> str:
        """What is looked for, its meaning added to ``draft``."""
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
            before.append(self.decade(draft))
        else:
            after.append(self.years(draft))

    def _tail(self, draft: Draft, after: list[str]) -> None:
        """Now and then a topic, a title it should be like or a person."""
        if self._chance(0.24):
            after.append(self._pick(self.lexicon["topic_frames"]).replace("{about}", self._topic(draft)))
        if self._chance(0.13):
            mark, index = self.title(draft)
            after.append(self._pick(LIKENESS).format(mark))
            draft.add("like", index)
        if self._chance(0.13):
            mark, index = self.name(draft)
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

    def decade(self, draft: Draft) -> str:
        """A decade as it stands before a noun: 80s, eighties."""
        decade = int(self._pick(sorted(self.lexicon["decades"])))
        draft.meaning["years"] = [decade, decade + 9]
        bare = [phrase for phrase in self.lexicon["decades"][decade] if " " not in phrase]
        return str(self._pick(bare))

    def years(self, draft: Draft) -> str:
        """A decade or a span of years as it stands behind a noun."""
        rng, frames = self.rng, self.lexicon["year_frames"]
        if self._chance(0.55):
            decade = int(self._pick(sorted(self.lexicon["decades"])))
            phrase = str(self._pick(self.lexicon["decades"][decade]))
            draft.meaning["years"] = [decade, decade + 9]
            if phrase.startswith(("from", "made", "in ")):
                return phrase
            the = "" if phrase.startswith(("the ", "this ")) else "the "
            return str(self._pick((f"from {the}", f"from {the}", f"from {the}", f"in {the}", ""))) + phrase
        year = rng.randint(1925, 2022)
        kind = rng.choices(("before", "after", "between", "exact"), (0.35, 0.35, 0.15, 0.15))[0]
        frame = str(self._pick(frames[kind]))
        if kind == "between":
            last = min(2025, year + rng.randint(2, 30))
            draft.meaning["years"] = [year, last]
            return frame.replace("{y1}", str(year)).replace("{y2}", str(last))
        draft.meaning["years"] = {"before": [0, year - 1], "after": [year, 0], "exact": [year, year]}[kind]
        return frame.replace("{y}", str(year))

    def negation(self, draft: Draft, genres: list[str], moods: list[str]) -> str:
        """What is refused, in words: a genre or a mood that is not wished."""
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

    def word(self, draft: Draft, name: str) -> str:
        """A word or phrase for the blank ``name``, its meaning added to ``draft``.

        ``not_`` before the name makes it refused; ``any_`` makes it named without being wished.
        """
        lexicon = self.lexicon
        if name.startswith("any_"):
            return self.word(Draft(), name.removeprefix("any_"))
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
        makers = {
            "decade": self.decade, "years": self.years, "language": self._language,
            "country": lambda draft: self._country(draft, "adj"), "place": lambda draft: self._country(draft, "place"),
            "title": self._liked,
        }  # fmt: skip
        return makers[name](draft)

    def _country(self, draft: Draft, part: str) -> str:
        country = self.rng.choices(*self.countries)[0]
        while not self.lexicon["countries"][country].get(part):
            country = self.rng.choices(*self.countries)[0]
        draft.add("countries", country)
        return str(self._pick(self.lexicon["countries"][country][part]))

    def _language(self, draft: Draft) -> str:
        language = self.rng.choices(*self.languages)[0]
        draft.add("languages", language)
        return str(self._pick(self.lexicon["languages"][language]))

    def _liked(self, draft: Draft) -> str:
        mark, index = self.title(draft)
        draft.add("like", index)
        return mark
