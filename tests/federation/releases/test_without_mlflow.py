"""A device reads releases without MLflow or vLLM being there."""

from __future__ import annotations

import subprocess
import sys

import pytest

READS = """
import sys
for name in ("mlflow", "vllm", "flwr"):
    sys.modules[name] = None
from federation.releases import base, diff, package, registry, store, verify
from pathlib import Path
print(verify.verify(Path(sys.argv[1])).digest)
"""


@pytest.fixture
def release(tmp_path):
    from tests.federation.releases.making import make

    return tmp_path / "release", make(tmp_path / "release").digest


def test_reading_a_release_imports_neither(release):
    folder, digest = release
    answer = subprocess.run([sys.executable, "-c", READS, folder], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest
