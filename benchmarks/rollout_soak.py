"""Keeps replies streaming from real vLLM replicas while releases come and go, and holds every one against its release.

python -m benchmarks.rollout_soak --seconds 600

Each reply is greedy, so it must be, token by token, what its release writes when nothing else happens. Meanwhile
releases are promoted through canaries, rolled back and replaced without pause, and one replica is killed and started
again by its supervisor. Two servers keep the rollouts: the callers' own, whose reconciler and controller are cut off in
mid-step and begun anew, and one in a process of its own, which is killed (-9) and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.engine.adapters import Adapters
from assistant.engine.command import SERVED_NAME, environment, serve_command
from assistant.engine.fleet import Fleet, Replica
from assistant.engine.gateway import Sampling, VllmEngine
from assistant.engine.model import context_length
from assistant.engine.process import EngineProcess, Pace
from assistant.engine.soft_prompts import Embeddings
from assistant.errors import Conflict, EngineError
from assistant.rollout.controller import Controller
from assistant.rollout.judge import Limits as Harm
from assistant.rollout.ledger import Ledger, Plan
from assistant.rollout.receipts import Receipts
from assistant.rollout.reconcile import Reconciler
from assistant.rollout.replicas import Replicas
from assistant.rollout.routing import Router
from assistant.settings import STARTER_PATH, Settings
from assistant.state.database import Database
from benchmarks.report import ROOT, quantiles, write
from benchmarks.served import free_port
from federation.lora import LoraShape
from federation.releases.base import Served, read_served
from federation.releases.package import write_release
from federation.releases.store import Store
from federation.releases.verify import Limits
from prompts.build import encode, respond_messages
from retrieval.wish import Wish

LORA = LoraShape(8, 16.0)
GREEDY = Sampling(max_tokens=24)
PLAN = Plan((50.0, 100.0), step_seconds=0.5, step_requests=0)
WHO = "soak"


@dataclass
class Report:
    """What became of the replies: ``mixed`` ones hold what their release does not write. Times are in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    swaps: list[float] = field(default_factory=list)
    rollouts: int = 0
    restarts: int = 0
    kills: int = 0
    faults: list[str] = field(default_factory=list)


class Source:
    """Releases made here, all in one store."""

    def __init__(self, root: Path, served: Served, count: int) -> None:
        self.store = Store(root / "releases")
        self.digests = [self.store.add(_made(root / f"made-{seed}", served, seed)).digest for seed in range(count)]
        self._kept = {digest: root / f"made-{seed}" for seed, digest in enumerate(self.digests)}

    def fetch(self, reference: str, /) -> object:
        """Brings one back that was collected."""
        return self.store.add(self._kept[reference])


def random_weights(served: Served, seed: int, scale: float = 0.4) -> dict[str, NDArray[np.float32]]:
    """Random factors for every module and a soft prompt, large enough to be felt in each reply."""
    draw = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}
    for module, (out, into) in served.modules.items():
        found[f"{module}.lora_A.weight"] = draw.normal(0, scale, (LORA.rank, into)).astype(np.float32)
        found[f"{module}.lora_B.weight"] = draw.normal(0, scale, (out, LORA.rank)).astype(np.float32)
    found["soft_prompt"] = draw.normal(0, 0.5, (4, served.model.hidden_size)).astype(np.float32)
    return found


def _made(folder: Path, served: Served, seed: int) -> Path:
    if not folder.exists():
        write_release(folder, {"global": random_weights(served, seed)}, LORA, served.model)
    return folder


def question() -> list[int]:
    """The ids of a prompt of the dialogue's own, which the base model answers without two words being alike likely."""
    from transformers import AutoTokenizer

    return encode(
        AutoTokenizer.from_pretrained(STARTER_PATH), respond_messages("decline", Wish(), (), "What is 2 + 2?")
    )


@asynccontextmanager
async def replicas(root: Path, count: int) -> AsyncIterator[list[EngineProcess]]:
    """Running vLLM servers of the starter model, watched and restarted."""
    context, processes = context_length(STARTER_PATH), []
    for number in range(count):
        port = free_port()
        command = serve_command(STARTER_PATH, port, context=context, lora_rank=LORA.rank)
        home = root / f"replica-{number}"
        pace = Pace(first_delay=0.2)
        processes.append(EngineProcess(command, port, home, variables=environment(lora_rank=LORA.rank), pace=pace))
    watching: list[asyncio.Task[None]] = []
    try:
        for process in processes:
            await process.start()
        await asyncio.gather(*(process.wait_ready() for process in processes))
        watching = [asyncio.create_task(process.watch()) for process in processes]
        yield processes
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in processes))


