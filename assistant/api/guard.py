"""What holds for every request, whichever route answers it: an id, a known host, a small body, safe headers.

A plain ASGI middleware, so that streams pass through unbuffered.
"""

from __future__ import annotations

import asyncio
import re
from secrets import token_hex
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.access.loopback import is_loopback
from assistant.api.errors import Problem, problem_of

BODY_LIMIT = 1024 * 1024
STALL_SECONDS = 60.0
"""A client that reads nothing of its answer for so long is given up, and its turn with it."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BodyTooLarge(HTTPException):
    """413: more came than `BODY_LIMIT` bytes, whatever length was declared."""

    code = "request_too_large"

    def __init__(self) -> None:
        super().__init__(413, f"The body is larger than {BODY_LIMIT // 1024} KiB. Send fewer or shorter messages.")


def allowed_hosts(bound_to: str, named: str = "") -> frozenset[str] | None:
    """The names a client may call the server by, or None for any.

    A server bound to loopback answers to loopback names only: a web page whose domain was pointed at
    127.0.0.1 (DNS rebinding) sends its own name and is refused. ``named`` are more names, with commas between, and
    keep this check up on every other address too; ``*`` is any name.
    """
    names = frozenset(name for part in named.split(",") if (name := part.strip().strip("[]").lower()))
    if "*" in names:
        return None
    return LOOPBACK_NAMES | {bound_to} | names if names or is_loopback(bound_to) else None


_STOPPING = Problem(
    503, "The server is stopping. Send the request again once it is back.", "stopping", headers=(("retry-after", "5"),)
)


class Guard:
    """The middleware. ``hosts`` are the names it answers to, None for any."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id", ""))
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        refusal = self._refusal(headers, request_id)
        try:
            if refusal is not None:
                await refusal.response()(scope, receive, answer.send)
            else:
                await self.app(scope, _limited(receive), answer.send)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # The server stops and has waited long enough for what was under way.
            if answer.started:
                raise
            await _STOPPING.response()(scope, receive, answer.send)
        except Exception as error:
            # Let through, it would be logged by the server with its message, which may quote a conversation.
            problem = problem_of(error, request_id)
            if not answer.started:
                await problem.response()(scope, receive, answer.send)

    def _refusal(self, headers: Headers, request_id: str) -> Problem | None:
        if self.hosts is not None and _host_name(headers.get("host", "")) not in self.hosts:
            message = (
                "This server does not go by that name: call it by 127.0.0.1, or add the name to SOTTO_ALLOWED_HOSTS."
            )
            return Problem(400, message, "host_not_allowed")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > BODY_LIMIT:
            return problem_of(BodyTooLarge(), request_id)
        return None


class _Answer:
    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            # A page or script of an older version must not outlive an upgrade; ETags keep this cheap.
            headers.setdefault("cache-control", "no-cache")
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._send(message)
        except TimeoutError:
            raise ClientDisconnect from None


def _limited(receive: Receive) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > BODY_LIMIT:
            raise BodyTooLarge
        return message

    return counted


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else f"req-{token_hex(8)}"


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
