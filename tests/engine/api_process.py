"""An API to be killed, over a vLLM that runs elsewhere: ``python api_process.py PORT HOME ENGINE_URL MODEL``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from transformers import AutoTokenizer

import tests.engine.endless
from assistant.api.app import create_app
from assistant.dialogue.turn import Assistant
from assistant.engine.gateway import VllmEngine
from assistant.settings import Settings
from retrieval.search import Library
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS

port, home, url, model = sys.argv[1:]
assert tests.engine.endless.SCHEMA
settings = Settings(home=Path(home), port=int(port))
engine = VllmEngine(url)
library = Library(MemoryCatalogue(FILMS), HashEncoder(), settings.home / "index")
assistant = Assistant(library, engine, AutoTokenizer.from_pretrained(model))
uvicorn.run(create_app(settings, assistant, library, engine), port=settings.port, log_level="warning")
