"""GET /v1/models: the one model that answers, in OpenAI's form."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from assistant.api import examples
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


@router.get("/v1/models", summary="List the models", responses=examples.answers(examples.MODELS))
async def list_models(serving: ServingDep) -> ModelList:
    """Lists the models to talk to, in OpenAI's form."""
    return ModelList(data=(Model(id=MODEL, created=serving.started),))


@router.get("/v1/models/{model_id}", summary="Read a model", responses=examples.answers(examples.MODEL))
async def read_model(model_id: Annotated[str, Path(examples=[MODEL])], serving: ServingDep) -> Model:
    """Gives one model, or 404 where it is not served here."""
    return Model(id=known_model(model_id), created=serving.started)
