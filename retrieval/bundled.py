"""The bundled catalogue: well-known films of all decades and many countries, described by this project.

``data/films.jsonl`` holds one `Item` a line, sorted by id. docs/catalogue.md says what was checked and how.
``data/vectors.safetensors`` holds their vectors by the bundled encoder, so that a first start encodes nothing:
``vectors`` float16 (films, dim) and ``stamps`` uint64 (films,) of their texts, both in the order of films.jsonl, and
``sha256`` uint8 (32,) of the two; the metadata names the ``encoder`` by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from retrieval.catalogue import Catalogue
from retrieval.encoder import FloatArray
from retrieval.item import Item

CATALOGUE_PATH = Path("catalogue") / "catalogue.sqlite"
"""Where the catalogue is within the folder of all state."""

VECTORS_PATH = Path(__file__).parent / "data" / "vectors.safetensors"
"""The vectors of the bundled films; `tools.vectors` makes them."""


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


def known_vectors(encoder_digest: str, path: Path = VECTORS_PATH) -> dict[int, FloatArray]:
    """Unit vectors, float32 (dim,), that need no encoding, by the `retrieval.upkeep.stamp` of the text they belong to.

    Empty for another encoder than the file's, and when the file is missing or damaged: the vectors are a short cut,
    and encoding gives the same.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("encoder") != encoder_digest:
                return {}
            halves, stamps, checksum = (file.get_tensor(name) for name in ("vectors", "stamps", "sha256"))
    except (OSError, SafetensorError, TypeError):  # TypeError: a type of number that NumPy lacks
        return {}
    if not np.array_equal(checksum, _checksum(halves, stamps)):
        return {}
    vectors = halves.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # rounding to 16 bits moved them off the unit sphere
    return dict(zip(stamps.tolist(), vectors, strict=True))


def write_vectors(
    vectors: FloatArray, stamps: npt.NDArray[np.uint64], encoder_digest: str, path: Path = VECTORS_PATH
) -> None:
    """Writes what `known_vectors` reads: unit ``vectors`` (n, dim), kept as float16, and ``stamps`` (n,)."""
    halves = np.ascontiguousarray(vectors, dtype=np.float16)
    tensors: dict[str, npt.NDArray[Any]] = {"vectors": halves, "stamps": stamps, "sha256": _checksum(halves, stamps)}
    path.write_bytes(save(tensors, metadata={"encoder": encoder_digest}))


def _checksum(*arrays: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)
