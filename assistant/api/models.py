"""GET /v1/models: the one model that answers, in OpenAI's form."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from assistant.api.deps import MODEL, ServingDep
from assistant.errors import NotFound

router = APIRouter(tags=["models"])


class Model(BaseModel):
    """A model that ``/v1/chat/completions`` takes; ``created`` is when this server started, in seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sotto"] = "sotto"


class ModelList(BaseModel):
    """Every model."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class UnknownModel(NotFound):
    """A request named a model that is not served here."""

    code = "model_not_found"


def known_model(name: str) -> str:
    """``name``, when it is served here; else UnknownModel."""
    if name != MODEL:
        raise UnknownModel(f"There is no model {name!r} here. Ask for {MODEL!r}.")
    return name


@router.get("/v1/models")
async def list_models(serving: ServingDep) -> ModelList:
    """Lists the models to talk to."""
    return ModelList(data=(Model(id=MODEL, created=serving.started),))


@router.get("/v1/models/{model_id}")
async def read_model(model_id: str, serving: ServingDep) -> Model:
    """One model."""
    return Model(id=known_model(model_id), created=serving.started)
