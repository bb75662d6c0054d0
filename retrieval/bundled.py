"""The bundled catalogue: well-known films of all decades and many countries, described by this project.

``data/films.jsonl`` holds one `Item` a line, sorted by id. docs/catalogue.md says what was checked and how.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from retrieval.catalogue import Catalogue
from retrieval.item import Item

CATALOGUE_PATH = Path("catalogue") / "catalogue.sqlite"
"""Where the catalogue is within the folder of all state."""


def bundled_items() -> Iterator[Item]:
    """The bundled films in the order of ids."""
    with (files("retrieval") / "data" / "films.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield Item.model_validate_json(line)


def open_catalogue(home: Path) -> Catalogue:
    """The catalogue within ``home``; one that was never written to is filled with the bundled films.

    CatalogueError when the file there is something else.
    """
    catalogue = Catalogue.open(home.expanduser() / CATALOGUE_PATH)
    if catalogue.revision == 0:
        catalogue.replace(bundled_items())
    return catalogue
