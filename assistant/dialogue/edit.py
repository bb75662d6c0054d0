"""What one message changes in the wish: the form in which the model reads a turn.

The model never writes a title or a name. It points at labels that the linker put into the message
(``T1`` a title, ``P1`` a person) or at items shown before (``S1``), and picks facets from the
catalogue's own vocabulary; `edit_schema` lets vLLM decode nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, field_validator

from retrieval.wish import MAX_COUNT

Act = Literal["find", "ask", "compare", "why", "chat", "off_topic"]
ACTS: tuple[Act, ...] = ("find", "ask", "compare", "why", "chat", "off_topic")
ASKING: tuple[Act, ...] = ("ask", "compare", "why")
"""The acts that are about items: they alone have `Edit.of`, and nothing else."""
CLEARABLE = ("all", "like", "people", "genres", "moods", "countries", "languages", "years", "about", "kind")
MAX_POINTERS = 6
MAX_FACETS = 4
MAX_ABOUT = 80
LAST_YEAR = 2100


class Edit(BaseModel):
    """The fields in the order in which the model writes them; an absent one says nothing.

    ``of``, ``like``, ``dislike`` and ``seen`` hold labels T or S, ``people`` and ``not_people`` labels P.
    ``years`` is ``(first, last)`` with 0 for an open end; ``era`` is older or newer than what was shown.
    ``clear`` gives up parts of the earlier wish before the rest applies: "forget all that, a western".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    act: Act
    of: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    not_people: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    not_genres: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    not_moods: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kind: str | None = None
    years: tuple[int, int] | None = None
    era: Literal["older", "newer"] | None = None
    about: str = ""
    count: int | None = None
    clear: tuple[str, ...] = ()

    @field_validator(
        "of", "like", "dislike", "seen", "people", "not_people", "genres", "not_genres", "moods", "not_moods",
        "countries", "languages", "clear",
    )  # fmt: skip
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    def written(self) -> str:
        """The JSON that the model writes for this edit: fields in order, absent ones left out, no blanks.

        Constrained decoding knows no blanks and no escapes, so quotes and backslashes leave the topic.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True)
        if self.about:
            fields["about"] = re.sub(r'["\\\\\r\n]', "", self.about)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


class Vocabulary(Protocol):
    """The facet values of a catalogue, lower case."""

    @property
    def genres(self) -> tuple[str, ...]: ...
    @property
    def moods(self) -> tuple[str, ...]: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...


def edit_schema(vocabulary: Vocabulary, titles: Sequence[str], people: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an `Edit` for one message.

    ``titles`` are the labels T and S that exist, ``people`` the labels P. A field with nothing to choose
    from is left out, so it cannot be written.
    """

    def some_of(values: Sequence[str], most: int) -> dict[str, Any] | None:
        if not values:
            return None
        return {"type": "array", "items": {"enum": list(values)}, "minItems": 1, "maxItems": most}

    pointers, names = some_of(titles, MAX_POINTERS), some_of(people, MAX_POINTERS)
    genres, moods = some_of(vocabulary.genres, MAX_FACETS), some_of(vocabulary.moods, MAX_FACETS)
    year = {"type": "integer", "minimum": 0, "maximum": LAST_YEAR}
    fields: dict[str, dict[str, Any] | None] = {
        "act": {"enum": list(ACTS)},
        "of": pointers,
        "like": pointers,
        "dislike": pointers,
        "seen": pointers,
        "people": names,
        "not_people": names,
        "genres": genres,
        "not_genres": genres,
        "moods": moods,
        "not_moods": moods,
        "countries": some_of(vocabulary.countries, MAX_FACETS),
        "languages": some_of(vocabulary.languages, MAX_FACETS),
        "kind": {"enum": list(vocabulary.kinds)} if len(vocabulary.kinds) > 1 else None,
        "years": {"type": "array", "items": year, "minItems": 2, "maxItems": 2},
        "era": {"enum": ["older", "newer"]},
        "about": {"type": "string", "minLength": 1, "maxLength": MAX_ABOUT},
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
        "clear": some_of(CLEARABLE, MAX_FACETS),
    }
    properties = {name: schema for name, schema in fields.items() if schema is not None}
    return {"type": "object", "properties": properties, "required": ["act"], "additionalProperties": False}


def by_act(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` of an `Edit` with the fields that each act has: a question what it is about, a wish the rest."""
    fields = schema["properties"]
    forms: tuple[tuple[Sequence[Act], set[str]], ...] = (
        (("find",), set(fields) - {"of"}),
        (ASKING, {"act", "of"}),
        (("chat", "off_topic"), {"act"}),
    )
    options = []
    for acts, names in forms:
        if possible := [act for act in fields["act"]["enum"] if act in acts]:
            properties = {name: value for name, value in fields.items() if name in names}
            required = [name for name in schema["required"] if name in names]
            options.append({**schema, "properties": {**properties, "act": {"enum": possible}}, "required": required})
    return {"anyOf": options}
