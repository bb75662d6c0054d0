"""`sotto device tune|prompt|adapter`: a person has their device learn, sees what came of it, and takes it with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assistant.api.schemas import ChatRequest
from assistant.cli.device import app
from assistant.engine.soft_prompts import Embeddings
from federation.device.base import Event
from federation.device.store import PERSONAL_PATH, STORE_PATH, EventStore
from federation.device.tuner import Tuner
from federation.lora import LoraShape
from federation.releases.base import read_base
from federation.releases.package import write_release
from retrieval.bundled import open_catalogue
from tests.federation.device.making import ITEMS, at_ease, history, random_like, tiny

SHORT = ["--now", "--on-battery", "--memory", 1 << 20, "--rank", 2, "--soft-prompt", 2, "--batch", 1]
SHORT += ["--steps", 5, "--learning-rate", 0.005]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    at_ease(monkeypatch)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("device"))


@pytest.fixture
def home(own_home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOTTO_MODEL", str(model))
    with open_catalogue(own_home) as catalogue:
        catalogue.replace(list(ITEMS.values())[:20])
    with EventStore.at_home(own_home) as store:
        store.add_events(history(count=5))
    return own_home


def sotto(*arguments: object, stdin: str | None = None) -> Result:
    result: Result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answer(*arguments: object) -> Any:
    result = sotto(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_pair_on_the_base_model_is_trained_shown_taken_along_and_deleted(home: Path, model: Path, tmp_path: Path):
    assert answer("status")["personal"] is None
    assert "no personal pair yet" in sotto("prompt").stderr
    found = answer("tune", *SHORT)
    personal = found["personal"]
    assert (found["steps"], found["stopped"], personal["base"]) == (5, None, read_base(model).digest)
    assert (personal["rank"], personal["tokens"], personal["release"]) == (2, 2, None)
    assert personal["loss"] < personal["without"]
    assert answer("status")["personal"] == personal
    table = sotto("status").stdout
    assert "rank 2, 2 tokens" in table
    assert f"{personal['loss']:.3f} with it, {personal['without']:.3f} without" in table

    numbers = answer("prompt")
    body = ChatRequest(model="sotto", messages=[{"role": "user", "content": "hi"}], **numbers)  # type: ignore[list-item]
    assert Embeddings.open(model).checked(body.soft_prompt).shape == (2, 64)

    out = tmp_path / "adapter"
    assert answer("adapter", out) == {"folder": str(out), "rank": 2}
    assert "File exists" in sotto("adapter", out).stderr

    assert "personal pair" in sotto("delete", stdin="n\n").stderr
    assert answer("status")["personal"] == personal
    assert answer("delete", "--yes")["personal"] is True
    assert not list((home / PERSONAL_PATH).iterdir())
    assert answer("status")["personal"] is None


def test_a_pair_on_a_release_names_it_and_is_one_adapter_with_it(home: Path, model: Path, tmp_path: Path):
    shape = LoraShape(2, 4.0)
    shared = random_like(Tuner(model, shape, 1).initial(0), 1, 0.1)
    release = write_release(tmp_path / "release", {"global": shared}, shape, read_base(model))
    stopped = answer("tune", *SHORT, "--release", tmp_path / "release", "--seconds", 0.1, "--steps", 10**6)
    assert stopped["personal"] is None
    assert "s are over" in stopped["stopped"]
    said = sotto("tune", *SHORT, "--release", tmp_path / "release").stdout
    assert "The personal pair is kept" in said
    personal = answer("status")["personal"]
    assert (personal["release"], personal["cohort"]) == (release.digest, "global")
    assert answer("adapter", tmp_path / "both", "--release", tmp_path / "release")["rank"] == 4
    assert (tmp_path / "both" / "soft_prompt.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--memory", 1 << 40], "MiB of memory are free and training may need"),
        ([*SHORT, "--release", Path(__file__).parent], "manifest.json"),
        ([*SHORT, "--model", "absent-model"], "no model absent-model"),
    ],
)
def test_why_it_may_not_start_is_told(home: Path, options: list[object], reason: str):
    result = sotto("tune", "--now", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr


def test_too_short_a_history_is_told(own_home: Path, model: Path):
    with EventStore.at_home(own_home) as store:
        store.add_event(Event(0.0, "alien-1979"))
    result = sotto("tune", *SHORT, "--model", model)
    assert (result.exit_code, "it needs three" in result.stderr) == (1, True)


def test_delete_works_on_a_damaged_store(home: Path):
    folder = home / PERSONAL_PATH
    folder.mkdir()
    (folder / "pair.json").write_text("{")
    assert "is damaged" in answer("status")["personal"]["error"]
    path = home / STORE_PATH
    path.write_text("I cried at the ending" * 200)
    assert sotto("delete", stdin="n\n").exit_code == 1
    assert path.exists()
    result = sotto("delete", "--yes")
    assert (result.exit_code, result.stdout) == (0, "Deleted the damaged store and the personal pair.\n")
    assert f"{path} is damaged" in result.stderr
    assert not any(path.is_file() for path in (home / "device").rglob("*"))
    assert answer("status")["counts"]["events"] == 0
