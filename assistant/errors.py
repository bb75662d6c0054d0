"""The errors Sotto raises on purpose.

SottoError
├── EngineError            the model engine could not do what was asked
│   ├── EngineUnavailable  it is starting, restarting or unreachable: try again after ``retry_after`` seconds
│   ├── EngineTimeout      it took longer than allowed
│   └── EngineRejected     it refused the request: ``status`` and its message
├── InvalidRequest         the caller's request is malformed: ``param`` names the field
└── NotFound               an item, model or route does not exist
"""

from __future__ import annotations

__all__ = [
    "EngineError",
    "EngineRejected",
    "EngineTimeout",
    "EngineUnavailable",
    "InvalidRequest",
    "NotFound",
    "SottoError",
]


class SottoError(Exception):
    """Base of every error with a message meant for people: what, why and what to do."""


class EngineError(SottoError):
    """The model engine could not do what was asked."""


class EngineUnavailable(EngineError):
    """The engine is starting, restarting or unreachable; ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineTimeout(EngineError):
    """The engine took longer than allowed."""


class EngineRejected(EngineError):
    """The engine refused the request with HTTP ``status``."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class InvalidRequest(SottoError):
    """The caller's request is malformed; ``param`` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NotFound(SottoError):
    """An item, model or route does not exist."""
