"""What it takes to change the release that answers, on one real vLLM under streams, and what the other ways take.

python -m benchmarks.swap --swaps 500

Sotto's way: each release is loaded under a new name, warmed up, routed to, and its forerunner drained and unloaded.
Beside it, on the same machine in the same run: restarting vLLM with the new adapter, and vLLM's own load in place,
which swaps weights under the replies that are being written.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from assistant.engine.adapters import Adapters
from assistant.engine.command import environment, serve_command
from assistant.engine.gateway import Sampling, VllmEngine
from assistant.engine.model import context_length
from assistant.engine.process import EngineProcess
from assistant.rollout.ledger import Plan
from assistant.rollout.reconcile import Reconciler
from assistant.settings import STARTER_PATH
from benchmarks.report import Row, quantiles, write
from benchmarks.rollout_soak import LORA, WHO, Soak, replicas, until
from benchmarks.served import free_port

REPLY = Sampling(max_tokens=24)
STREAMS = 4


async def swap_times(soak: Soak, adapters: Adapters, swaps: int, memory: Callable[[], float]) -> list[Row]:
    """Loads the next release and unloads the last, again and again; memory in MB after each tenth of it."""
    loads, unloads, kept = [], [], [memory()]
    before: str | None = None
    for number in range(swaps):
        digest = soak.source.digests[number]
        started = time.perf_counter()
        await adapters.load(digest)
        loads.append(time.perf_counter() - started)
        started = time.perf_counter()
        if before is not None:
            await adapters.unload(before)
            unloads.append(time.perf_counter() - started)
        before = digest
        if (number + 1) % max(1, swaps // 10) == 0:
            kept.append(memory())
    if before is not None:
        await adapters.unload(before)
    ms = ([1000 * value for value in times] for times in (loads, unloads))
    rows: list[Row] = [
        {"table": "one swap", "step": step, "n": len(times), **quantiles(times, "ms", 1)}
        for step, times in zip(("load, verify, warm up", "unload"), ms, strict=True)
    ]
    # The first tenth fills vLLM's own store of adapters.
    rows.append(
        {
            "table": f"memory of vLLM over {swaps} swaps, MB",
            "before": round(kept[0]),
            "after a tenth": round(kept[1]),
            "half way": round(kept[len(kept) // 2]),
            "at the end": round(kept[-1]),
        }
    )
    return rows


async def throughput(soak: Soak, engine: VllmEngine, adapters: Adapters, seconds: float, rounds: int) -> Row:
    """Tokens a second of `STREAMS` streams on one release, undisturbed and while others come and go, in turns."""
    held, *others = soak.source.digests[: 1 + 16]
    await adapters.load(held)
    written = 0

    async def stream(deadline: float) -> None:
        nonlocal written
        with adapters.policy(held) as policy:
            while time.perf_counter() < deadline:
                said = await engine.complete(
                    soak.prompt, model=policy.model, sampling=REPLY, soft_prompt=policy.soft_prompt
                )
                written += said.usage.completion_tokens

    async def come_and_go(deadline: float) -> None:
        while time.perf_counter() < deadline:
            for digest in others:
                if time.perf_counter() < deadline:
                    await adapters.load(digest)
                    await adapters.unload(digest)

    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for disturbed in (False, True):
            written, started = 0, time.perf_counter()
            deadline = started + seconds
            work = [stream(deadline) for _ in range(STREAMS)]
            await asyncio.gather(*work, *([come_and_go(deadline)] if disturbed else []))
            rates[disturbed].append(written / (time.perf_counter() - started))
    await adapters.unload(held)
    calm, busy = (sum(rates[disturbed]) / rounds for disturbed in (False, True))
    return {
        "table": f"throughput of {STREAMS} streams",
        "undisturbed, tokens/s": round(calm, 1),
        "during swaps without pause, tokens/s": round(busy, 1),
        "ratio": round(busy / calm, 3),
    }


async def promotions(soak: Soak, count: int, url: str) -> list[Row]:
    """From the call of `promote` to the end of the first reply on the new release, under streams."""
    reconciler = Reconciler(soak.router, soak.ledger, soak.database, soak.source, soak.open, own=url, grace=2.0)
    loop = asyncio.create_task(reconciler.run())
    first: dict[str, float] = {}
    ending = False

    async def caller(number: int) -> None:
        while not ending:
            with soak.router.route(f"{number}") as route:
                begun = False
                stream = soak.router.fleet.generate(
                    soak.prompt, model=route.voice.model, sampling=REPLY, soft_prompt=route.voice.soft_prompt
                )
                async for _ in stream:
                    if not begun and route.release:
                        first.setdefault(route.release, time.perf_counter())
                    begun = True

    await until(lambda: any(replica.up for replica in soak.router.fleet.replicas.values()))
    callers = [asyncio.create_task(caller(number)) for number in range(STREAMS)]
    times: dict[str, list[float]] = {"held already (a canary)": [], "not held yet": []}
    for number in range(2 * count):
        name = list(times)[number % 2]
        digest = soak.source.digests[number]
        # A share so small that none of the callers is in the canary.
        await asyncio.to_thread(soak.ledger.start, digest, Plan((1e-6, 100.0), manual=True), WHO, "")
        if name.startswith("held"):
            await until(lambda digest=digest: digest in soak.router.fleet.routable)
        started = time.perf_counter()
        await asyncio.to_thread(soak.ledger.promote, WHO, "")
        await until(lambda digest=digest: digest in first)
        times[name].append(first[digest] - started)
    ending = True
    await asyncio.gather(*callers)
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop
    return [
        {"table": "from promote to the first token on the new release", "release": name, "n": len(found),
         **quantiles(found, "s")}
        for name, found in times.items()
    ]  # fmt: skip


async def restarts(soak: Soak, root: Path, count: int) -> Row:
    """Starting vLLM anew with the adapter on its command line, to its first reply."""
    times = []
    for number in range(count):
        port = free_port()
        soak.source.fetch(soak.source.digests[number])
        folder = soak.source.store.get(soak.source.digests[number]).adapter("global")
        command = serve_command(STARTER_PATH, port, context=context_length(STARTER_PATH), lora_rank=LORA.rank)
        command += ["--lora-modules", f"new={folder}"]
        process = EngineProcess(command, port, root / f"restart-{number}", variables=environment(lora_rank=LORA.rank))
        started = time.perf_counter()
        try:
            await process.start()
            await process.wait_ready()
            engine = soak.open(process.url).engine
            await engine.complete(soak.prompt, model="new", sampling=Sampling(max_tokens=1))
            times.append(time.perf_counter() - started)
            await engine.aclose()
        finally:
            await process.stop()
    return {"table": "restarting vLLM with the new adapter", "n": count, **quantiles(times, "s", 1)}


async def in_place(soak: Soak, engine: VllmEngine, url: str, swaps: int) -> Row:
    """vLLM's own way: the same name gets other weights while replies are being written under it."""
    alone: dict[str, str] = {}
    folders = [soak.source.store.get(digest).adapter("global") for digest in soak.source.digests[:2]]
    times: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def load(folder: Path) -> None:
            body = {"lora_name": "inplace", "lora_path": str(folder), "load_inplace": True}
            started = time.perf_counter()
            (await client.post("/v1/load_lora_adapter", json=body)).raise_for_status()
            times.append(time.perf_counter() - started)

        async def say() -> str:
            return (await engine.complete(soak.prompt, model="inplace", sampling=REPLY)).text

        for folder in folders:
            await load(folder)
            # A fresh name for the truth: under the old one, the prefix cache still answers for the other weights.
            name = f"alone-{len(alone)}"
            await engine.load_adapter(name, folder)
            alone[name] = (await engine.complete(soak.prompt, model=name, sampling=REPLY)).text
        replies: list[str] = []
        ending = False

        async def caller() -> None:
            while not ending:
                replies.append(await say())

        callers = [asyncio.create_task(caller()) for _ in range(STREAMS)]
        times.clear()
        for number in range(swaps):
            await load(folders[number % 2])
            await asyncio.sleep(0.05)
        ending = True
        await asyncio.gather(*callers)
    mixed = sum(reply not in alone.values() for reply in replies)
    return {
        "table": "vLLM's load in place",
        "n": swaps,
        **quantiles([1000 * value for value in times], "ms", 1),
        "replies": len(replies),
        "that are neither release's": mixed,
    }


