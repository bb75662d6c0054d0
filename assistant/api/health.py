"""GET /healthz and /readyz: whether the server runs, and whether it can hold a conversation."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from assistant.api import examples
from assistant.api.deps import Serving, ServingDep
from assistant.api.errors import ErrorBody, Problem
from assistant.errors import EngineError

router = APIRouter(tags=["health"])

PROBE_SECONDS = 3.0
RETRY_AFTER_SECONDS = "2"


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Every part answers. ``items`` is the size of the catalogue."""

    status: Literal["ready"] = "ready"
    items: int


class Unready(ErrorBody):
    """``missing`` maps each part that does not answer to the reason."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.UNREADY]})

    missing: dict[str, str]


@router.get("/healthz", summary="Whether the server runs", responses=examples.answers(examples.HEALTH))
async def healthz() -> Health:
    """Answers as long as the server runs."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether it can hold a conversation",
    response_model=Readiness,
    responses={**examples.answers(examples.READY), 503: {"model": Unready}},
)
async def readyz(serving: ServingDep) -> Any:
    """200 when the engine answers under the live release and the index is loaded, else 503 with what is missing."""
    items = len(serving.library.catalogue)
    missing = {}
    replicas = serving.rollouts.router.fleet.replicas.values()
    if replicas and all(replica.draining for replica in replicas):
        missing["engine"] = "Every replica is drained; `GET /admin/replicas` lists them, and adding one takes it back."
    elif not await engine_answers(serving):
        missing["engine"] = "It is starting, restarting or unreachable; engine.log in the logs folder says which."
    elif not serving.rollouts.router.ready:
        missing["release"] = "The live release is being loaded; `sotto rollout status` says what keeps it."
    if not items:
        missing["catalogue"] = "It is empty: add items with `sotto catalogue import FILE`."
    if not missing:
        return Readiness(items=items)
    problem = Problem(503, f"Not ready: {', '.join(missing)}. {' '.join(missing.values())}", "not_ready")
    headers = {"retry-after": RETRY_AFTER_SECONDS}
    return JSONResponse({**problem.body(), "missing": missing}, problem.status, headers=headers)


async def engine_answers(serving: Serving) -> bool:
    """Whether the engine answers within `PROBE_SECONDS`."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await serving.engine.healthy()
    except (EngineError, TimeoutError):
        return False
