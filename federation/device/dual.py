"""The personal LoRA and the personal soft prompt, which never leave the device, beside the shared ones (FedDPA).

Both LoRAs add up (Yang et al. 2024), so that two of ranks r1 and r2 are one of rank r1 + r2, and what the device ranks
with is one plain adapter. Knows no model; `federation.device.personal` trains the pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.device.files import DamagedFile, TensorFile, write_private
from federation.device.store import PERSONAL_PATH
from federation.lora import LoraShape
from federation.releases import layout
from federation.releases.base import BaseModel
from federation.releases.weights import tensors_to_bytes
from federation.tensors import SOFT_PROMPT, Tensors, pairs, part, plain

__all__ = ["Ground", "Personal", "PersonalFiles", "concatenated", "concatenated_shape", "write_adapter"]


@dataclass(frozen=True)
class Ground:
    """What a personal pair stands on: the ``base`` model, by its digest, and the adapter of a ``release``'s cohort.

    Without a release it is the base model alone.
    """

    base: str
    release: str | None = None
    cohort: str | None = None


@dataclass(frozen=True)
class Personal:
    """A personal pair: its ``tensors``, its LoRA's ``alpha``, and the ``ground`` that it was trained on.

    ``loss`` is its validation loss in nats after ``step`` steps; ``without`` that of the ground alone, and
    ``prompt_loss`` that of the ground with its soft prompt and no personal LoRA, as a server that is sent the soft
    prompt ranks.
    """

    tensors: Tensors
    alpha: float
    ground: Ground
    step: int
    loss: float
    without: float
    prompt_loss: float

    @property
    def shape(self) -> LoraShape:
        """Of its LoRA."""
        modules = list(pairs(name for name in self.tensors if name != SOFT_PROMPT))
        targets = sorted({pair.module.rpartition(".")[2] for pair in modules})
        return LoraShape(len(self.tensors[modules[0].a]), self.alpha, tuple(targets))

    @property
    def tokens(self) -> int:
        """Of its soft prompt."""
        return len(self.tensors.get(SOFT_PROMPT, ()))


class PersonalFiles:
    """The personal pair in ``folder``, readable by its owner only, and how far its training got."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pair = TensorFile(folder, "pair")
        self.training = TensorFile(folder, "training")

    @classmethod
    def at_home(cls, home: Path) -> PersonalFiles:
        """Those within the folder of all state."""
        return cls(home.expanduser() / PERSONAL_PATH)

    def save(self, personal: Personal) -> None:
        """Keeps ``personal`` in place of an earlier one."""
        about = asdict(personal)
        del about["tensors"]
        self._pair.save(personal.tensors, about)

    def load(self) -> Personal | None:
        """The pair, or None where there is none. DamagedFile where a byte of it was changed."""
        kept = self._pair.load()
        if kept is None:
            return None
        try:
            return Personal(tensors=kept.tensors, **{**kept.about, "ground": Ground(**kept.about["ground"])})
        except (KeyError, TypeError) as error:
            raise DamagedFile(
                f"The personal pair in {self._folder} is another version's: `sotto device tune` makes a new one."
            ) from error

    def delete(self) -> bool:
        """Forgets the pair and its training; whether there was a file of either."""
        before = self._folder.is_dir() and any(self._folder.iterdir())
        self._pair.delete()
        self.training.delete()
        return before


def concatenated_shape(shared: LoraShape, personal: LoraShape) -> LoraShape:
    """The shape of what `concatenated` makes: the ranks added, and a scale of 1. ValueError for different modules."""
    if set(shared.targets) != set(personal.targets):
        raise ValueError(f"LoRAs on {shared.targets} and on {personal.targets} do not concatenate")
    rank = shared.rank + personal.rank
    return LoraShape(rank, float(rank), shared.targets)


def concatenated(
    shared: Tensors, personal: Tensors, shared_scale: float, personal_scale: float
) -> dict[str, NDArray[np.float32]]:
    """One adapter that does what both do together, exactly: [s1 B1, s2 B2] [A1; A2] = s1 B1 A1 + s2 B2 A2.

    Its scale is 1, see `concatenated_shape`; cores are taken into B. The soft prompts stand one after the other, the
    shared one first. ValueError where the LoRAs are not on the same modules.
    """
    first, second = plain(shared), plain(personal)
    if first.keys() != second.keys():
        raise ValueError(f"only one of the LoRAs has {sorted(first.keys() ^ second.keys())}")
    # A is stacked by rows (r1 + r2, in), B by columns (out, r1 + r2).
    whole = {
        name: np.concatenate([first[name], second[name]])
        if part(name) == "A"
        else np.concatenate([shared_scale * first[name], personal_scale * second[name]], axis=1)
        for name in first
    }
    soft_prompts = [tensors[SOFT_PROMPT] for tensors in (shared, personal) if SOFT_PROMPT in tensors]
    if soft_prompts:
        whole[SOFT_PROMPT] = np.concatenate(soft_prompts)
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in whole.items()}


def write_adapter(
    folder: Path, personal: Personal, base: BaseModel, shared: Tensors | None = None, lora: LoraShape | None = None
) -> LoraShape:
    """Writes ``personal`` to ``folder`` as PEFT and vLLM load an adapter, for its owner alone; returns its shape.

    With the tensors that it stands on, ``shared``, of the shape ``lora``, as `concatenated`. FileExistsError where
    there is something at ``folder``.
    """
    whole, shape = dict(personal.tensors), personal.shape
    if shared is not None and lora is not None:
        whole = concatenated(shared, personal.tensors, lora.scale, shape.scale)
        shape = concatenated_shape(lora, shape)
    folder.mkdir(mode=0o700)
    write_private(folder / "adapter_config.json", layout.adapter_config(shape, base))
    write_private(folder / "adapter_model.safetensors", tensors_to_bytes(plain(whole)))
    if SOFT_PROMPT in whole:
        write_private(folder / "soft_prompt.safetensors", tensors_to_bytes({SOFT_PROMPT: whole[SOFT_PROMPT]}))
    return shape
