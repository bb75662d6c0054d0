"""The columns on disk, beside the index they belong to, so that opening it reads no item.

They are further files of the index's folder: `retrieval.index_files` replaces it whole, gives each file its sha256 and
links those that have not changed. Numbers are mapped into memory, names are JSON; nothing is pickled. Whoever changes
what of an item the columns hold gives the files other names, so that those of before are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json, to_json

from retrieval.columns import Stored

_YEARS, _POPULARITY, _STARTS, _ROWS = ("years.npy", "popularity.npy", "facet_starts.npy", "facet_rows.npy")
_VALUES = "facets.json"
FILES = (_YEARS, _POPULARITY, _STARTS, _ROWS, _VALUES)


def writers(stored: Stored) -> dict[str, Callable[[Path], None]]:
    """What writes each of `FILES`."""
    arrays: dict[str, npt.NDArray[Any]] = {
        _YEARS: stored.years,
        _POPULARITY: stored.popularity,
        _STARTS: stored.starts,
        _ROWS: stored.rows,
    }
    return {
        **{name: partial(_write_array, array) for name, array in arrays.items()},
        _VALUES: lambda path: _write_bytes(path, to_json(stored.values)),
    }


def load(folder: Path) -> Stored:
    """Reads what `writers` wrote."""
    years, popularity, starts, rows = (
        np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
        for name in (_YEARS, _POPULARITY, _STARTS, _ROWS)
    )
    return Stored(years, popularity, from_json((folder / _VALUES).read_bytes()), starts, rows)


def _write_array(array: npt.NDArray[Any], path: Path) -> None:
    np.save(path, array, allow_pickle=False)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
