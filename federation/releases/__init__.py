"""Releases: immutable, content-addressed sets of adapters and soft prompts, kept in MLflow's model registry.

``DIGEST/`` holds:

manifest.json                                what is in it and what it came from, with the sha256 of every other file
adapters/COHORT/adapter_config.json          as PEFT reads it
adapters/COHORT/adapter_model.safetensors    the LoRA, as PEFT and vLLM load it
adapters/COHORT/soft_prompt.safetensors      the cohort's soft prompt, where it has one
items.safetensors                            item vectors, where the federation learned some

``global`` is the cohort that every release has. Nothing here is ever unpickled, and a release is read only once
`federation.releases.verify` has found every byte of it in order.
"""
