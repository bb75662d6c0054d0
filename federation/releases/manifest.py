"""A release's manifest: what is in it, what it came from, and the digest that is its name.

The digest is the sha256 of the canonical JSON of everything else in the manifest, which holds the sha256 of every
other file: any changed byte of a release changes it. There is no time in it, so the same weights from the same rounds
are the same release.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import ConfigDict, Field, JsonValue

from federation.lora import LoraShape
from federation.releases.base import BaseModel
from federation.releases.errors import BadManifest

__all__ = ["GLOBAL", "Cohort", "File", "ItemsShape", "Manifest", "canonical", "is_digest"]

GLOBAL = "global"
"""The cohort of everyone, which every release has."""

MOST_COUNTS = 4096
"""Values that the metadata of one round may hold."""

_COHORT = r"^(global|c[0-9]{1,4})$"
_KEY = r"[a-z][a-z0-9_.@]{0,39}"
_DIGEST = r"^[0-9a-f]{64}$"

Digest = Annotated[str, Field(pattern=_DIGEST)]


class _Part(pydantic.BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class File(_Part):
    """A file of the release: its ``path`` in the folder, its ``size`` in bytes and its digest."""

    path: str
    size: int = Field(ge=0)
    sha256: Digest


class Cohort(_Part):
    """A cohort of the release; ``soft_prompt`` is how many tokens its soft prompt has, 0 for none."""

    name: str = Field(pattern=_COHORT)
    soft_prompt: int = Field(ge=0)


class ItemsShape(_Part):
    """How many item vectors there are and how wide."""

    count: int = Field(ge=1)
    width: int = Field(ge=1)


class Manifest(_Part):
    """What a release is. ``parent`` is the digest of the release that its rounds began with.

    ``rounds`` sum up who took part, round by round: numbers and names of cohorts only, nothing of a device.
    """

    format: Literal[1] = 1
    base: BaseModel
    lora: LoraShape
    cohorts: tuple[Cohort, ...]
    items: ItemsShape | None = None
    rounds: tuple[dict[str, JsonValue], ...] = ()
    parent: Digest | None = None
    files: tuple[File, ...]

    @pydantic.model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = [cohort.name for cohort in self.cohorts]
        paths = [file.path for file in self.files]
        for what, found in (("cohorts", names), ("files", paths)):
            if found != sorted(set(found)):
                raise ValueError(f"the {what} are not in order, each once")
        if GLOBAL not in names:
            raise ValueError(f"there is no cohort {GLOBAL!r}")
        for summary in self.rounds:
            if _counts(summary) > MOST_COUNTS:
                raise ValueError(f"a round's metadata hold more than {MOST_COUNTS:,} values")
        return self

    @property
    def digest(self) -> str:
        """The release's name: 64 hexadecimal digits."""
        return hashlib.sha256(canonical(self._body())).hexdigest()

    @property
    def soft_prompts(self) -> dict[str, int]:
        """The tokens of each cohort's soft prompt, 0 for none."""
        return {cohort.name: cohort.soft_prompt for cohort in self.cohorts}

    def to_bytes(self) -> bytes:
        """What manifest.json holds, to the byte."""
        return canonical({"digest": self.digest, **self._body()}) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The manifest that ``data`` holds; BadManifest unless it is one, unchanged, to the byte."""
        try:
            content = json.loads(data)
            named = content.pop("digest", None)
            manifest = cls.model_validate_json(canonical(content))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadManifest(f"The manifest is none: {_first(error)}.") from error
        if manifest.to_bytes() != data:
            raise BadManifest(f"The manifest was changed: it is not that of the release {named}.")
        return manifest

    def _body(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no blanks, in UTF-8; ValueError for numbers that are not finite."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def is_digest(text: str) -> bool:
    """Whether ``text`` could name a release."""
    return re.fullmatch(_DIGEST, text) is not None


def _counts(value: JsonValue) -> int:
    """How many values ``value`` holds; ValueError where one is neither a finite number nor the name of a cohort."""
    if isinstance(value, dict):
        if odd := next((key for key in value if not re.fullmatch(_KEY, key)), None):
            raise ValueError(f"a round's metadata are not named like {odd[:40]!r}")
        return sum(map(_counts, value.values()))
    if isinstance(value, list):
        return sum(map(_counts, value))
    if isinstance(value, str) and not re.fullmatch(_COHORT, value):
        raise ValueError(f"a round's metadata are numbers and names of cohorts, not {value[:40]!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a round's metadata hold a number that is not finite")
    return 1


def _first(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        found = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, found["loc"]))
        return f"{place}: {found['msg']}" if place else found["msg"]
    return str(error)
