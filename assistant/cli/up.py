"""`sotto up`: runs everything in the foreground and takes everything down again.

The API answers as soon as the library is open, with 503 until the engine has loaded the model beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from assistant.cli.output import failure, progress_bars
from assistant.errors import SottoError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from assistant.dialogue.turn import Assistant
    from assistant.engine.fleet import Replica
    from assistant.rollout.opening import Opened
    from assistant.settings import Settings

T = TypeVar("T")

POLL_SECONDS = 0.5
DRAIN_SECONDS = 3
"""How long replies that are under way may go on once the server is told to end."""

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to be told apart, not bound to


def command(
    model: Annotated[str | None, typer.Option(help="Chat model: a folder or a Hugging Face name.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the API.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API and the page.")] = None,
    engine_port: Annotated[int | None, typer.Option(help="Loopback port of the engine.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of all state.")] = None,
    browse: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the page in a browser; by default on a desktop.")
    ] = None,
) -> None:
    """Run Sotto: the catalogue, the model's engine, the API and the chat page. Stop it with Ctrl-C.

    Options not given come from the SOTTO_* environment variables.
    """
    from retrieval.database import CatalogueError
    from retrieval.encoder import EncoderError

    given = {"model": model, "host": host, "port": port, "engine_port": engine_port, "home": home}
    try:
        settings = _settings({name: value for name, value in given.items() if value is not None})
        asyncio.run(_until_stopped(settings, _on_desktop() if browse is None else browse))
    except (SottoError, CatalogueError, EncoderError) as error:
        raise failure(error) from error
    except KeyboardInterrupt:
        return


def _settings(given: dict[str, object]) -> Settings:
    from pydantic import ValidationError

    from assistant.settings import Settings

    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as invalid:
        fault = invalid.errors()[0]
        name = "_".join(str(part) for part in fault["loc"])
        option, variable = f"--{name.replace('_', '-')}", f"SOTTO_{name.upper()}"
        raise SottoError(f"{option} ({variable}) cannot be {fault['input']!r}: {fault['msg']}.") from invalid
    if settings.port == settings.engine_port:
        raise SottoError(
            f"The API and the engine cannot share port {settings.port}: change SOTTO_PORT or SOTTO_ENGINE_PORT."
        )
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


async def _until_stopped(settings: Settings, browse: bool) -> None:
    """Runs until Ctrl-C, SIGTERM or a closed terminal; raises what keeps it from running."""
    stopping = threading.Event()
    serving = asyncio.create_task(_serve(settings, stopping, browse))

    def stop() -> None:
        if not stopping.is_set():
            _say("Stopping ...")
        stopping.set()
        serving.cancel()

    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who runs this with nohup means to close the terminal.
        if asked is not signal.SIGHUP or signal.getsignal(asked) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(asked, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _serve(settings: Settings, stopping: threading.Event, browse: bool) -> None:
    from assistant.engine.command import ENGINE_HOST, SERVED_NAME, environment, serve_command
    from assistant.engine.model import context_length, find_model
    from assistant.engine.process import EngineProcess, claim_port
    from assistant.rollout.opening import Opened

    started = time.monotonic()
    _refuse_open_door(settings)
    with claim_port(settings.host, settings.port, "SOTTO_PORT", "--port") as sock:
        # Known before a model is fetched, which may take an hour.
        claim_port(ENGINE_HOST, settings.engine_port, "SOTTO_ENGINE_PORT", "--engine-port").close()
        folder = await asyncio.to_thread(find_model, settings.model)
        context = context_length(folder)
        url = f"http://{ENGINE_HOST}:{settings.engine_port}"
        opened = await asyncio.to_thread(Opened, settings, folder, url, SERVED_NAME, context)
        rank = settings.lora_rank if opened.adapters else None
        process = EngineProcess(
            serve_command(folder, settings.engine_port, context=context, lora_rank=rank),
            settings.engine_port,
            settings.home,
            variables=environment(lora_rank=rank),
            progress=lambda stage: _say(f"Engine: {stage} ({time.monotonic() - started:.0f} s)"),
        )
        try:
            await process.start()
            _say(f"Engine: starting with the model {folder}; its log is {process.log_path}")
            async with _task(process.wait_ready()) as loading:
                app, assistant = await _beside(
                    loading, asyncio.to_thread(_assemble, settings, folder, opened, stopping)
                )
                async with _answering(app, sock) as server:
                    await _beside(server, loading)
                    await _beside(server, _routable(opened.own))
                    _say(f"Engine: ready ({time.monotonic() - started:.0f} s)")
                    await _beside(server, _warm(assistant))
                    _say(f"Caches: warm ({time.monotonic() - started:.0f} s)")
                    address = _address(settings)
                    await _beside(server, _ready(address))
                    # The one line on standard output: what a script waits for.
                    typer.echo(f"Sotto is ready at {address}")
                    if browse:
                        await asyncio.to_thread(webbrowser.open, address)
                    await _beside(server, process.watch())
        finally:
            stopping.set()
            await process.stop()
            await opened.fleet.aclose()


def _refuse_open_door(settings: Settings) -> None:
    """SottoError where other machines could reach the API and nobody needs a key."""
    from assistant.access.keys import KeyStore
    from assistant.access.loopback import is_loopback
    from assistant.state.database import Database

    if is_loopback(settings.host):
        return
    with Database.of(settings) as database:
        if not KeyStore(database).all():
            raise SottoError(
                f"On {settings.host} other machines could reach Sotto, and without an API key it answers to its own "
                "machine only. Make one first: sotto keys create NAME. Or keep to this machine: --host 127.0.0.1."
            )


def _assemble(settings: Settings, folder: Path, opened: Opened, stopping: threading.Event) -> tuple[FastAPI, Assistant]:
    """The server over its opened parts, and its dialogue; InterruptedError once ``stopping`` is set."""
    from transformers import AutoTokenizer

    from assistant.api.app import create_app
    from assistant.dialogue.turn import Assistant
    from retrieval.search import Library

    started = time.monotonic()
    with progress_bars() as (_, step):

        def progress(name: str, done: int, total: int) -> None:
            if stopping.is_set():
                raise InterruptedError
            step(name, done, total)

        library = Library.open(settings.home, progress=progress)
    _say(f"Library: {len(library.catalogue)} items ({time.monotonic() - started:.1f} s)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        assistant = Assistant(library=library, engine=opened.fleet, tokenizer=tokenizer)
        threading.Thread(target=_load, args=(assistant,), daemon=True).start()
    except (OSError, ValueError) as error:
        raise SottoError(f"The tokenizer in {folder} cannot be used: {error} Choose another model.") from error
    if not tokenizer.chat_template:
        raise SottoError(f"The model in {folder} has no chat template: choose a chat (instruct) model.")

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False, verbose=False))

    return create_app(
        settings, assistant, library, opened.fleet, count=count, rollouts=opened.rollouts(library, tokenizer)
    ), assistant


def _load(assistant: Assistant) -> None:
    """Loads what takes seconds: better beside the engine's start than afterwards."""
    import torch

    # Threads that wait for their next sentence spin, and take the cores that vLLM decodes on.
    torch.set_num_threads(1)
    assistant.prepare()


