"""Rounds over Flower's simulation: as many virtual SuperNodes as devices, in Ray's worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.supercore.run import Run

from federation.rounds.client_app import make

CORES_A_DEVICE = 1
PATIENCE = 300.0
"""Seconds in which all virtual nodes must have told their partitions; Ray answers some twenty a second and core."""

_QUERY, _PARTITION = "query", "partition-id"
_POLL_SECONDS = 0.1


def simulate(server: ServerApp, trainer: str, options: Mapping[str, Any], devices: int) -> None:
    """Runs ``server`` over ``devices`` that train with the trainer of this name. Needs Ray."""
    client, numbered = make(trainer, dict(options)), ServerApp()

    @client.query()
    def tell(message: Message, context: Context) -> Message:
        told = ConfigRecord({_PARTITION: int(context.node_config[_PARTITION])})
        return Message(RecordDict({_PARTITION: told}), reply_to=message)

    @numbered.main()
    def main(grid: Grid, context: Context) -> None:
        server(NumberedGrid(grid, devices), context)

    backend: dict[str, Any] = {"client_resources": {"num_cpus": CORES_A_DEVICE, "num_gpus": 0.0}}
    run_simulation(numbered, client, devices, backend_config=backend)


class NumberedGrid(Grid):
    """``grid``, its nodes numbered from 1 by their partitions, as in one process.

    Flower draws a virtual node's number anew each time, and the server begins before all nodes are there; a run that is
    resumed must ask the same devices again.
    """

    def __init__(self, grid: Grid, devices: int) -> None:
        self._grid = grid
        self._nodes = _nodes(grid, devices)
        self._numbers = {node: number for number, node in self._nodes.items()}

    def set_run(self, run: Run) -> None:
        """See `Grid.set_run`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """See `Grid.run`."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `Grid.create_message`."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """The numbers of all nodes."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See `Grid.push_messages`."""
        return self._grid.push_messages(self._addressed(message) for message in messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """The replies that are there, from the nodes' numbers."""
        for reply in self._grid.pull_messages(message_ids):
            node = reply.metadata.src_node_id
            # There is no public way to say that a reply came from elsewhere.
            reply.metadata.__dict__["_src_node_id"] = self._numbers.get(node, node)
            yield reply

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """See `Grid.send_and_receive`."""
        return self._grid.send_and_receive((self._addressed(message) for message in messages), timeout=timeout)

    def _addressed(self, message: Message) -> Message:
        about = message.metadata
        return Message(
            message.content,
            dst_node_id=self._nodes[about.dst_node_id],
            message_type=about.message_type,
            group_id=about.group_id,
            ttl=about.ttl,
        )


def _nodes(grid: Grid, devices: int) -> dict[int, int]:
    """The nodes by number, 1 and up in order of partitions; RuntimeError where they do not all tell theirs."""
    deadline = time.monotonic() + PATIENCE
    while len(nodes := list(grid.get_node_ids())) < devices and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    asked = [Message(RecordDict(), dst_node_id=node, message_type=_QUERY) for node in nodes]
    found = {}
    for reply in grid.send_and_receive(asked, timeout=PATIENCE):
        if reply.has_content():
            partition = reply.content.config_records[_PARTITION][_PARTITION]
            found[1 + int(str(partition))] = reply.metadata.src_node_id
    if len(found) < devices:
        raise RuntimeError(f"{len(found)} of {devices} simulated devices answered: is there memory enough for Ray?")
    return dict(sorted(found.items()))
