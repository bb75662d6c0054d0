"""The tool ``recommend_items``: the recommendations once more, as a tool call, for clients that drop unknown fields.

LangChain's and other clients pass on only what OpenAI's form knows; a tool call is the one part of it that carries
data. So a client that declares a function of this name gets, beside the text, a call whose arguments are what
Sotto adds to every answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, WithJsonSchema

NAME = "recommend_items"

ToolMode = Literal["none", "auto", "required"]


def _mode(choice: Any) -> Any:
    if choice is None:
        return "auto"
    if choice == {"type": "function", "function": {"name": NAME}}:
        return "required"
    if choice in ("none", "auto", "required"):
        return choice
    raise ValueError(f"{NAME} is the only function called here: send none, auto, required, or that name")


_CHOSEN = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {"type": "object", "properties": {"name": {"const": NAME}}, "required": ["name"]},
    },
    "required": ["type", "function"],
}
ToolChoice = Annotated[
    ToolMode,
    BeforeValidator(_mode),
    WithJsonSchema({"anyOf": [{"enum": ["none", "auto", "required"]}, _CHOSEN, {"type": "null"}]}),
]
"""``auto`` calls when something is recommended, ``required`` always, ``none`` never."""


class DeclaredFunction(BaseModel):
    """A function as the client declares it; only its name is looked at."""

    name: str


class Tool(BaseModel):
    """A tool that the client offers; only functions can be called."""

    type: str
    function: DeclaredFunction | None = None


class CalledFunction(BaseModel):
    """Which function, with what ``arguments``: JSON as text, in OpenAI's way."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call of a function."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class PastToolCall(BaseModel):
    """A call as the client sends it back in the conversation; one of another kind has no ``function``."""

    function: CalledFunction | None = None


def offered(tools: list[Tool] | None) -> bool:
    """Whether ``tools`` declare the function `NAME`."""
    return any(tool.function is not None and tool.function.name == NAME for tool in tools or ())


def call(arguments: BaseModel) -> ToolCall:
    """A call of `NAME` with ``arguments``."""
    return ToolCall(
        id=f"call_{uuid4().hex[:24]}", function=CalledFunction(name=NAME, arguments=arguments.model_dump_json())
    )
