"""`sotto rollout`: takes releases into the live traffic of a running server, and back, over its admin API.

The server decides and keeps the audit log; this only asks. A key with the scope admin is needed always:
``sotto keys create NAME --scope admin``, in SOTTO_API_KEY.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli.output import failure, print_facts, print_json

if TYPE_CHECKING:
    import httpx
    from rich.console import RenderableType

app = typer.Typer(help="Take releases into live traffic behind a canary, and back.", no_args_is_help=True)

_SHOWN, _WHOLE = 12, 64
_UNDER_WAY = ("running", "paused")
_WATCH_SECONDS = 1.0
_ANSWER_SECONDS, _GATE_SECONDS = 120.0, 3600.0

Url = Annotated[str | None, typer.Option(help="Address of the server.", show_default="http://127.0.0.1:$SOTTO_PORT")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="SOTTO_API_KEY", help="A key with the scope admin; better so.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the audit log.", show_default=False)]


@app.command()
def start(
    release: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="A digest or its beginning, v3, or an alias.", show_default=False)
    ],
    reason: Reason,
    steps: Annotated[
        str, typer.Option(help="The canary's shares of callers in percent; 100 leaves one in twenty as control.")
    ] = "1,10,50,100",
    step_seconds: Annotated[float, typer.Option(min=0, help="How long a step lasts at least.")] = 600.0,
    step_requests: Annotated[int, typer.Option(min=0, help="Turns that the canary answers at least in a step.")] = 200,
    manual: Annotated[bool, typer.Option("--manual", help="Wait for a person at each step.")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Let the release choose on live requests, shown to nobody.")
    ] = False,
    override: Annotated[
        str | None, typer.Option(help="Go on though the gate is closed, for this reason; audited.", show_default=False)
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Where the registry is; SOTTO_HOME by default.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Pass a release through the gate and begin its canary."""
    body: dict[str, Any] = {
        "release": _digest(release, home),
        "reason": reason,
        "steps": _steps(steps),
        "step_seconds": step_seconds,
        "step_requests": step_requests,
        "manual": manual,
        "shadow": shadow,
    }
    if override is not None:
        body["override"] = override
    typer.echo("The gate checks the release; this may take minutes.", err=True)
    with _server(url, api_key, _GATE_SECONDS) as server:
        entry = _ask(server, "POST", "/admin/rollouts", body)
    _print_entry(entry, as_json=as_json)


