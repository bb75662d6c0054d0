"""Where the files of a release are, and what its adapters' configurations say.

Everything follows from the manifest's cohorts, LoRA and base model, so that nothing about a path is taken from outside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from federation.lora import LoraShape
from federation.releases.base import BaseModel
from federation.releases.manifest import Cohort, ItemsShape

__all__ = ["ITEMS", "MANIFEST", "adapter", "adapter_config", "config_path", "lora_path", "paths", "soft_prompt_path"]

MANIFEST = "manifest.json"
ITEMS = "items.safetensors"


def adapter(cohort: str) -> str:
    """The folder of the cohort's adapter, as PEFT and vLLM load it, within the release's."""
    return f"adapters/{cohort}"


def config_path(cohort: str) -> str:
    """The configuration of the cohort's LoRA."""
    return f"{adapter(cohort)}/adapter_config.json"


def lora_path(cohort: str) -> str:
    """The weights of the cohort's LoRA."""
    return f"{adapter(cohort)}/adapter_model.safetensors"


def soft_prompt_path(cohort: str) -> str:
    """The cohort's soft prompt."""
    return f"{adapter(cohort)}/soft_prompt.safetensors"


def paths(cohorts: Sequence[Cohort], items: ItemsShape | None) -> frozenset[str]:
    """Every file of a release but its manifest."""
    found = {path for cohort in cohorts for path in (config_path(cohort.name), lora_path(cohort.name))}
    found |= {soft_prompt_path(cohort.name) for cohort in cohorts if cohort.soft_prompt}
    return frozenset(found | ({ITEMS} if items else set()))


def adapter_config(lora: LoraShape, base: BaseModel) -> bytes:
    """What an adapter_config.json holds, to the byte: plain LoRA, nothing of PEFT's that vLLM would refuse."""
    config = {
        "base_model_name_or_path": base.name,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": list(lora.targets),
        "task_type": "CAUSAL_LM",
    }
    return json.dumps(config, indent=2).encode() + b"\n"
