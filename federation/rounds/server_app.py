"""The server's side, as a Flower ServerApp: asks the sampled devices over whatever Grid there is, round by round."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from federation.rounds import wire
from federation.rounds.checkpoint import load, save
from federation.rounds.coordinator import Round, State, Summary, TooFewDevices, sample

ATTEMPTS = 3
"""How often a round is asked, each time of other devices, before the run gives up."""

POLL_SECONDS = 0.2
_TRAIN = "train"


class Watcher(Protocol):
    """Who is told how a run goes."""

    def asked(self, number: int, devices: int) -> None:
        """Round ``number`` begins with so many devices."""
        ...

    def answered(self, done: int) -> None:
        """So many devices of the round have answered or failed."""
        ...

    def closed(self, state: State, summary: Summary) -> None:
        """A round is over, and kept."""
        ...


class Nobody:
    """Watches nothing."""

    def asked(self, number: int, devices: int) -> None:
        """See `Watcher`."""

    def answered(self, done: int) -> None:
        """See `Watcher`."""

    def closed(self, state: State, summary: Summary) -> None:
        """See `Watcher`."""


def serve(grid: Grid, state: State, folder: Path, watcher: Watcher | None = None) -> State:
    """Runs all rounds that ``state`` lacks; after each, the whole state is in ``folder``.

    TooFewDevices when a round got too few answers `ATTEMPTS` times: what was done before is kept.
    """
    watcher = watcher or Nobody()
    save(folder, state)
    while not state.finished:
        for attempt in range(ATTEMPTS):
            try:
                summary = _round(grid, state, attempt, watcher)
                break
            except TooFewDevices:
                if attempt == ATTEMPTS - 1:
                    raise
        save(folder, state)
        watcher.closed(state, summary)
    return state


def _round(grid: Grid, state: State, attempt: int, watcher: Watcher) -> Summary:
    current = Round(state)
    plan = state.plan
    started = time.monotonic()
    nodes = _nodes(grid, plan.needed, started + plan.deadline)
    devices = sample(nodes, plan, current.number, attempt)
    watcher.asked(current.number, len(devices))
    content = wire.request(current.cohorts, current.config)
    messages = [
        Message(content, dst_node_id=device, message_type=_TRAIN, group_id=str(current.number), ttl=plan.deadline)
        for device in devices
    ]
    up = 0
    names = frozenset(current.cohorts)
    for done, message in enumerate(_replies(grid, messages, started + plan.deadline), 1):
        if message.has_error():
            current.fail("refused" if message.error.code == wire.REFUSED else "broken off")
        else:
            up += wire.size(message.content)
            _take(current, names, message)
        watcher.answered(done)
    down = wire.size(content) * len(devices)
    return current.close(len(devices), time.monotonic() - started, bytes_down=down, bytes_up=up)


def _take(current: Round, cohorts: frozenset[str], message: Message) -> None:
    try:
        current.take(str(message.metadata.src_node_id), wire.read_reply(message.content, cohorts))
    except wire.WireError:
        current.fail("malformed")
    except ValueError:
        current.fail("refused")


def _nodes(grid: Grid, fewest: int, deadline: float) -> Sequence[int]:
    """The devices that are there, once there are enough of them or time is up."""
    while True:
        nodes = list(grid.get_node_ids())
        if len(nodes) >= fewest or time.monotonic() >= deadline:
            return nodes
        time.sleep(POLL_SECONDS)


def _replies(grid: Grid, messages: Sequence[Message], deadline: float) -> Iterator[Message]:
    """Replies as they come, until all have or time is up: stragglers are left behind."""
    waiting = set(grid.push_messages(messages))
    while waiting and time.monotonic() < deadline:
        came = False
        for reply in grid.pull_messages(sorted(waiting)):
            came = True
            waiting.discard(reply.metadata.reply_to_message_id)
            yield reply
            if time.monotonic() >= deadline:
                return
        if waiting and not came:
            time.sleep(POLL_SECONDS)


def make(folder: Path | None = None, watcher: Watcher | None = None) -> ServerApp:
    """An app that goes on with the run kept in ``folder``; without one, in that which the run's configuration names."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        chosen = folder or Path(str(context.run_config["folder"]))
        serve(grid, load(chosen), chosen, watcher)

    return app


app = make()