class Soak:
    """One server over replicas at ``urls``, with callers and a model team that never rest."""

    def __init__(self, root: Path, urls: Sequence[str], releases: int, streams: int, seed: int = 0) -> None:
        self.report, self.random, self.streams = Report(), random.Random(seed), streams
        self.root = root
        self.served = read_served(STARTER_PATH)
        self.embeddings = Embeddings.open(STARTER_PATH)
        self.source = Source(root, self.served, releases)
        self.database = Database.of(Settings(home=root))
        self.ledger = Ledger(self.database)
        listed = Replicas(self.database, self.ledger)
        for url in urls:
            listed.add(url, WHO, "the soak")
        secret = self.ledger.secret()
        self.router = Router(Fleet(), Receipts(secret), secret, SERVED_NAME, self.embeddings)
        self.alone: dict[str | None, str] = {}
        self.ending = False
        self.killed_at = float("-inf")

    def open(self, url: str) -> Replica:
        """A replica at ``url``."""
        engine = VllmEngine(url, embeddings=self.embeddings)
        return Replica(url, engine, self._adapters(engine))

    def _adapters(self, engine: VllmEngine) -> Adapters:
        return Adapters(engine, self.source.store, self.served, Limits(rank=LORA.rank))

    @cached_property
    def prompt(self) -> list[int]:
        """What everybody asks."""
        return question()

    async def know(self, url: str) -> None:
        """What every release, and the base model, writes when nothing else happens."""
        replica = self.open(url)
        adapters = self._adapters(replica.engine)
        self.alone[None] = (await replica.engine.complete(self.prompt, model=SERVED_NAME, sampling=GREEDY)).text
        for digest in self.source.digests:
            await adapters.load(digest)
            with adapters.policy(digest) as policy:
                said = await replica.engine.complete(
                    self.prompt, model=policy.model, sampling=GREEDY, soft_prompt=policy.soft_prompt
                )
            self.alone[digest] = said.text
            await adapters.unload(digest)
        await replica.engine.aclose()

    async def caller(self, number: int) -> None:
        """Asks again and again, and holds each reply against its release."""
        turn = 0
        while not self.ending:
            turn += 1
            began, text, release = time.perf_counter(), "", None
            try:
                with self.router.route(f"caller {number} {turn}") as route:
                    release, voice = route.release, route.voice
                    stream = self.router.fleet.generate(
                        self.prompt, model=voice.model, sampling=GREEDY, soft_prompt=voice.soft_prompt
                    )
                    async for delta in stream:
                        text += delta.text
                right = text == self.alone[release] and voice.adapter.release == release
                self._note("right" if right else "mixed", release, f"{release}: {text!r}")
                self.report.waits.append(time.perf_counter() - began)
            except EngineError as error:
                # A reply that the killed replica had begun ends with an error of its own; nothing else may.
                cut = bool(text) and time.perf_counter() - self.killed_at < self.patience
                self._note("cut with the killed replica" if cut else "failed", release, str(error))
                await asyncio.sleep(0.2)

    patience = 60.0

    def _note(self, outcome: str, release: str | None, fault: str) -> None:
        self.report.outcomes[outcome] += 1
        self.report.releases[(release or "base")[:8]] += 1
        if outcome not in ("right", "cut with the killed replica"):
            self.report.faults.append(f"{outcome} {fault}"[:300])

    async def team(self) -> None:
        """Starts rollouts, lets some pass their canary, promotes or rolls back others."""
        while not self.ending:
            release = self.random.choice(self.source.digests)
            with suppress(Conflict):
                await asyncio.to_thread(self.ledger.start, release, PLAN, WHO, "soak")
                self.report.rollouts += 1
            began = time.perf_counter()
            await asyncio.sleep(self.random.uniform(0.2, 2.5))
            act: Any = self.random.choice([self.ledger.promote, self.ledger.roll_back, None])
            if act is not None:
                with suppress(Conflict):
                    await asyncio.to_thread(act, WHO, "soak")
            live = (await asyncio.to_thread(self.ledger.traffic)).live
            await until(lambda live=live: self.ending or self.router.traffic.live == live)  # type: ignore[misc]
            self.report.swaps.append(time.perf_counter() - began)

    async def server(self) -> None:
        """The reconciler and the controller, cut off every few seconds and begun anew from the database."""
        while not self.ending:
            task = asyncio.create_task(self.keep())
            await asyncio.sleep(self.random.uniform(4.0, 8.0))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.report.restarts += 1

    async def keep(self) -> None:
        """Reconciles and judges, as every server on the database does."""
        reconciler = Reconciler(self.router, self.ledger, self.database, self.source, self.open, grace=2.0)
        judging = Controller(self.ledger, Harm(acceptance=1.0, errors=1.0, latency=1e9))
        await asyncio.gather(reconciler.run(), judging.run())

    async def other_server(self) -> None:
        """One more that keeps, in a process of its own: killed every few seconds, and started again."""
        command = ["-m", "benchmarks.rollout_soak", "--keep", str(self.root)]
        command += ["--releases", str(len(self.source.digests))]
        while not self.ending:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
            )
            try:
                if process.stdout is None or not await process.stdout.readline():
                    raise RuntimeError("the other server did not begin")
                await asyncio.sleep(self.random.uniform(2.0, 6.0))
            finally:
                process.kill()
                await process.wait()
            self.report.kills += 1

    async def run(
        self,
        seconds: float,
        victim: EngineProcess | None,
        enough: Callable[[Report], bool] = lambda _: True,
    ) -> Report:
        """Lets everybody go on for ``seconds``, and until there was ``enough``; ``victim`` is killed at a third."""
        await self.know(next(iter(self.urls())))
        server = asyncio.create_task(self.server())
        await until(lambda: any(replica.up for replica in self.router.fleet.replicas.values()))
        others = [asyncio.create_task(self.caller(number)) for number in range(self.streams)]
        others += [asyncio.create_task(self.team()), asyncio.create_task(self.other_server())]
        await asyncio.sleep(seconds / 3)
        if victim is not None:
            self.killed_at = time.perf_counter()
            kill(victim)
        await asyncio.sleep(2 * seconds / 3)
        await until(lambda: enough(self.report))
        self.ending = True
        await asyncio.gather(server, *others)
        await self.router.fleet.aclose()
        self.database.close()
        return self.report

    def urls(self) -> list[str]:
        """The replicas' addresses."""
        return [wanted.url for wanted in Replicas(self.database, self.ledger).all()]


