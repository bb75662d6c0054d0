"""A row of someone's file to a catalogue item: column names, lists in one cell, years in titles, ids."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json
from unidecode import unidecode

from retrieval.catalogue import CatalogueError, body_of
from retrieval.item import Item
from retrieval.rows import ImportFileError, Row

LIST_FIELDS = frozenset({"genres", "moods", "countries", "languages", "keywords"})
_FIELDS = frozenset(Item.model_fields)
_ALIASES = {
    "movieid": "id", "item_id": "id", "name": "title", "type": "kind", "genre": "genres", "mood": "moods",
    "country": "countries", "language": "languages", "keyword": "keywords", "tags": "keywords",
    "overview": "description", "plot": "description", "summary": "description", "director": "people.director",
    "directors": "people.director", "cast": "people.cast", "actors": "people.cast", "stars": "people.cast",
    "author": "people.author", "authors": "people.author", "writer": "people.writer", "writers": "people.writer",
}  # fmt: skip

_MOVIELENS = frozenset({"movieid", "title", "genres"})
_MOVIELENS_GENRES = {
    "sci-fi": "science fiction",
    "film-noir": "film noir",
    "children": "family",
    "(no genres listed)": "",
}
_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–]\s*\d{0,4})?\)\s*$")
_OTHER_TITLE = re.compile(r"\s*\((?:a\.?k\.?a\.?:? )?([^()]+)\)\s*$", re.IGNORECASE)
_TRAILING_ARTICLE = re.compile(
    r"^(.*), (The|An?|L[aeo]s?|L'|Il|El|Gli|I|Un[ae]?|Der|Die|Das|Den|Det|Ein|Eine|Os?|As|Het|De)$", re.IGNORECASE
)
_DATE = re.compile(r"^(\d{4})-\d\d(?:-\d\d)?")
_SPLIT = re.compile(r"[;|]")
_ID_LENGTH = 120


class BadItemError(ValueError):
    """A row is no item; the message says why, in words."""


class RowReader:
    """Turns rows into items. ``fields`` maps an item's fields (``title``, ``people.director``) to a file's columns."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        """ImportFileError when ``fields`` names something that an item does not have."""
        for field in fields or {}:
            if not (field in _FIELDS - {"people", "attributes"} or re.fullmatch(r"(people|attributes)\.\S.*", field)):
                raise ImportFileError(
                    f"an item has no field {field!r}; it has {', '.join(sorted(_FIELDS))} and people.ROLE"
                )
        self._columns = {column: field for field, column in (fields or {}).items()}
        self._asked = frozenset((fields or {}).values())
        self.unknown: dict[str, int] = {}
        """Columns that were kept as attributes, and in how many rows they were filled."""

    def check_header(self, columns: frozenset[str]) -> None:
        """ImportFileError when a column that the mapping names is not among ``columns``."""
        if missing := self._asked - columns:
            raise ImportFileError(
                f"the file has no column {', '.join(sorted(missing))}; it has {', '.join(sorted(columns))}"
            )

    def item(self, row: Row) -> Item:
        """The item of ``row``; BadItemError says what is wrong with it."""
        movielens = not self._columns and {name.lower() for name in row} >= _MOVIELENS
        fields: dict[str, Any] = {}
        for column, value in row.items():
            if not _is_missing(value):
                self._set(fields, column, value)
        if movielens:
            _read_movielens(fields)
        if "title" not in fields:
            raise BadItemError("title is missing")
        if "id" not in fields:
            fields["id"] = item_id(str(fields["title"]), fields.get("year"))
        try:
            item = Item.model_validate(fields)
            body_of(item)
        except ValidationError as error:
            raise BadItemError("; ".join(_in_words(detail) for detail in error.errors(include_url=False))) from error
        except CatalogueError as error:
            raise BadItemError(str(error)) from error
        return item

    def _set(self, fields: dict[str, Any], column: str, value: Any) -> None:
        field = self._columns.get(column) or _field_of(column)
        group, _, name = field.partition(".")
        if name and group == "people":
            fields.setdefault("people", {})[name] = _as_list(value)
        elif name and group == "attributes":
            fields.setdefault("attributes", {})[name] = _plain(value)
        elif group in LIST_FIELDS:
            fields[group] = _as_list(value)
        elif group == "people":
            fields.setdefault("people", {}).update(_as_people(value))
        elif group == "attributes":
            fields.setdefault("attributes", {}).update(_as_mapping("attributes", value))
        elif group == "year":
            fields["year"] = _as_year(value)
        elif group in ("id", "title") and isinstance(value, (int, float)):
            fields[group] = str(int(value) if float(value).is_integer() else value)
        elif group in _FIELDS:
            fields[group] = value
        else:
            self.unknown[column] = self.unknown.get(column, 0) + 1
            fields.setdefault("attributes", {})[column] = _plain(value)


def item_id(title: str, year: object = None) -> str:
    """An id made of a title and a year: ``Amélie``, 2001 becomes ``amelie-2001``."""
    ascii_title = unidecode(title).lower().replace("'", "").replace("&", " and ")
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:_ID_LENGTH].strip("-") or "item"
    return slug if year is None else f"{slug}-{str(year).lstrip('-')}"


def _field_of(column: str) -> str:
    lower = column.strip().lower()
    if lower in _FIELDS or lower.startswith(("people.", "attributes.")):
        return lower if lower in _FIELDS else column.strip()
    return _ALIASES.get(lower, column)


def _read_movielens(fields: dict[str, Any]) -> None:
    """``City of Lost Children, The (Cité des enfants perdus, La) (1995)``: year, articles and the other title."""
    title = str(fields.get("title", ""))
    if match := _YEAR.search(title):
        fields["year"], title = int(match[1]), title[: match.start()]
    while (match := _OTHER_TITLE.search(title)) and match.start():
        fields["original_title"], title = _article_first(match[1]), title[: match.start()]
    fields["title"] = _article_first(title)
    genres = (_MOVIELENS_GENRES.get(genre.lower(), genre) for genre in fields.get("genres", ()))
    fields["genres"] = [genre for genre in genres if genre]


def _article_first(title: str) -> str:
    match = _TRAILING_ARTICLE.match(title.strip())
    if match is None:
        return title.strip()
    return f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def _as_list(value: Any) -> list[Any]:
    """A list as it is but for missing values, a JSON array in a cell, or a cell split at ``;`` or ``|``."""
    if isinstance(value, str):
        value = _json_in(value, "[") or list(dict.fromkeys(part.strip() for part in _SPLIT.split(value)))
    if not isinstance(value, (list, tuple)):
        value = [str(value)]
    return [part for part in value if not _is_missing(part)]


def _as_people(value: Any) -> dict[str, list[Any]]:
    return {
        str(role): _as_list(names) for role, names in _as_mapping("people", value).items() if not _is_missing(names)
    }


def _as_mapping(field: str, value: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        value = _json_in(value, "{")
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        value = dict(value)  # how Parquet gives a map column
    if not isinstance(value, dict):
        raise BadItemError(
            f'{field} must be an object, such as {{"director": ["Agnès Varda"]}}; or name columns {field}.NAME'
        )
    return value


def _as_year(value: Any) -> Any:
    """A year as it is, or that of a date."""
    if isinstance(value, datetime.date):
        return value.year
    if isinstance(value, str) and (match := _DATE.match(value.strip())):
        return int(match[1])
    return value


def _json_in(cell: str, opening: str) -> Any:
    try:
        return from_json(cell, allow_inf_nan=False) if cell.lstrip().startswith(opening) else None
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    """``value`` as JSON has it: dates and numbers of other types as text."""
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return value


def _in_words(detail: Any) -> str:
    """One of pydantic's findings: the field, what it should be, and what it was."""
    field = ".".join(str(part) for part in detail["loc"]) or "the row"
    if detail["type"] == "missing":
        return f"{field} is missing"
    message = detail["msg"]
    given = repr(detail["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    return f"{field}: {message[0].lower()}{message[1:]}, not {given}"
