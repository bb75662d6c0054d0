"""Writes a release's folder from weights. Whole or not at all: it appears under its name once it is complete."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.lora import LoraShape
from federation.releases import layout
from federation.releases.base import BaseModel
from federation.releases.manifest import Cohort, File, ItemsShape, Manifest
from federation.releases.verify import Limits, verify
from federation.releases.weights import ItemVectors, items_to_bytes, tensors_to_bytes
from federation.tensors import SOFT_PROMPT, Tensors, plain

__all__ = ["write_files", "write_release"]


def write_release(
    folder: Path,
    cohorts: Mapping[str, Tensors],
    lora: LoraShape,
    base: BaseModel,
    rounds: Sequence[Mapping[str, Any]] = (),
    parent: str | None = None,
    items: ItemVectors | None = None,
) -> Manifest:
    """Writes the release of ``cohorts`` to ``folder``, which must not exist yet, and returns its manifest.

    Each cohort has LoRA pairs of ``lora``'s shape and may have a soft prompt; ``global`` is one of them. Where there is
    a core between A and B (Fed-SB), B is written with it. ReleaseRefused, and no folder, where the weights are not what
    `federation.releases.verify` takes; ValueError where ``rounds`` or names are no release's; FileExistsError where
    there is a folder.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: a release is never written over")
    shapes, files = [], {}
    for name, tensors in sorted(cohorts.items()):
        soft_prompt = tensors.get(SOFT_PROMPT)
        shapes.append(Cohort(name=name, soft_prompt=0 if soft_prompt is None else len(soft_prompt)))
        files[layout.config_path(name)] = layout.adapter_config(lora, base)
        files[layout.lora_path(name)] = tensors_to_bytes(plain(tensors))
        if soft_prompt is not None and len(soft_prompt):
            files[layout.soft_prompt_path(name)] = tensors_to_bytes({SOFT_PROMPT: soft_prompt})
    if items is not None:
        files[layout.ITEMS] = items_to_bytes(items)
    manifest = Manifest(
        base=base,
        lora=lora,
        cohorts=tuple(shapes),
        items=None if items is None else ItemsShape(count=len(items.ids), width=items.vectors.shape[1]),
        rounds=tuple(dict(summary) for summary in rounds),
        parent=parent,
        files=_listed(files),
    )
    write_files(folder, manifest, files)
    return manifest


def write_files(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes ``files`` by their paths, and ``manifest`` over them, to ``folder``, verified before it gets its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for path, data in {**files, layout.MANIFEST: manifest.to_bytes()}.items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            with (draft / path).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        verify(draft, Limits.any())
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _listed(files: Mapping[str, bytes]) -> tuple[File, ...]:
    return tuple(
        File(path=path, size=len(files[path]), sha256=hashlib.sha256(files[path]).hexdigest()) for path in sorted(files)
    )
