"""GET /metrics: figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from assistant.api.deps import ServingDep
from assistant.api.health import engine_answers

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse)
async def read_metrics(serving: ServingDep) -> Response:
    """Counts and times since the server started, in Prometheus' text format; no word of a conversation."""
    metrics = serving.metrics
    metrics.engine_up.set(await engine_answers(serving))
    metrics.items.set(len(serving.library.catalogue))
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