async def _warm(assistant: Assistant) -> None:
    """Fills the caches; what keeps them cold will be told to whoever meets it next."""
    from assistant.engine.command import SERVED_NAME

    with contextlib.suppress(SottoError):
        await assistant.warm(SERVED_NAME)


@asynccontextmanager
async def _answering(app: FastAPI, sock: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """The API answering on ``sock``; gives the task that ends when it does."""
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to `_until_stopped`."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS, server_header=False
    )
    server, ending = Server(config), False

    async def serve() -> None:
        await server.serve(sockets=[sock])
        if not ending:
            raise SottoError("The API ended by itself; the lines above say why.")

    task = asyncio.create_task(serve())
    try:
        yield task
    finally:
        ending = server.should_exit = True
        await asyncio.wait({task})


@asynccontextmanager
async def _task(work: Awaitable[T]) -> AsyncIterator[asyncio.Future[T]]:
    """``work`` under way, and over at the end."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _beside(background: asyncio.Future[None], work: Awaitable[T]) -> T:
    """The result of ``work``, or the error of ``background`` where that fails first."""
    async with _task(work) as task:
        either: set[asyncio.Future[Any]] = {task, background}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if background.done():
            await background
        return await task


async def _routable(replica: Replica) -> None:
    """Returns once the reconciler has found that ``replica`` answers, and holds the live release."""
    while not replica.up:  # noqa: ASYNC110  what it asks has no event
        await asyncio.sleep(0.05)


async def _ready(address: str) -> None:
    """Returns when /readyz answers 200; says once what is missing while it does not."""
    import httpx

    told = ""
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        while (answer := await client.get("/readyz")).is_error:
            message = answer.json()["error"]["message"]
            if message != told:
                told = message
                _say(message)
            await asyncio.sleep(POLL_SECONDS)


def _address(settings: Settings) -> str:
    """Where this machine reaches the API."""
    host = WILDCARDS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _on_desktop() -> bool:
    """Whether a person sits at this machine with a browser: a terminal, a display, not CI and not over SSH."""
    if not sys.stdout.isatty() or "CI" in os.environ or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
