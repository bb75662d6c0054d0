"""Makes messages a person might write, with the `Edit` each one means: the text for the understand prompt.

A message is put together from one to four segments (a wish, a liking, a refusal, a follow-up ...), each with
its meaning, so every combination comes with its exact answer.
"""

from __future__ import annotations

import random
import re
from typing import Any

from assistant.starter.banks import bank
from assistant.starter.drafts import Draft, Finisher, Mention, TurnExample
from assistant.starter.phrases import Phraser
from assistant.starter.world import World
from retrieval.item import Item
from retrieval.lexicon import lexicon


class Asker:
    """Writes messages. Deterministic in ``rng``."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.turns, self.lexicon = bank("turns"), lexicon()
        self.finish = Finisher(rng)
        self.phrases = Phraser(world, rng, self.finish)
        self.makers = {
            "wish": (self._wish, 27), "short": (self._short, 11), "like": (self._like, 10), "refine": (self._refine, 7),
            "person": (self._person, 6), "refuse": (self._refuse, 6), "position": (self._position, 7),
            "follow": (self._follow, 14), "era": (self._era, 5), "clear": (self._clear, 6),
            "more": (self._more, 4), "empty": (self._empty, 3), "ask": (self._ask, 11), "compare": (self._compare, 5),
            "why": (self._why, 4), "chat": (self._chat, 7), "off_topic": (self._off_topic, 8),
        }  # fmt: skip

    def example(self, kind: str | None = None) -> TurnExample:
        """One message, of ``kind`` or any, with what was shown before it and its meaning."""
        rng = self.rng
        if kind is None:
            kind = rng.choices(list(self.makers), [weight for _, weight in self.makers.values()])[0]
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
        return self.finish.example(draft, shown)

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

    def _wish(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        find = self.phrases.noun_phrase(draft)
        frame = self._pick(self.turns["find_frames"])
        draft.segments.append(re.sub(r"\bany (an?|some|a few) ", "any ", frame.replace("{find}", find)))
        if self._chance(0.12):
            self._not_clause(draft, shown)

    def _refine(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        if self._chance(0.5):
            draft.segments.append(
                self._pick(self.turns["refine_frames"]).replace("{find}", self.phrases.noun_phrase(draft))
            )
        elif self._chance(0.5):
            mood = self._pick(self.phrases.moods)
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

    def _not_clause(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        meaning = draft.meaning
        draft.refuse(self.phrases.negation(draft, meaning.get("genres", []), meaning.get("moods", [])))

    def _like(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        first, index = self.phrases.title(draft, shown, 0.15)
        draft.add("like", index)
        if self._chance(0.22):
            second, other = self.phrases.title(draft)
            draft.add("like", other)
            draft.segments.append(
                self._pick(self.turns["like2_frames"]).replace("{title}", first).replace("{title2}", second)
            )
        else:
            draft.segments.append(self._pick(self.turns["like_frames"]).replace("{title}", first))

    def _refuse(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        if self._chance(0.3):
            mark, index = self.phrases.name(draft)
            draft.add("not_people", index)
            draft.refuse(self._pick(self.turns["not_person_frames"]).replace("{person}", mark))
            return
        mark, index = self.phrases.title(draft, shown, 0.4)
        draft.add("dislike", index)
        draft.refuse(self._pick(self.turns["dislike_frames"]).replace("{title}", mark))

    def _seen(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        mark, index = self.phrases.title(draft, shown, 0.5)
        draft.add("seen", index)
        draft.refuse(self._pick(self.turns["seen_frames"]).replace("{title}", mark))

    def _person(self, draft: Draft, shown: tuple[Item, ...]) -> None:
        mark, index = self.phrases.name(draft)
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
        draft.segments.append(re.sub(r"\{(\w+)\}", lambda match: self.phrases.word(draft, match.group(1)), text))

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
            draft.segments.append(lead + self.phrases.noun_phrase(draft))

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
        mark, index = self.phrases.title(draft, shown, 1.0 if entry["ref"] == "shown" else 0.0)
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
            mention = Mention("T", self.phrases.surface(self._pick(self.world.films)))
            if ref in {"shown", "shown2"}:
                place = places[0 if ref == "shown" else 1]
                mention = Mention("S", self.phrases.surface(shown[place]), place)
            text = text.replace("{" + ref + "}", draft.mark(mention))
            draft.add("of", len(draft.marks) - 1)
        draft.segments.append(text)