def resident(pid: int) -> float:
    """Memory in MB that the process and its children hold."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / 2**20


async def measure(swaps: int, promoted: int, seconds: float, restarted: int) -> Sequence[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        async with replicas(root, 1) as (process,):
            soak = Soak(root, [process.url], max(swaps, 2 * promoted, 20), STREAMS)
            replica = soak.open(process.url)
            adapters = replica.adapters
            if adapters is None or process.pid is None:
                raise RuntimeError("the replica serves no adapters")
            pid = process.pid
            rows = [await throughput(soak, replica.engine, adapters, seconds, 3)]
            rows += await swap_times(soak, adapters, swaps, lambda: resident(pid))
            rows.append(await in_place(soak, replica.engine, process.url, 60))
            # Last: its reconciler clears the store of what is not wanted.
            rows += await promotions(soak, promoted, process.url)
            await replica.engine.aclose()
            await soak.router.fleet.aclose()
        rows.append(await restarts(soak, root, restarted))
        soak.database.close()
    return rows


def main() -> None:
    """Runs it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=500)
    parser.add_argument("--promotions", type=int, default=20, help="of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stretch of throughput")
    parser.add_argument("--restarts", type=int, default=3)
    given = parser.parse_args()
    write(
        "swap",
        f"python -m benchmarks.swap --swaps {given.swaps}",
        asyncio.run(measure(given.swaps, given.promotions, given.seconds, given.restarts)),
        note=f"The starter model on one vLLM, releases of rank {LORA.rank} with a soft prompt of 4 tokens, "
        f"replies of {REPLY.max_tokens} tokens.",
    )


if __name__ == "__main__":
    main()
