"""The JSON of the chat route: OpenAI's chat completion with what Sotto adds to it.

A request's unknown fields are ignored, as OpenAI's clients send new ones all the time.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from assistant.api import examples
from assistant.api.tools import NAME, PastToolCall, Tool, ToolCall, ToolChoice, ToolMode, offered
from assistant.dialogue.types import Adapter, FinishReason, Lesson, Recommendation, Trace, Usage
from assistant.engine.soft_prompts import MOST_TOKENS
from retrieval.wish import Wish, in_order

MAX_MESSAGES = 200
MAX_CHARACTERS = 32_000
MAX_REPLY_TOKENS = 1024
MAX_STOPS = 4
MAX_TOOLS = 128
MAX_SEED = 2**63 - 1


def _text_of(content: Any) -> Any:
    """One string of a message's content: a string, a list of text parts, or nothing."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    pieces = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    if not all(isinstance(piece, str) for piece in pieces):
        raise ValueError("only text is understood: send a string, or parts of the form {type: text, text: ...}")
    return "".join(str(piece) for piece in pieces)


def _in_order(wish: Wish) -> Wish:
    in_order(wish.year_from, wish.year_to)
    return wish


def _listed(value: Any) -> Any:
    """OpenAI allows one string in place of a list of one."""
    return [value] if isinstance(value, str) else value


_TEXT_PART = {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}
Content = Annotated[
    str,
    StringConstraints(max_length=MAX_CHARACTERS),
    BeforeValidator(_text_of),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}, {"type": "null"}]}),
]
GivenWish = Annotated[Wish, AfterValidator(_in_order)]
"""A wish that a client sends: its years are the right way round, as in every answer."""
Stop = Annotated[str, StringConstraints(min_length=1, max_length=100)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Asker = Annotated[
    str | None,
    StringConstraints(max_length=256),
    Field(description="The application's own name for the person, who then meets one release; hashed, not kept."),
]
CohortName = Annotated[
    str | None, StringConstraints(max_length=20), Field(description="The cohort that the person's device chose.")
]
PersonalPrompt = Annotated[
    list[list[Annotated[float, Field(strict=True, allow_inf_nan=False)]]] | None,
    Field(max_length=MOST_TOKENS, description="The person's own soft prompt, rows of numbers; used and not kept."),
]
TraceAsked = Annotated[bool | None, Field(description="Adds what each stage took; never a word of the text.")]
TraceTold = Annotated[Trace | None, Field(exclude_if=lambda trace: trace is None)]
LessonAsked = Annotated[
    bool | None, Field(description="Adds what the person's own device can learn from; the server keeps nothing of it.")
]
LessonTold = Annotated[Lesson | None, Field(exclude_if=lambda lesson: lesson is None)]


class Message(BaseModel):
    """One message of the conversation; ``tool_calls`` are those of an assistant's message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = ""
    tool_calls: Annotated[list[PastToolCall] | None, Field(max_length=MAX_TOOLS)] = None


class StreamOptions(BaseModel):
    """``include_usage`` asks for a last chunk with the token counts."""

    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """A chat completion request. A null field counts as one left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHAT]})

    model: ModelName
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    wish: Annotated[GivenWish | None, Field(description="The wish of the last answer, to build on it.")] = None
    trace: TraceAsked = False
    lesson: LessonAsked = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(description="Must be 1.")] = 1
    temperature: Annotated[float | None, Field(ge=0, le=2, allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)] = None
    seed: Annotated[int | None, Field(ge=-MAX_SEED, le=MAX_SEED)] = None
    stop: Annotated[
        tuple[Stop, ...] | None,
        Field(max_length=MAX_STOPS, description="The reply ends before the first of these."),
        BeforeValidator(_listed),
    ] = None
    max_tokens: Annotated[int | None, Field(ge=1, description=f"At most {MAX_REPLY_TOKENS} are written.")] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, description="Goes before `max_tokens`.")] = None
    tools: Annotated[
        list[Tool] | None,
        Field(max_length=MAX_TOOLS, description=f"Declare `{NAME}` to get what is recommended as a tool call too."),
    ] = None
    tool_choice: ToolChoice = "auto"
    user: Asker = None
    cohort: CohortName = None
    soft_prompt: PersonalPrompt = None

    @property
    def calls(self) -> ToolMode:
        """Whether the reply is to carry a tool call; never where the last one is answered only now."""
        return self.tool_choice if offered(self.tools) and self.messages[-1].role == "user" else "none"

    @field_validator("n")
    @classmethod
    def _one_reply(cls, n: int | None) -> int | None:
        if n not in (None, 1):
            raise ValueError("a turn has one reply; leave n out, or send the request again with another seed")
        return n

    @field_validator("messages")
    @classmethod
    def _ends_with_the_user(cls, messages: list[Message]) -> list[Message]:
        last = messages[-1]
        if last.role not in {"user", "tool"}:
            raise ValueError(f"the last message must be the user's or a tool's, and it is of role {last.role}")
        if last.role == "user" and not last.content.strip():
            raise ValueError("the last message is empty")
        return messages

    @field_validator("tool_choice")
    @classmethod
    def _can_be_called(cls, choice: ToolMode, info: ValidationInfo) -> ToolMode:
        if choice == "required" and not offered(info.data.get("tools")):
            raise ValueError(f"a call can only be required of a tool that is declared: declare {NAME} in tools")
        return choice


class TokenUsage(BaseModel):
    """Tokens over all of the calls to the engine."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> TokenUsage:
        """The wire's form of ``usage``."""
        total = usage.prompt_tokens + usage.completion_tokens
        return cls(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, total_tokens=total)


class Grounding(BaseModel):
    """What Sotto adds to OpenAI's form. ``wish`` is what it understood so far; send it back with the next message.

    ``recommendation_id`` names this set of recommendations, and is null when there are none.
    """

    recommendations: tuple[Recommendation, ...]
    adapter: Adapter
    recommendation_id: str | None
    wish: Wish


class ReplyMessage(Grounding):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    tool_calls: Annotated[tuple[ToolCall] | None, Field(exclude_if=lambda calls: calls is None)] = None


class Choice(BaseModel):
    """The only choice."""

    index: Literal[0] = 0
    message: ReplyMessage
    logprobs: None = None
    finish_reason: FinishReason | Literal["tool_calls"]


class ChatCompletion(Grounding):
    """A whole reply; the additions stand at the top and on the message, for clients that pass on only one of them."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice]
    usage: TokenUsage
    trace: TraceTold = None
    lesson: LessonTold = None
