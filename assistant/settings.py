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
