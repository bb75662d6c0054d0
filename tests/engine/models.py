"""Tiny random chat models of two architectures, made where a test needs a real engine but no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from assistant.starter.tokenizer import train_tokenizer

Architecture = Literal["qwen3", "llama"]
TEXTS = [
    "I would like a slow science fiction film like Solaris, nothing violent, please.",
    "Something older with Toshiro Mifune? You may enjoy Yojimbo, a drama from Japan of 1961.",
    '{"act":"find","genres":["drama"],"years":[1960,1969],"about":"a wandering samurai"}',
] * 4
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 8192,
}


def make_model(folder: Path, architecture: Architecture = "qwen3", seed: int = 0) -> Path:
    """Writes a random model with its tokenizer and chat template to ``folder`` and returns it."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

    tokenizer = train_tokenizer(TEXTS, vocab_size=512)
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config_class = {"qwen3": Qwen3Config, "llama": LlamaConfig}[architecture]
    weights = {"vocab_size": len(tokenizer), "tie_word_embeddings": True, "initializer_range": 0.2}
    config = config_class(**weights, **SIZES, **special)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
