"""Times turns of a running Sotto: start-up, first byte of text, whole reply; one conversation at a time."""

from __future__ import annotations

import json
import platform
import time
from datetime import UTC, datetime

import httpx
import numpy as np

from benchmarks.served import served

MESSAGES = (
    "a funny western",
    "something like Alien but older",
    "a gentle French comedy from the 1960s",
    "korean thrillers",
    "a sad film about a lighthouse keeper",
)
ROUNDS = 6


def main() -> None:
    """Prints a Markdown table."""
    with served() as (url, _, ready), httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        first, whole = [], []
        for number in range(ROUNDS * len(MESSAGES)):
            message = {"role": "user", "content": MESSAGES[number % len(MESSAGES)]}
            body = {"model": "sotto", "messages": [message], "stream": True, "seed": number}
            started, text_at = time.perf_counter(), None
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                for line in answer.iter_lines():
                    if text_at is None and line.startswith("data: {") and _text(line):
                        text_at = time.perf_counter() - started
            if number >= len(MESSAGES):  # the first round warms up
                first.append(text_at or float("nan"))
                whole.append(time.perf_counter() - started)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.processor() or platform.machine()}, {len(whole)} turns\n")
    print("| | median s | p95 s |\n|---|---:|---:|")
    for name, values in (("first text", first), ("whole reply", whole)):
        print(f"| {name} | {np.median(values):.2f} | {np.percentile(values, 95):.2f} |")
    print(f"| start to ready | {ready:.1f} | |")


def _text(line: str) -> str:
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


if __name__ == "__main__":
    main()
