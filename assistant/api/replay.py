"""Answers a request that ends with a tool's result: an agent has taken a ``recommend_items`` call and asks for the end.

The reply was spoken beside the call, so it is given once more as it stands in the conversation, and the model is
not asked. That ends the agent's loop with a reply about the very items of the call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from pydantic import ValidationError

from assistant.api import tools
from assistant.api.schemas import Grounding, Message
from assistant.dialogue.types import Done, Event, Plan, Text, Usage
from assistant.errors import InvalidRequest


async def replay(messages: Sequence[Message]) -> AsyncGenerator[Event | None]:
    """The events of the reply whose tool call the last messages answer. Raises InvalidRequest where there is none."""
    spoken = next((message for message in reversed(messages) if message.role != "tool"), None)
    grounding = _grounding(spoken)
    yield Plan(
        "recommend",
        grounding.wish,
        grounding.recommendations,
        (),
        grounding.recommendation_id,
        grounding.adapter,
    )
    yield Text(spoken.content if spoken is not None else "")
    yield Done("stop", Usage())


def _grounding(message: Message | None) -> Grounding:
    for past in (message and message.tool_calls) or ():
        if past.function is not None and past.function.name == tools.NAME:
            try:
                return Grounding.model_validate_json(past.function.arguments)
            except ValidationError as error:
                reason = f"the arguments of its {tools.NAME} call are not those that were sent"
                message_as_it_came = "Send the assistant's message as it came."
                raise InvalidRequest(f"messages: {reason}. {message_as_it_came}", "messages") from error
    raise InvalidRequest(
        f"messages: a tool's result must follow the assistant's message that called {tools.NAME}; "
        "no other function is called here.",
        "messages",
    )
