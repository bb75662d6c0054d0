"""Federated learning of adapters and soft prompts; devices, rounds and releases."""
