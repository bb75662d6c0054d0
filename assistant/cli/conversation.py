"""A conversation with a running server, from the client's side. Knows nothing of terminals.

The server keeps nothing between turns: this keeps what was said and the wish, in memory.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from assistant.access.loopback import is_loopback

CHAT_ROUTE = "/v1/chat/completions"
MODEL = "sotto"
CONNECT_SECONDS = 5.0
# The server sends a heartbeat every ten seconds.
SILENCE_SECONDS = 60.0


class ConversationError(Exception):
    """The server could not be reached or did not answer as asked; the message is meant for people."""


@dataclass
class Reply:
    """What has come of a reply so far; ``recommendations`` as the server sent them."""

    text: str = ""
    recommendations: list[dict[str, Any]] = field(default_factory=list)


class Conversation:
    """What was said so far, and the connection to the server at ``url``. Close it at the end.

    ``api_key`` is sent along where the server asks for one.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
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

    def clear(self) -> None:
        """Forgets what was said."""
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
        wish, finished = self._wish, False
        try:
            with closing(self._chunks(message)) as chunks:
                for chunk in chunks:
                    if "recommendations" in chunk:
                        reply.recommendations, wish = chunk["recommendations"], chunk["wish"]
                    choice = chunk["choices"][0]
                    finished = finished or choice["finish_reason"] is not None
                    if text := choice["delta"].get("content"):
                        reply.text += text
                        yield text
        except ConversationError:
            raise
        except BaseException:
            self._remember(message, reply.text, wish)
            raise
        if not finished:
            raise ConversationError("The connection broke off before the reply was complete. Send the message again.")
        self._remember(message, reply.text, wish)

    def item(self, item_id: str) -> dict[str, Any]:
        """The record of an item. Raises ConversationError."""
        with self._reaching():
            response = self._client.get(f"/v1/items/{quote(item_id, safe='')}")
        return self._checked(response)

    def _request(self, message: str, *, stream: bool) -> dict[str, Any]:
        messages = [*self._messages, {"role": "user", "content": message}]
        return {"model": MODEL, "messages": messages, "wish": self._wish, "stream": stream}

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
                f"The connection to {self.url} broke off ({type(error).__name__}). Send the message again."
            ) from error
