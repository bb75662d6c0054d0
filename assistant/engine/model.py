"""Finds the chat model to serve: a folder, or a name on Hugging Face that is fetched once.

Only safetensors weights are fetched: nothing of a model is ever unpickled, and none of its code is run.
"""

from __future__ import annotations

import json
from pathlib import Path

from assistant.errors import SottoError

__all__ = ["MAX_CONTEXT", "context_length", "find_model"]

MAX_CONTEXT = 4096
"""Tokens of prompt and reply together; a turn needs far fewer than large models allow, and memory grows with it."""

_FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]
_MEND = "Give a folder with config.json and *.safetensors, or a model's name on Hugging Face (--model, SOTTO_MODEL)."


def find_model(name: str) -> Path:
    """The folder of the model ``name``, fetched if need be; a download shows its progress and is resumed.

    SottoError where there is no such model, or it has no safetensors weights.
    """
    from huggingface_hub import snapshot_download

    folder = Path(name).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(name, allow_patterns=_FILES))
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            missing = f"There is no model {name}, neither as a folder nor to be fetched: {reason}"
            raise SottoError(f"{missing} {_MEND}") from error
    for needed in ("config.json", "*.safetensors"):
        if next(folder.glob(needed), None) is None:
            raise SottoError(f"The folder {folder} holds no {needed}. {_MEND}")
    return folder


def context_length(folder: Path, most: int = MAX_CONTEXT) -> int:
    """Tokens to serve the model in ``folder`` with: ``most``, or all it allows where that is less."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SottoError(f"{folder / 'config.json'} cannot be read: {error}. {_MEND}") from error
    # Models of several modalities keep the language model's values one level down.
    allowed = {**config, **config.get("text_config", {})}.get("max_position_embeddings")
    return min(most, allowed) if isinstance(allowed, int) else most
