"""The hand-written phrase banks in ``language/``: how people ask and how Sotto answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.lexicon import read_bank


def bank(name: str) -> Mapping[str, Any]:
    """The bank ``turns`` or ``replies``."""
    return read_bank("assistant.starter", name)
