"""Holds a fixed conversation of ten turns with the bundled model and prints it; ``--write`` puts it into README.md.

What is printed is what Sotto answered: the first answer to each message, nothing chosen.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import httpx

from benchmarks.served import ROOT, served

MESSAGES = (
    "hi there",
    "I'd like a scary science fiction film, something like Alien",
    "something older please",
    "who directed the first one?",
    "why that one?",
    "not the second one, and nothing too violent",
    "forget all that. a funny french film",
    "I've already seen Amélie. got anything else?",
    "what's the weather in Paris?",
    "thanks, bye!",
)
SEED = 7
MARK = re.compile(r"(?<=<!-- transcript -->\n).*?(?=\n## )", re.DOTALL)


def converse(url: str) -> list[tuple[str, str, list[str]]]:
    """Each message with the reply and the labels of what was recommended."""
    messages: list[dict[str, str]] = []
    turns = []
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        for message in MESSAGES:
            messages.append({"role": "user", "content": message})
            answer = client.post("/v1/chat/completions", json={"model": "sotto", "messages": messages, "seed": SEED})
            body = answer.raise_for_status().json()
            reply = body["choices"][0]["message"]["content"]
            shown = [f"{one['title']} ({one['year']})" for one in body["recommendations"]]
            turns.append((message, reply, shown))
            messages.append({"role": "assistant", "content": reply})
    return turns


def as_markdown(turns: list[tuple[str, str, list[str]]]) -> str:
    """The conversation as a block quote."""
    lines = []
    for message, reply, shown in turns:
        cards = f"  \n> *[{' · '.join(shown)}]*" if shown else ""
        lines.append(f"> **You:** {message}\n>\n> **Sotto:** {' '.join(reply.split())}{cards}\n>")
    return "\n".join(lines).removesuffix("\n>")


def main() -> None:
    """Runs the conversation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into README.md")
    parser.add_argument("--url", help="a running Sotto; by default one is started")
    options = parser.parse_args()
    if options.url:
        text = as_markdown(converse(options.url))
    else:
        with served() as (url, _, _):
            text = as_markdown(converse(url))
    print(text)
    if options.write:
        readme = Path(ROOT) / "README.md"
        intro = f"\nTen turns with the bundled model as they came (`python -m benchmarks.transcript`, seed {SEED}):\n\n"
        readme.write_text(MARK.sub(lambda _: f"{intro}{text}\n", readme.read_text("utf-8"), count=1), "utf-8")


if __name__ == "__main__":
    main()
