"""Reads Dockerfiles for the tests: instructions by stage, comments and line breaks taken away."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """The instructions between one FROM and the next, in order, as (NAME, text)."""

    source: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]

    def program(self, instruction: str) -> list[str]:
        """The words of an ENTRYPOINT, CMD or HEALTHCHECK; fails where they would go through a shell."""
        text = self.last(instruction)
        return json.loads(text[text.index("[") :])

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for text in self.all("ENV") for name, value in self.environment_of(text).items()}

    @staticmethod
    def environment_of(text: str) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in shlex.split(text))

    @property
    def files(self) -> list[str]:
        """What its COPYs take from the context, not from another stage."""
        copies = [shlex.split(text) for text in self.all("COPY")]
        return [name for words in copies if not words[0].startswith("--from") for name in words[:-1]]


def read(path: Path) -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            source, _, alias = rest.partition(" AS ")
            stages.append(Stage(source, alias))
        elif name and stages:
            stages[-1].steps.append((name, rest.strip()))
    return stages
