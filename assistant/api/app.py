"""Puts the server together: the routes, the page, and what holds for all of them."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI, Security
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from assistant.api import admin, chat, errors, feedback, health, items, metrics, models, recommendations
from assistant.api.access import Access, CountTokens, Gate
from assistant.api.admission import estimated_tokens
from assistant.api.deps import HEARTBEAT_SECONDS, MODEL, Assistant, Engine, Library, Serving
from assistant.api.guard import Guard, allowed_hosts
from assistant.api.meter import Meter
from assistant.rollout.service import Rollouts
from assistant.settings import Settings
from assistant.state.database import Database

# Says in the schema that a key is sent; `Gate` is who looks at it.
KEY = Security(HTTPBearer(auto_error=False, description="An API key: `sotto keys create`."))
WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = """\
A conversational recommender behind OpenAI's chat completion API: any OpenAI client works with this server as its
base URL (`/v1`), and finds the recommended items beside the reply.
"""


def create_app(
    settings: Settings,
    assistant: Assistant,
    library: Library,
    engine: Engine,
    *,
    heartbeat: float = HEARTBEAT_SECONDS,
    count: CountTokens = estimated_tokens,
    rollouts: Callable[[Database], Rollouts] | None = None,
) -> FastAPI:
    """The server over its parts. A waiting stream gets a comment every ``heartbeat`` seconds.

    It answers at once, and with 503 to what needs an engine that is not up yet. ``count`` gives the tokens of a text.
    ``rollouts`` puts together what rolls releases out; without it the base model answers everyone.
    Raises StateUnavailable when the state database cannot be used.
    """
    access = Access.of(settings, count)
    made = rollouts(access.database) if rollouts else Rollouts.of(access.database, MODEL)

    @asynccontextmanager
    async def until_closed(_: FastAPI) -> AsyncIterator[None]:
        async with made.running():
            yield
        access.database.close()

    app = FastAPI(
        lifespan=until_closed,
        title="Sotto",
        version=_version(),
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": errors.ErrorBody}, "5XX": {"model": errors.ErrorBody}},
    )
    serving = Serving(settings, assistant, library, engine, made, heartbeat)
    app.state.serving = serving
    app.state.access = access
    errors.install(app)
    app.add_middleware(Gate, access=access)
    app.add_middleware(Guard, hosts=allowed_hosts(settings.host, settings.allowed_hosts))
    app.add_middleware(Meter, metrics=serving.metrics)
    routers = (chat.router, recommendations.router, models.router, items.router, feedback.router, admin.router)
    for router in (*routers, metrics.router):
        app.include_router(router, dependencies=[KEY])
    app.include_router(health.router)
    _add_pages(app)
    return app


def _add_pages(app: FastAPI) -> None:
    # A machine's own table may call scripts text/plain, which nosniff then keeps browsers from running.
    mimetypes.add_type("text/javascript", ".js")
    app.mount("/static", StaticFiles(directory=WEB), name="static")

    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    async def docs() -> FileResponse:
        return FileResponse(WEB / "docs.html")

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)


def _version() -> str:
    try:
        return version("sotto-rec")
    except PackageNotFoundError:
        return "0"
