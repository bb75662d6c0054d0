"""The device's side of a round, as a Flower ClientApp: reads a request, has it trained, sends the change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from federation.rounds import wire
from federation.rounds.trainers import resident


def make(name: str | None = None, options: Mapping[str, Any] | None = None) -> ClientApp:
    """An app for the trainer ``name``; without one, for that which the run's configuration names."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        chosen = name or str(context.run_config["trainer"])
        given = options if options is not None else json.loads(str(context.run_config.get("trainer-options", "{}")))
        cohorts, config = wire.read_request(message.content)
        found = resident(chosen, given).train(device_of(context), cohorts, config)
        return Message(wire.reply(found), reply_to=message)

    return app


def device_of(context: Context) -> str:
    """What the device is called: its partition in a population, or its node's number."""
    return str(context.node_config.get("partition-id", context.node_id))


app = make()
