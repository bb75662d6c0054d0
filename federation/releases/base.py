"""The base model that a release belongs to: its digest, its width, and the shapes of the modules that LoRA changes.

Reads config.json and the headers of the weights; loads no weights but to hash them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from federation.lora import TARGETS
from federation.releases.errors import WrongBase

__all__ = ["BaseModel", "Served", "base_digest", "read_base", "read_served"]

_CONFIG = "config.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = "base_model.model."
"""What PEFT puts before the names of a model's modules."""


@dataclass(frozen=True)
class BaseModel:
    """A base model by its ``digest`` (see `base_digest`) and ``hidden_size``; ``name`` is for people only."""

    digest: str
    hidden_size: int
    name: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest) or self.hidden_size < 1:
            raise ValueError(f"{self} is no base model: its digest has 64 hexadecimal digits, its width is above 0")


@dataclass(frozen=True)
class Served:
    """The base model that is served; ``modules`` are those that LoRA may change, by PEFT's names, with (out, in)."""

    model: BaseModel
    modules: Mapping[str, tuple[int, int]]


def base_digest(folder: Path) -> str:
    """sha256, in hexadecimal, over config.json and the safetensors weights of the model in ``folder``.

    It is that of the lines ``SHA256  NAME`` of these files, as ``sha256sum`` prints them, in order of their names.
    WrongBase where the folder holds no such model.
    """
    lines = (f"{_sha256(path)}  {path.name}\n" for path in sorted((_config_path(folder), *_weights(folder))))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_base(folder: Path, name: str = "") -> BaseModel:
    """The base model in ``folder``, which people know by ``name``; WrongBase where there is none."""
    try:
        config: dict[str, Any] = json.loads(_config_path(folder).read_text(encoding="utf-8"))
        # Models of several modalities keep the language model's values one level down.
        width = int({**config, **config.get("text_config", {})}["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongBase(
            f"{folder / _CONFIG} does not tell the model's width: {error!r}. Give a model's folder."
        ) from error
    return BaseModel(base_digest(folder), width, name or folder.absolute().name)


def read_served(folder: Path, targets: Iterable[str] = TARGETS) -> Served:
    """The base model in ``folder`` with its modules whose last names are ``targets``; WrongBase where it has none."""
    model, wanted = read_base(folder), frozenset(targets)
    modules: dict[str, tuple[int, int]] = {}
    for path in _weights(folder):
        try:
            with safe_open(path, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118  safe_open is no mapping
                    module = name.removesuffix(".weight")
                    if module != name and module.rpartition(".")[2] in wanted:
                        rows, columns = weights.get_slice(name).get_shape()
                        modules[_PREFIX + module] = (rows, columns)
        except (SafetensorError, ValueError, OSError) as error:
            raise WrongBase(f"{path} is no model's weights: {error}. Fetch the model again.") from error
    if not modules:
        raise WrongBase(f"The model in {folder} has no module named {' or '.join(sorted(wanted))}: choose another.")
    return Served(model, modules)


def _config_path(folder: Path) -> Path:
    path = folder / _CONFIG
    if not path.is_file():
        raise WrongBase(f"{folder} holds no {_CONFIG}: give the folder of a model.")
    return path


def _weights(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise WrongBase(f"{folder} holds no *.safetensors: give the folder of a model.")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