def kill(process: EngineProcess) -> None:
    """Kills a replica with all its processes, as the kernel would for want of memory."""
    if process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once ``condition`` holds."""
    while not condition():  # noqa: ASYNC110  what it asks has no event
        await asyncio.sleep(0.02)


async def _keep(root: Path, releases: int) -> None:
    """The other server of a soak in the folder ``root``; says when it begins."""
    soak = Soak(root, (), releases, streams=0)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    await soak.keep()


async def _measure(seconds: float, streams: int, releases: int) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        async with replicas(Path(folder), 2) as processes:
            soak = Soak(Path(folder), [process.url for process in processes], releases, streams)
            return await soak.run(seconds, processes[1])


def main() -> None:
    """Runs it and writes the result; exit code 1 where a reply failed or mixed releases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--releases", type=int, default=8)
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.keep:
        asyncio.run(_keep(given.keep, given.releases))
        return
    report = asyncio.run(_measure(given.seconds, given.streams, given.releases))
    row = {
        "seconds": given.seconds,
        "streams": given.streams,
        "rollouts": report.rollouts,
        "server restarts": report.restarts,
        "servers killed": report.kills,
        "replies right": report.outcomes["right"],
        "mixed": report.outcomes["mixed"],
        "failed": report.outcomes["failed"],
        "cut with the killed replica": report.outcomes["cut with the killed replica"],
        **quantiles(report.waits, "reply s"),
    }
    write(
        "rollout_soak",
        f"python -m benchmarks.rollout_soak --seconds {given.seconds:g} --streams {given.streams}",
        [row],
        note="Two replicas, one killed and restarted, releases coming and going; each reply against its release's own.",
    )
    if report.outcomes["mixed"] or report.outcomes["failed"]:
        raise SystemExit("\n".join(report.faults[:20]))


if __name__ == "__main__":
    main()
