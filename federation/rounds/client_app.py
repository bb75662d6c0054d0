"""The device's side of a round, as a Flower ClientApp: reads a request, has it trained, sends the change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from federation.rounds import wire
from federation.rounds.trainer import Refused
from federation.rounds.trainers import NODES_OWN, resident


def make(name: str | None = None, options: Mapping[str, Any] | None = None) -> ClientApp:
    """An app for the trainer ``name``; without one, for that which the node's configuration names, or the run's."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        chosen, given = (name, options or {}) if name is not None else trainer_of(context)
        cohorts, config = wire.read_request(message.content)
        try:
            found = resident(chosen, given).train(device_of(context), cohorts, config)
        except Refused:
            # Why is not told: how full a battery is, is the person's own.
            return Message(Error(wire.REFUSED, "the device does not train now"), reply_to=message)
        return Message(wire.reply(found), reply_to=message)

    return app


def trainer_of(context: Context) -> tuple[str, dict[str, Any]]:
    """The trainer's name and options. A node that has its own takes none from a server.

    ValueError where a server names one that only a node may.
    """
    is_own = "trainer" in context.node_config
    config = context.node_config if is_own else context.run_config
    name = str(config.get("trainer", ""))
    if name in NODES_OWN and not is_own:
        raise ValueError(f"a server cannot name the trainer {name!r}")
    options = json.loads(str(config.get("trainer-options", "{}")))
    if not isinstance(options, dict):
        raise ValueError("the trainer's options are no object of JSON")
    return name, options


def device_of(context: Context) -> str:
    """What the device is called: its partition in a population, or its node's number."""
    return str(context.node_config.get("partition-id", context.node_id))


app = make()
