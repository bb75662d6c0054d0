"""A LangChain tool: an agent asks a running Sotto for recommendations over HTTP.

Needs nothing of the server but its address; knows nothing of dialogue, retrieval or the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from assistant.access.loopback import is_loopback
from retrieval.wish import DEFAULT_COUNT, MAX_COUNT, Ids

__all__ = ["SottoTool", "Wanted"]

CONNECT_SECONDS = 5.0
_MODEL = "sotto"


class Wanted(BaseModel):
    """What an agent says when it calls the tool."""

    request: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2000,
            description="What the person feels like, in plain words: titles they liked, genres, moods, years, people, "
            "and what they do not want.",
        ),
    ]
    count: Annotated[int, Field(ge=1, le=MAX_COUNT, description="How many recommendations.")] = DEFAULT_COUNT
    exclude: Annotated[Ids, Field(description="Ids of earlier recommendations that must not come back.")] = ()


class SottoTool(BaseTool):
    """Recommends items of Sotto's catalogue for a request in plain words.

    The agent reads Sotto's reply with a list of the items; the message's ``artifact`` holds ``recommendations``,
    ``recommendation_id``, ``adapter`` and ``wish`` as the API gives them. ``base_url`` ends with ``/v1``, as for
    OpenAI's clients. ``transport`` and ``async_transport`` replace the way to the server, for tests.
    Raises ToolException when the server does not answer as asked; ``handle_tool_error=True`` tells the agent instead.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str = "sotto_recommend"
    description: str = (
        "Recommends films and other items that fit what someone feels like, with a reason for each. "
        "Use it whenever someone wants something to watch, read or buy; it knows what its catalogue holds."
    )
    args_schema: type[BaseModel] = Wanted
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    base_url: str = "http://127.0.0.1:8000/v1"
    api_key: SecretStr | None = None
    timeout: float = Field(60.0, gt=0, description="Seconds that an answer may take.")
    transport: httpx.BaseTransport | None = Field(None, exclude=True)
    async_transport: httpx.AsyncBaseTransport | None = Field(None, exclude=True)

    def _run(
        self,
        request: str,
        count: int = DEFAULT_COUNT,
        exclude: Ids = (),
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> tuple[str, dict[str, Any]]:
        try:
            with httpx.Client(transport=self.transport, **self._connection()) as client:
                response = client.post("/chat/completions", json=_body(request, count, exclude))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        return self._read(response)

    async def _arun(
        self,
        request: str,
        count: int = DEFAULT_COUNT,
        exclude: Ids = (),
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[str, dict[str, Any]]:
        try:
            async with httpx.AsyncClient(transport=self.async_transport, **self._connection()) as client:
                response = await client.post("/chat/completions", json=_body(request, count, exclude))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        return self._read(response)

    def _connection(self) -> dict[str, Any]:
        headers = {} if self.api_key is None else {"authorization": f"Bearer {self.api_key.get_secret_value()}"}
        return {
            "base_url": self.base_url,
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout, connect=CONNECT_SECONDS),
            # What is asked of this machine must not pass through a proxy that the environment names.
            "trust_env": not is_loopback(httpx.URL(self.base_url).host),
        }

    def _unreachable(self, error: Exception) -> ToolException:
        return ToolException(
            f"No Sotto answers at {self.base_url} ({type(error).__name__}): start it with `make run`, or give its "
            "address as base_url."
        )

    def _read(self, response: httpx.Response) -> tuple[str, dict[str, Any]]:
        try:
            body = response.json()
            if response.is_error:
                raise ToolException(f"Sotto refused ({response.status_code}): {body['error']['message']}")
            names = ("recommendations", "recommendation_id", "adapter", "wish")
            artifact = {name: body[name] for name in names}
            lines = [body["choices"][0]["message"]["content"], *map(_line, artifact["recommendations"])]
        except (ValueError, LookupError, TypeError) as error:
            raise ToolException(
                f"What answers at {self.base_url} is not Sotto (status {response.status_code}). "
                "Give Sotto's own address, which ends with /v1, as base_url."
            ) from error
        return "\n".join(lines), artifact


def _body(request: str, count: int, exclude: Ids) -> dict[str, Any]:
    wish = {"count": count, "seen": list(exclude)}
    return {"model": _MODEL, "messages": [{"role": "user", "content": request}], "wish": wish}


def _line(pick: dict[str, Any]) -> str:
    year = "" if pick["year"] is None else f" ({pick['year']})"
    return f"{pick['rank']}. {pick['title']}{year}, id {pick['id']}: {pick['reason']}"
