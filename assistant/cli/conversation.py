"""A conversation with a running server, from the client's side. Knows nothing of terminals.

The server keeps nothing between turns: this keeps what was said and the wish, in memory.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from assistant.access.loopback import is_loopback

CHAT_ROUTE = "/v1/chat/completions"
FEEDBACK_ROUTE = "/v1/feedback"
MODEL = "sotto"
CONNECT_SECONDS = 5.0
# The server sends a heartbeat every ten seconds.
SILENCE_SECONDS = 60.0
FEEDBACK_SECONDS = 10.0


class ConversationError(Exception):
    """The server could not be reached or did not answer as asked; the message is meant for people."""


@dataclass
class Reply:
    """What has come of a reply so far, as the server sent it; ``complete`` once all of it has."""

    text: str = ""
    recommendations: list[dict[str, Any]] = field(default_factory=list)
    recommendation_id: str | None = None
    wish: dict[str, Any] | None = None
    lesson: dict[str, Any] | None = None
    complete: bool = False


class Conversation:
    """What was said so far, and the connection to the server at ``url``. Close it at the end.

    ``api_key`` is sent along where the server asks for one. Each message's request has the fields ``extra`` too.
    """

    def __init__(self, url: str, api_key: str | None = None, extra: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._extra = dict(extra or {})
        self._messages: list[dict[str, str]] = []
        self._wish: dict[str, Any] | None = None
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            proxied = not is_loopback(httpx.URL(self.url).host)
            self._client = httpx.Client(base_url=self.url, timeout=timeout, trust_env=proxied, headers=headers)
        except httpx.InvalidURL as error:
            raise ConversationError(f"{url} is no address: {error}") from error

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def begin(self) -> None:
        """Forgets what was said: another conversation begins."""
        self._messages.clear()
        self._wish = None

    def ask(self, message: str) -> dict[str, Any]:
        """The whole answer to ``message`` as the server sends it. Raises ConversationError."""
        with self._reaching():
            response = self._client.post(CHAT_ROUTE, json=self._request(message, stream=False))
        answer = self._checked(response)
        reply = answer["choices"][0]["message"]
        self._remember(message, reply["content"], answer["wish"])
        return answer

    def stream(self, message: str, reply: Reply) -> Generator[str]:
        """The pieces of the answer to ``message`` as they come; ``reply`` is filled meanwhile.

        Closing the iterator, or an exception where it is read, stops the model; what came by then counts as said.
        Raises ConversationError, and then nothing counts as said.
        """
        reply.wish = self._wish
        try:
            with closing(self._chunks(message)) as chunks:
                for chunk in chunks:
                    if "recommendations" in chunk:
                        reply.recommendations, reply.wish = chunk["recommendations"], chunk["wish"]
                        reply.recommendation_id = chunk["recommendation_id"]
                    choice = chunk["choices"][0]
                    if choice["finish_reason"] is not None:
                        reply.complete, reply.lesson = True, chunk.get("lesson")
                    if text := choice["delta"].get("content"):
                        reply.text += text
                        yield text
        except ConversationError:
            raise
        except BaseException:
            self._remember(message, reply.text, reply.wish)
            raise
        if not reply.complete:
            raise ConversationError("The connection broke off before the reply was complete. Send the message again.")
        self._remember(message, reply.text, reply.wish)

    def item(self, item_id: str) -> dict[str, Any]:
        """The record of an item. Raises ConversationError."""
        with self._reaching():
            response = self._client.get(f"/v1/items/{quote(item_id, safe='')}")
        return self._checked(response)

    def judge(self, recommendation_id: str, verdict: str) -> None:
        """Tells the server what became of a recommendation: accepted, rejected or withdrawn. ConversationError."""
        feedback = {"recommendation_id": recommendation_id, "verdict": verdict}
        with self._reaching():
            response = self._client.post(FEEDBACK_ROUTE, json=feedback, timeout=FEEDBACK_SECONDS)
        self._checked(response)

    def _request(self, message: str, *, stream: bool) -> dict[str, Any]:
        messages = [*self._messages, {"role": "user", "content": message}]
        return {"model": MODEL, "messages": messages, "wish": self._wish, "stream": stream, **self._extra}

    def _remember(self, message: str, reply: str, wish: dict[str, Any] | None) -> None:
        self._messages.append({"role": "user", "content": message})
        if reply:
            self._messages.append({"role": "assistant", "content": reply})
        self._wish = wish

    def _chunks(self, message: str) -> Generator[dict[str, Any]]:
        request = self._request(message, stream=True)
        with self._reaching(), self._client.stream("POST", CHAT_ROUTE, json=request) as response:
            if response.is_error:
                response.read()
                self._checked(response)
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if data == line or data == "[DONE]":
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    raise ConversationError(chunk["error"]["message"])
                yield chunk

    def _checked(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body: dict[str, Any] = response.json()
            if response.is_success:
                return body
            message = body["error"]["message"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConversationError(
                f"What answers at {self.url} is not Sotto (status {response.status_code}). "
                "Give Sotto's own address with --url."
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            message += " Give `sotto chat` the key in SOTTO_API_KEY, or with --api-key."
        raise ConversationError(message)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ConversationError(
                f"No server answers at {self.url}: start it with `make run`, or give its address with --url."
            ) from error
        except httpx.UnsupportedProtocol as error:
            raise ConversationError(f"{self.url} is no address: it must begin with http:// or https://.") from error
        except httpx.TransportError as error:
            raise ConversationError(
                f"The connection to {self.url} broke off ({type(error).__name__}). Try again."
            ) from error
