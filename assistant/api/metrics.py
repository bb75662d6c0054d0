"""GET /metrics: figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from assistant.api import examples
from assistant.api.deps import ServingDep
from assistant.api.health import engine_answers

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": examples.METRICS}}}},
)
async def read_metrics(serving: ServingDep) -> Response:
    """Counts and times since the server started, in Prometheus' text format; never a word of a conversation."""
    metrics = serving.metrics
    metrics.engine_up.set(await engine_answers(serving))
    replicas = serving.rollouts.router.fleet.replicas.values()
    metrics.resident(release for replica in replicas if replica.up for release in replica.routable)
    metrics.items.set(len(serving.library.catalogue))
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
