"""A trainer that outlives messages, behind a Unix socket. Knows no Flower.

A SuperNode starts a process for each message, and a base model takes seconds to load. So a device keeps one process
that has loaded it, and what a message starts only asks that one:

    python -m federation.rounds.residence --socket PATH --trainer NAME --options JSON

Who may open the socket may ask: it is its owner's alone. Both ways go a line of JSON and tensors as safetensors;
nothing is unpickled.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from federation.rounds.trainer import Refused, TrainConfig, Trainer, TrainReply
from federation.rounds.trainers import resident
from federation.tensors import Tensors

_SEPARATOR = "/"
_FAMILY = "AF_UNIX"


class SocketTrainer:
    """See `Trainer`: has the trainer behind ``socket`` do it. OSError or EOFError where that one is gone."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def train(self, device: str, cohorts: Mapping[str, Tensors], config: TrainConfig) -> TrainReply:
        """See `Trainer.train`."""
        named = {f"{name}{_SEPARATOR}{key}": one for name, tensors in cohorts.items() for key, one in tensors.items()}
        with Client(self._socket, _FAMILY) as connection:
            _send(connection, {"device": device, "config": {**asdict(config), "parts": sorted(config.parts)}}, named)
            about, update = _receive(connection)
        if "refused" in about:
            raise (Refused if about["limits"] else ValueError)(about["refused"])
        return TrainReply(update=update, **about)


def socket_trainer(socket: str) -> SocketTrainer:
    """Makes one: see `federation.rounds.trainers`."""
    return SocketTrainer(socket)


def listen(socket: Path) -> Listener:
    """A listener at ``socket`` for its owner alone. FileExistsError where something is there."""
    if socket.exists():
        raise FileExistsError(f"{socket} is there already: end the trainer behind it, or delete it.")
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = os.umask(0o177)
    try:
        return Listener(str(socket), _FAMILY)
    finally:
        os.umask(before)


def answer(listener: Listener, trainer: Trainer) -> None:
    """Takes one connection and has ``trainer`` do what it asks; what the trainer refuses is passed on."""
    with listener.accept() as connection:
        try:
            about, named = _receive(connection)
            cohorts: dict[str, dict[str, NDArray[np.float32]]] = {}
            for name, array in named.items():
                cohort, _, key = name.partition(_SEPARATOR)
                cohorts.setdefault(cohort, {})[key] = array
            given = about["config"]
            config = TrainConfig(**{**given, "parts": frozenset(given["parts"])})
            try:
                found = trainer.train(about["device"], cohorts, config)
            except ValueError as error:
                _send(connection, {"refused": str(error), "limits": isinstance(error, Refused)}, {})
            else:
                told = {"cohort": found.cohort, "examples": found.examples, "metrics": dict(found.metrics)}
                _send(connection, told, found.update)
        except (OSError, EOFError):
            return  # who asked is gone: the next one comes


def _send(connection: Connection, about: Mapping[str, Any], tensors: Tensors) -> None:
    connection.send_bytes(json.dumps(about).encode())
    connection.send_bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def _receive(connection: Connection) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    about: dict[str, Any] = json.loads(connection.recv_bytes())
    return about, dict(sorted(load(connection.recv_bytes()).items()))


def main() -> None:
    """Loads the trainer, then answers until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--options", type=json.loads, default={}, help="JSON")
    given = parser.parse_args()
    trainer = resident(given.trainer, given.options)
    with listen(given.socket) as listener:
        while True:
            answer(listener, trainer)


if __name__ == "__main__":
    main()
