"""A Grid within this process: each message is answered, one after the other, when its reply is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run

RUN_ID = 1
FAILED = 1
"""The code of an error reply, as Flower gives an app that raised."""


class InProcessGrid(Grid):
    """``devices`` answer through ``app``; each is a node of its own, numbered from 1. Holds one reply at a time."""

    def __init__(self, app: ClientApp, devices: Iterable[str]) -> None:
        self._app = app
        self._devices = dict(enumerate(devices, 1))
        self._pending: dict[str, Message] = {}
        self._pushed = 0

    def set_run(self, run: Run) -> None:
        """There is only one."""

    @property
    def run(self) -> Run:
        """There is none to speak of."""
        return Run.create_empty(RUN_ID)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `Grid.create_message`."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """All devices."""
        return list(self._devices)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keeps ``messages`` until their replies are asked for."""
        names = []
        for message in messages:
            self._pushed += 1
            names.append(str(self._pushed))
            # Flower's own grids name messages so: there is no public way.
            message.metadata.__dict__["_message_id"] = names[-1]
            self._pending[names[-1]] = message
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """The replies, each made as it is taken."""
        for name in message_ids:
            if (message := self._pending.pop(name, None)) is not None:
                yield self._answer(message)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """All replies."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        config: UserConfig = {"partition-id": self._devices[node]}
        context = Context(run_id=RUN_ID, node_id=node, node_config=config, state=RecordDict(), run_config={})
        try:
            return self._app(message, context)
        except Exception as error:  # whatever a device does, the server goes on, as over any network
            return Message(Error(code=FAILED, reason=type(error).__name__), reply_to=message)
