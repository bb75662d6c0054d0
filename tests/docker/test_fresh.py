"""Runs the CPU image's own install steps in a fresh environment: minutes and gigabytes, so only by ``-m fresh``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.dockerfile import Stage
from tests.docker.test_images import ROOT, context, final_stage, read

pytestmark = [pytest.mark.fresh, pytest.mark.timeout(3600)]


class Replay:
    """A folder in which a stage's steps run as they would in a container, with /opt and /data inside that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        python = folder / "usr" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(Path(sys.base_prefix) / "bin" / "python3")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SOTTO_", "PYTHON", "VIRTUAL_"))
        }
        self.environment = {**kept, "PATH": f"{python.parent}:/usr/bin:/bin"}
        self.directory = folder

    def inside(self, text: str) -> str:
        return text.replace("/opt/", f"{self.folder}/opt/").replace("/data", f"{self.folder}/data")

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, f"{command}: {answer.stdout[-3000:]}{answer.stderr[-3000:]}"
        return answer

    def take(self, stage: Stage) -> None:
        """Every step that a plain folder can hold; Debian's packages and the user stay out."""
        for name, text in stage.steps:
            if name == "WORKDIR":
                self.directory = Path(self.inside(text))
                self.directory.mkdir(parents=True, exist_ok=True)
            elif name == "ENV":
                for variable, value in stage.environment_of(text).items():
                    self.environment[variable] = self.inside(value).replace("$PATH", self.environment["PATH"])
            elif name == "COPY" and not text.startswith("--from"):
                self._copy(text.split())
            elif name == "RUN" and "apt-get" not in text:
                self.run(
                    ["/bin/sh", "-ec", self.inside(text.removeprefix("--mount=type=cache,target=/root/.cache/pip "))]
                )

    def _copy(self, words: list[str]) -> None:
        *names, _ = words
        for name in context(ROOT) if names == ["."] else names:
            place = self.directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> Iterator[Replay]:
    if "fresh" not in request.config.option.markexpr:
        pytest.skip("installs gigabytes; ask for it with -m fresh")
    with tempfile.TemporaryDirectory(prefix="sotto-image-") as folder:
        replay = Replay(Path(folder))
        for stage in read(ROOT / "docker" / "cpu.Dockerfile"):
            replay.take(stage)
        yield replay


def test_the_entry_point_is_installed(image):
    assert image.run([*final_stage("cpu").program("ENTRYPOINT")[2:], "--version"]).stdout.startswith("sotto ")


def test_the_code_is_what_was_copied(image):
    where = image.run(["python", "-P", "-c", "import assistant.cli.up; print(assistant.cli.up.__file__)"]).stdout
    assert where.strip() == f"{image.folder}/opt/sotto/assistant/cli/up.py"


def test_the_engine_and_the_search_load(image):
    image.run(["python", "-P", "-c", "import faiss, sentence_transformers, vllm.engine.arg_utils"])
