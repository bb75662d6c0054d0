"""How an error looks on the wire: ``{"error": {"message", "type", "param", "code"}}``, OpenAI's form.

An unforeseen error is logged by its type and place alone: its message may quote a conversation.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from assistant.api import examples
from assistant.errors import (
    Conflict,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    SottoError,
    StateUnavailable,
    Unauthenticated,
)

ErrorType = Literal["invalid_request_error", "rate_limit_error", "server_error"]

LONGEST_PARAM = 200

log = logging.getLogger(__name__)

_KINDS: tuple[tuple[type[SottoError], int, str], ...] = (
    (InvalidRequest, 400, "invalid_request"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (Unauthenticated, 401, "invalid_api_key"),
    (Forbidden, 403, "insufficient_scope"),
    (RateLimited, 429, "rate_limit_exceeded"),
    (Overloaded, 503, "overloaded"),
    (StateUnavailable, 503, "state_unavailable"),
    (EngineUnavailable, 503, "engine_unavailable"),
    (EngineTimeout, 504, "engine_timeout"),
    (EngineError, 502, "engine_error"),
)


class ErrorDetail(BaseModel):
    """``code`` is for programs, ``message`` for people, ``param`` the field at fault where there is one."""

    message: str
    type: ErrorType
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every answer of status 400 and above holds."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ERROR]})

    error: ErrorDetail


_PLAINLY = {
    "extra_forbidden": "there is no such field here; docs/api.md and /docs list those there are",
    "tuple_type": "this must be a list",
    "model_type": "this must be an object",
    "model_attributes_type": "this must be an object",
    "missing": "this field is missing",
    "too_long": "this may hold {max_length} at most, and has {actual_length}",
    "too_short": "this must hold {min_length} at least, and has {actual_length}",
}
"""What pydantic would tell in the words of Python, by the type of its error, over the error's context."""

_UNREADABLE = "There was an error parsing the body"
"""FastAPI's words where reading a body fails otherwise than by its syntax, as by the depth of its nesting."""


@dataclass(frozen=True)
class Problem:
    """An error with its HTTP status; ``headers`` go out beside the usual ones."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> dict[str, Any]:
        """The JSON body, an `ErrorBody`."""
        kind: ErrorType = "server_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            kind = "rate_limit_error"
        detail = ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, headers=dict(self.headers))


def problem_of(error: Exception, request_id: str) -> Problem:
    """What a client is told about ``error``; one that nobody foresaw is logged under ``request_id``."""
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return _http(error)
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            message = _said(error, request_id)
            return Problem(
                status, message, getattr(error, "code", code), getattr(error, "param", None), _headers(error)
            )
    _log(error, request_id)
    return Problem(500, f"Sotto failed on this request. Its log says where, under {request_id}.", "internal")


def install(app: FastAPI) -> None:
    """Makes ``app`` answer in this form whatever a route raises on purpose."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return problem_of(error, request.state.request_id).response()

    for kind in (SottoError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def _said(error: SottoError, request_id: str) -> str:
    """The message for a client: where the server keeps its state is for its log alone."""
    if not isinstance(error, StateUnavailable):
        return str(error)
    log.error("request %s: %s", request_id, error)
    return "The server cannot reach its state database. Try again; its log says more."


def _headers(error: SottoError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, Unauthenticated):
        fault = "" if error.code == "missing_api_key" else ', error="invalid_token"'
        return (("www-authenticate", f'Bearer realm="sotto"{fault}'),)
    if isinstance(error, Forbidden):
        fault = f'error="insufficient_scope", scope="{error.scope}"'
        return (("www-authenticate", f'Bearer realm="sotto", {fault}'),)
    wait: int | None = getattr(error, "retry_after", None)
    return () if wait is None else (("retry-after", str(wait)),)


def _invalid(errors: Sequence[Any]) -> Problem:
    first = errors[0]
    if first["type"] == "json_invalid":
        return Problem(400, f"The body is not valid JSON at character {first['loc'][-1]}.", "invalid_json")
    param = _printable(".".join(str(part) for part in first["loc"][1:]))
    if not param:
        message = "The body must be a JSON object, sent with the header content-type: application/json."
        return Problem(400, message, "invalid_json")
    more = f" ({len(errors) - 1} more after this)" if len(errors) > 1 else ""
    plainly = _PLAINLY.get(first["type"], "").format(**first.get("ctx", {}))
    reason = plainly or first["msg"].removeprefix("Value error, ").rstrip(".")
    return Problem(400, f"{param}: {reason}.{more}", "invalid_request", param)


def _printable(text: str) -> str:
    """``text``, which a client made up, short and free of what cannot be sent back, such as half a surrogate pair."""
    return text[:LONGEST_PARAM].encode(errors="backslashreplace").decode()


def _http(error: HTTPException) -> Problem:
    if str(error.detail) == _UNREADABLE:
        return Problem(400, "The body cannot be read as JSON: nest its lists and objects less deeply.", "invalid_json")
    phrase = HTTPStatus(error.status_code).phrase
    message, code = str(error.detail), getattr(error, "code", phrase.lower().replace(" ", "_"))
    if message == phrase:
        message = {404: "There is nothing at this address; docs/api.md lists every route."}.get(
            error.status_code, f"{phrase}: docs/api.md shows how this route is called."
        )
    return Problem(error.status_code, message, code, headers=tuple((error.headers or {}).items()))


def _log(error: Exception, request_id: str) -> None:
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("request %s failed with %s at\n%s", request_id, type(error).__name__, frames)
