"""The hand-written phrase banks in ``language/``: how people ask and how Sotto answers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def bank(name: str) -> dict[str, Any]:
    """The bank ``lexicon``, ``turns`` or ``replies``."""
    text = files("assistant.starter").joinpath("language", f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both are safe
