"""Puts the server together: the routes, the page, and what holds for all of them."""

from __future__ import annotations

import importlib.util
import mimetypes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from assistant.api import chat, errors, health, items, metrics, models
from assistant.api.deps import HEARTBEAT_SECONDS, Assistant, Engine, Library, Serving
from assistant.api.guard import Guard, allowed_hosts
from assistant.api.meter import Meter
from assistant.settings import Settings

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
) -> FastAPI:
    """The server over its parts. A waiting stream gets a comment every ``heartbeat`` seconds.

    It answers at once, and with 503 to what needs an engine that is not up yet.
    """
    app = FastAPI(
        title="Sotto",
        version=_version(),
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": errors.ErrorBody}, "5XX": {"model": errors.ErrorBody}},
    )
    serving = Serving(settings, assistant, library, engine, heartbeat)
    app.state.serving = serving
    errors.install(app)
    app.add_middleware(Guard, hosts=allowed_hosts(settings.host))
    app.add_middleware(Meter, metrics=serving.metrics)
    for router in (chat.router, models.router, items.router, health.router, metrics.router):
        app.include_router(router)
    _add_pages(app)
    return app


def _add_pages(app: FastAPI) -> None:
    # A machine's own table may call scripts text/plain, which nosniff then keeps browsers from running.
    mimetypes.add_type("text/javascript", ".js")
    app.mount("/static", StaticFiles(directory=WEB), name="static")

    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    app.add_api_route("/", page, include_in_schema=False)
    swagger = _swagger_folder()
    if swagger is None:
        return

    async def docs() -> FileResponse:
        return FileResponse(WEB / "docs.html")

    app.mount("/swagger", StaticFiles(directory=swagger), name="swagger")
    app.add_api_route("/docs", docs, include_in_schema=False)


def _swagger_folder() -> Path | None:
    """Swagger UI as vLLM's package brings it along; None where vLLM runs on another machine."""
    found = importlib.util.find_spec("vllm")
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place) / "entrypoints" / "serve" / "instrumentator" / "static"
        if (folder / "swagger-ui-bundle.js").is_file():
            return folder
    return None


def _version() -> str:
    try:
        return version("sotto-rec")
    except PackageNotFoundError:
        return "0"
