"""The names of the sets written by hand: a light import for the command line."""

from __future__ import annotations

from typing import Literal, get_args

SetName = Literal["gold", "development"]
SETS: tuple[SetName, ...] = get_args(SetName)
