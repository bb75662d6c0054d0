"""The hand-written phrase banks in ``language/``: how people ask and how Sotto answers."""

from __future__ import annotations

from functools import cache
from typing import Any

from retrieval.lexicon import read_bank


@cache
def bank(name: str) -> dict[str, Any]:
    """The bank ``turns`` or ``replies``."""
    return read_bank("assistant.starter", name)