@app.command()
def status(url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show what is live, what is on its way, and how the canary does beside its control."""
    with _server(url, api_key) as server:
        found = _ask(server, "GET", "/admin/status")
    if as_json:
        print_json(found)
    else:
        from rich.console import Console

        Console().print(_drawn(found))


@app.command()
def watch(url: Url = None, api_key: ApiKey = None) -> None:
    """Show the status as it changes, until the rollout has ended or Ctrl-C."""
    from rich.live import Live

    with _server(url, api_key) as server, Live(auto_refresh=False) as screen:
        seen = False
        while True:
            found = _ask(server, "GET", "/admin/status")
            screen.update(_drawn(found), refresh=True)
            if found["rollout"] is None and seen:
                break
            seen = seen or found["rollout"] is not None
            if not seen:
                break
            time.sleep(_WATCH_SECONDS)


@app.command()
def pause(reason: Reason, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Keep the canary at its share."""
    _act("pause", reason, url, api_key, as_json=as_json)


@app.command()
def resume(reason: Reason, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Let a paused canary go on."""
    _act("resume", reason, url, api_key, as_json=as_json)


@app.command()
def advance(reason: Reason, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Take the canary to its next step, or make it live after the last: what --manual waits for."""
    _act("advance", reason, url, api_key, as_json=as_json)


@app.command()
def promote(reason: Reason, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Make the release under way live for everyone."""
    _act("promote", reason, url, api_key, as_json=as_json)


@app.command()
def rollback(reason: Reason, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """End the rollout under way; without one, make live what was live before."""
    _act("rollback", reason, url, api_key, as_json=as_json)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List the latest rollouts."""
    with _server(url, api_key) as server:
        found = _ask(server, "GET", f"/admin/rollouts?limit={limit}")
    columns = ("id", "release", "state", "step", "started", "ended", "reason")
    rows = [
        (one["id"], _short(one["release"]), one["state"], f"{one['steps'][one['step']]:g} %", _when(one["started_at"]),
         _when(one["ended_at"]), one["reason"] or "")
        for one in found
    ]  # fmt: skip
    _print_rows(found, columns, rows, "Nothing was ever rolled out.", as_json=as_json)


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List who did what, why and when."""
    with _server(url, api_key) as server:
        found = _ask(server, "GET", f"/admin/audit?limit={limit}")
    rows = [(_when(one["at"]), one["who"], one["what"], _short(one["release"]), one["why"]) for one in found]
    _print_rows(found, ("when", "who", "what", "release", "why"), rows, "Nothing has happened yet.", as_json=as_json)


def _act(action: str, reason: str, url: str | None, api_key: str | None, *, as_json: bool) -> None:
    with _server(url, api_key) as server:
        entry = _ask(server, "POST", f"/admin/rollouts:{action}", {"reason": reason})
    _print_entry(entry, as_json=as_json)


@contextmanager
def _server(url: str | None, api_key: str | None, seconds: float = _ANSWER_SECONDS) -> Iterator[httpx.Client]:
    """The server; ``seconds`` is how long it may take to answer."""
    import httpx

    from assistant.settings import Settings

    address = url or f"http://127.0.0.1:{Settings().port}"
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    transport = httpx.HTTPTransport(retries=1)
    timeout = httpx.Timeout(_ANSWER_SECONDS, read=seconds)
    with httpx.Client(
        base_url=address, headers=headers, transport=transport, timeout=timeout, trust_env=False
    ) as client:
        yield client


def _ask(
    server: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
) -> Any:
    """What the server answers; its refusal becomes a message and exit code 1."""
    import httpx

    try:
        answer = _answer(server, method, path, body)
        content = answer.json()
    except httpx.ReadTimeout:
        raise failure(f"{server.base_url} has not answered yet; `sotto rollout audit` says what came of it.") from None
    except httpx.HTTPError as error:
        raise failure(
            f"{server.base_url} does not answer ({error}): is `sotto up` running, and is --url right?"
        ) from None
    except ValueError:
        raise failure(f"{server.base_url} is no Sotto server: it answers without JSON.") from None
    if answer.is_error:
        message = str(content.get("error", {}).get("message", answer.status_code))
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            message += " `sotto rollout` takes one with the scope admin (--scope admin), in SOTTO_API_KEY."
        raise failure(message)
    return content


def _answer(server: httpx.Client, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
    import httpx

    # The key keeps what is sent once more, where the answer was lost, from being done twice.
    headers = {"idempotency-key": uuid.uuid4().hex}
    try:
        return server.request(method, path, json=body, headers=headers)
    except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
        return server.request(method, path, json=body, headers=headers)


def _digest(reference: str, home: Path | None) -> str:
    """The whole digest that ``reference`` means in the registry of this machine."""
    if len(reference) == _WHOLE:
        return reference
    from assistant.settings import Settings
    from federation.releases.errors import ReleaseError
    from federation.releases.registry import Registry

    settings = Settings() if home is None else Settings(home=home)
    try:
        return Registry(settings.home.expanduser(), settings.mlflow_uri).find(reference).digest
    except ReleaseError as error:
        raise failure(error) from None


def _steps(text: str) -> list[float]:
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not like 1,10,50,100", param_hint="--steps") from None


def _print_entry(entry: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(entry)
    else:
        print_facts(_facts(entry))


def _facts(entry: dict[str, Any]) -> dict[str, str]:
    facts = {
        "rollout": str(entry["id"]),
        "release": entry["release"] or "the base model",
        "replaces": entry["replaces"] or "the base model",
        "state": entry["state"] + (", manual" if entry["manual"] else "") + (", shadow" if entry["shadow"] else ""),
        "since": _when(entry["step_at"]),
    }
    if entry["state"] in _UNDER_WAY:
        facts["canary"] = f"{100 * entry['share']:g} % of callers, step {entry['step'] + 1} of {len(entry['steps'])}"
    return {**facts, "reason": entry["reason"]} if entry["reason"] else facts


def _drawn(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines: list[RenderableType] = [Text(f"live: {found['live'] or 'the base model'}")]
    if found["rollout"]:
        lines += [Text(f"{name}: {value}") for name, value in _facts(found["rollout"]).items()]
        if found["shadow"]:
            lines.append(Text(_shadow_line(found["shadow"])))
            return Group(*lines, *_faults(found))
        lines.append(Text(f"turns of the canary in this step: {found['turns']}"))
        table = Table("measure", "control", "canary", "worse by", "p", "verdict", box=None, padding=(0, 2, 0, 0))
        for one in found["measures"]:
            numbers = [_number(one[name]) for name in ("control", "canary", "harm", "p_value")]
            table.add_row(one["measure"], *numbers, "harm" if one["harmful"] else "no harm found")
        lines.append(table)
    return Group(*lines, *_faults(found))


def _faults(found: dict[str, Any]) -> list[RenderableType]:
    from rich.text import Text

    return [Text(f"{_short(digest)}: {fault}", "red") for digest, fault in found["faults"].items()]


def _shadow_line(shadow: dict[str, Any]) -> str:
    if shadow["agreement"] is None:
        return f"in the shadow: {shadow['turns']} turns, {shadow['errors']} errors"
    return (
        f"in the shadow: {shadow['turns']} turns, {shadow['errors']} errors, the same first choice in "
        f"{100 * shadow['agreement']:.0f} %, {shadow['seconds']:.2f} s to choose"
    )


def _print_rows(
    found: Any, columns: tuple[str, ...], rows: list[tuple[Any, ...]], nothing: str, *, as_json: bool
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print_json(found)
        return
    if not rows:
        typer.echo(nothing, err=True)
        return
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)


def _short(digest: str | None) -> str:
    return digest[:_SHOWN] if digest else "base"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _when(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
