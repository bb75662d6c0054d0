"""Soft prompts before a prompt's tokens: embeddings that vLLM reads in place of token ids.

The tensor that vLLM is sent is built here, from numbers that were checked and the base model's own embeddings. Nothing
that a client sends is ever unpickled or passed on as it came.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assistant.errors import InvalidRequest, SottoError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MOST_TOKENS", "NORM_RATIO", "Embeddings", "SoftPrompt", "joined"]

SoftPrompt = npt.NDArray[np.float32]
"""Float32 (tokens, hidden)."""

MOST_TOKENS = 64
"""Tokens of a soft prompt that comes with a request."""

NORM_RATIO = 10.0
"""How much longer than the longest embedding of a token each of its rows may be."""

_NAMES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
# Their embeddings are scaled within the model, so that rows of the table are not what it reads.
_SCALED = ("gemma",)


class Embeddings:
    """The table of a model's token embeddings: (vocabulary, hidden), in the model's own type. May be shared."""

    def __init__(self, table: Tensor) -> None:
        self._table = table
        self.hidden_size = int(table.shape[1])
        self.longest = float(table.float().norm(dim=1).max())
        """The largest norm of a row."""

    @classmethod
    def open(cls, folder: Path) -> Embeddings:
        """Those of the model in ``folder``. SottoError where they cannot be read, or are not what the model reads."""
        from safetensors import SafetensorError, safe_open

        try:
            kind = str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
            if kind.startswith(_SCALED):
                raise SottoError(
                    f"Models of the type {kind} take no soft prompts here: serve another, or adapters alone."
                )
            for path in sorted(folder.glob("*.safetensors")):
                with safe_open(path, framework="pt") as weights:
                    for name in weights.keys():  # noqa: SIM118  safe_open is no mapping
                        if name.endswith(_NAMES):
                            return cls(weights.get_tensor(name))
        except (OSError, ValueError, SafetensorError) as error:
            raise SottoError(f"The embeddings in {folder} cannot be read: {error}. Fetch the model again.") from error
        raise SottoError(f"The model in {folder} names its embeddings in no known way: it takes no soft prompts.")

    def checked(self, numbers: Any, param: str = "soft_prompt") -> SoftPrompt:
        """A soft prompt of plain ``numbers``, rows of `hidden_size`; InvalidRequest, naming ``param``, for all else."""
        try:
            soft_prompt = np.asarray(numbers, dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidRequest("A soft prompt is a list of rows of numbers, all of one length.", param) from error
        if soft_prompt.ndim != 2 or soft_prompt.shape[1] != self.hidden_size:
            raise InvalidRequest(
                f"A soft prompt for this model has rows of {self.hidden_size} numbers; this one has the shape "
                f"{soft_prompt.shape}.",
                param,
            )
        if not 0 < len(soft_prompt) <= MOST_TOKENS:
            raise InvalidRequest(f"A soft prompt has 1 to {MOST_TOKENS} rows, not {len(soft_prompt)}.", param)
        if not np.isfinite(soft_prompt).all():
            raise InvalidRequest("A soft prompt holds finite numbers only.", param)
        with np.errstate(over="ignore"):
            longest = float(np.linalg.norm(soft_prompt, axis=1).max())
        if not longest <= NORM_RATIO * self.longest:
            most = NORM_RATIO * self.longest
            raise InvalidRequest(
                f"A row of the soft prompt has the norm {longest:.4g}, at most {most:.4g} is taken.", param
            )
        return soft_prompt.astype(np.float32)

    def encoded(self, soft_prompt: SoftPrompt, prompt: Sequence[int]) -> str:
        """``soft_prompt`` and then the embeddings of the ids ``prompt``, as vLLM's ``prompt_embeds`` takes them.

        Base64 of a tensor saved by torch, (tokens, hidden). ValueError for a soft prompt of another width, and ids that
        are none.
        """
        import torch

        if soft_prompt.ndim != 2 or soft_prompt.shape[1] != self.hidden_size or not np.isfinite(soft_prompt).all():
            raise ValueError(f"a soft prompt of finite rows of {self.hidden_size} is needed, not {soft_prompt.shape}")
        if prompt and not 0 <= min(prompt) <= max(prompt) < len(self._table):
            raise ValueError(f"the prompt has ids outside the vocabulary of {len(self._table):,}")
        before = torch.from_numpy(np.ascontiguousarray(soft_prompt, dtype=np.float32))
        rows = self._table[torch.tensor(list(prompt), dtype=torch.long)]
        # In float32: exact for the table's halves, and the engine casts to what it computes in.
        whole = torch.cat([before, rows.float()])
        buffer = io.BytesIO()
        torch.save(whole, buffer)
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def joined(*soft_prompts: SoftPrompt | None) -> SoftPrompt | None:
    """All of them, one after the other; None where there are none."""
    present = [one for one in soft_prompts if one is not None and len(one)]
    return np.concatenate(present) if present else None
