"""The errors Sotto raises on purpose.

SottoError
├── EngineError            the model engine could not do what was asked
│   ├── EngineUnavailable  it is starting, restarting or unreachable: try again after ``retry_after`` seconds
│   ├── EngineTimeout      it took longer than allowed
│   └── EngineRejected     it refused the request: ``status`` and its message
├── InvalidRequest         the caller's request is malformed: ``param`` names the field
│   └── ContextTooLong     the conversation has more tokens than are read
├── NotFound               an item, model or route does not exist
├── Conflict               it cannot be done as things stand: a rollout is under way already
├── Unauthenticated        no key, or none that is good
├── Forbidden              the key is good for other things: ``scope`` names what it lacks
├── RateLimited            the caller has used up its allowance: again after ``retry_after`` seconds
├── Overloaded             more turns are under way than the server takes: again after ``retry_after`` seconds
└── StateUnavailable       the state database cannot be used
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "ContextTooLong",
    "EngineError",
    "EngineRejected",
    "EngineTimeout",
    "EngineUnavailable",
    "Forbidden",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "RateLimited",
    "SottoError",
    "StateUnavailable",
    "Unauthenticated",
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


class Conflict(SottoError):
    """What is asked cannot be done as things stand."""


class ContextTooLong(InvalidRequest):
    """The conversation has more tokens than are read."""

    code = "context_length_exceeded"

    def __init__(self, message: str, param: str | None = "messages") -> None:
        super().__init__(message, param)


class Unauthenticated(SottoError):
    """No key came with the request, or none that is good; ``code`` says which."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Forbidden(SottoError):
    """The key is good, but not for this; ``scope`` is what it lacks."""

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        self.scope = scope


class RateLimited(SottoError):
    """The caller has used up its allowance; ``retry_after`` is in seconds, None when waiting does not help."""

    def __init__(self, message: str, retry_after: int | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(SottoError):
    """More turns are under way than the server takes; ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StateUnavailable(SottoError):
    """The state database cannot be used; ``retry_after`` is in seconds."""

    retry_after = 5
