"""Every setting of the server, read from ``SOTTO_*`` environment variables and command-line options.

docs/settings.md documents each; a test fails when one is missing there.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

STARTER_PATH = Path(__file__).parent / "starter" / "model"


class Settings(BaseSettings):
    """Where state lives, which ports are used and which model is served."""

    model_config = SettingsConfigDict(env_prefix="SOTTO_", extra="ignore")

    home: Path = Field(Path("~/.sotto"), description="Folder of all state: catalogue, index, logs.")
    host: str = Field("127.0.0.1", description="Address the API binds to.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the API and the chat page.")
    engine_port: int = Field(8001, ge=1, le=65535, description="Loopback port of vLLM.")
    model: str = Field(str(STARTER_PATH), description="Chat model to serve: a folder or a Hugging Face name.")
    allowed_hosts: str = Field(
        "",
        description="Names, separated by commas, that the server may be called by beside loopback's; `*` for any. "
        "When empty: loopback's alone on a loopback address, any on another.",
    )
    database_url: str = Field(
        "",
        repr=False,
        description="Database of the server's state (keys, rate windows), e.g. `postgresql://user@host/sotto`; "
        "a SQLite file in SOTTO_HOME when empty.",
    )
    mlflow_uri: str = Field(
        "",
        repr=False,
        description="MLflow's tracking server, which keeps releases and the figures of rounds, e.g. "
        "`http://127.0.0.1:5000`; SQLite and a folder in SOTTO_HOME when empty.",
    )
    lora_rank: int = Field(
        16, ge=0, le=512, description="Largest rank of a release's LoRA that can be served; 0 serves none."
    )
    most_epsilon: float = Field(
        0.0, ge=0, description="Privacy (ε) that a release's rounds may have spent to pass the gate; 0 for no bound."
    )
    gate_events: Path | None = Field(
        None, description="JSON Lines of held-out choices that a release must rank no worse than the live one."
    )
    gate_conversations: int = Field(
        4, ge=0, description="Gold conversations that a release must talk as well as the live one; 0 for none."
    )
    requests_per_minute: int = Field(600, ge=0, description="Requests a key may make a minute; 0 for no limit.")
    tokens_per_minute: int = Field(
        300_000, ge=0, description="Tokens of prompts and replies a key may use a minute; 0 for no limit."
    )
    anonymous_requests_per_minute: int = Field(
        6_000, ge=0, description="The same for all callers without a key together."
    )
    anonymous_tokens_per_minute: int = Field(
        6_000_000, ge=0, description="The same for all callers without a key together."
    )
    conversation_tokens: int = Field(16_384, ge=1, description="Tokens that the messages of one request may have.")
    turns_at_once: int = Field(32, ge=1, description="Turns of conversation that run at the same time.")
    turns_waiting: int = Field(32, ge=0, description="Turns that may wait for one of these to end.")
    waiting_seconds: float = Field(5.0, gt=0, description="How long a turn waits, at most, before it is sent away.")
