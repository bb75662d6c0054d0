"""`sotto device tune|prompt|adapter`: the personal pair, learned from this device's store and kept beside it.

Nothing of it leaves the device but what ``prompt`` and ``adapter`` write where the person wants it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli.output import failure, print_facts, print_json, progress_bars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistant.settings import Settings
    from federation.device.dual import Personal
    from federation.device.experience import Experience
    from federation.device.limits import Limits
    from federation.device.personal import Outcome
    from federation.releases.verify import Release
    from federation.rounds.trainer import TrainConfig
    from retrieval.item import Item

Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Release_ = Annotated[
    str | None,
    typer.Option(
        "--release", metavar="REFERENCE|FOLDER", help="Release to stand on; the base model alone without.",
        show_default=False,
    ),
]  # fmt: skip
Model = Annotated[str | None, typer.Option(help="Base model; SOTTO_MODEL by default.", show_default=False)]


def home_of(home: Path | None) -> Path:
    """The folder of all state in force."""
    from assistant.settings import Settings

    return (home or Settings().home).expanduser()


def tune(
    release: Release_ = None,
    rank: Annotated[int, typer.Option(min=1, max=64, help="Rank of the personal LoRA.")] = 4,
    alpha: Annotated[float, typer.Option(min=0.001, help="Alpha of the personal LoRA.")] = 8.0,
    soft_prompt: Annotated[int, typer.Option(min=0, max=64, help="Tokens of the personal soft prompt.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")] = 60,
    batch: Annotated[int, typer.Option(min=1, help="Choices in a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Of AdamW.")] = 1e-3,
    replies: Annotated[float, typer.Option(min=0, help="What a liked reply weighs beside choices.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds at a time; the next call goes on.")] = 600.0,
    memory: Annotated[int, typer.Option(min=1, help="MiB that the whole process may hold.")] = 2048,
    idle: Annotated[bool, typer.Option("--when-idle/--now", help="Only while the machine is idle, or now.")] = True,
    on_battery: Annotated[bool, typer.Option("--on-battery", help="Also without mains.")] = False,
    model: Model = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Train the personal pair from this device's store, and keep it where it ranks better than without it."""
    from federation.device.limits import Limits
    from federation.rounds.trainer import TrainConfig

    config = TrainConfig(0, seed, frozenset({"A", "B", "prompt"}), alpha / rank, steps, batch, learning_rate)
    limits = Limits(seconds, memory, idle_only=idle, on_battery=on_battery)
    with _told(), _going_on():
        settings = _settings(home, model)
        _permitted(limits)
        outcome = _tuned(settings, release, config, limits, rank, soft_prompt, replies)
    if as_json:
        print_json({"steps": outcome.steps, "stopped": outcome.stopped, "personal": _about(outcome.personal)})
    else:
        typer.echo(_said(outcome, steps))


def prompt(as_json: Json = False, home: Home = None) -> None:
    """Write the personal soft prompt as the numbers that a chat request takes as `soft_prompt`."""
    personal = with_soft_prompt(home)
    if as_json:
        print_json({"soft_prompt": rows(personal)})
    else:
        print_facts({**facts(_about(personal)), "numbers": "`sotto device prompt --json`, for a request's soft_prompt"})


def adapter(
    folder: Annotated[Path, typer.Argument(help="Where to put it; it must not exist.", show_default=False)],
    release: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE|FOLDER", help="The release it stands on; from the registry without.", show_default=False
        ),
    ] = None,
    model: Model = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write the shared and the personal pair as one adapter, as PEFT and vLLM load it, for its owner alone."""
    from assistant.engine.model import find_model
    from federation.device.dual import write_adapter
    from federation.releases.base import read_base

    with _told():
        settings, personal = _settings(home, model), _kept(home)
        base, ground = read_base(find_model(settings.model)), personal.ground
        if base.digest != ground.base:
            raise failure("The personal pair was made for another base model: name it with --model.")
        if ground.release is None or ground.cohort is None:
            shape = write_adapter(folder, personal, base)
        else:
            found = _release(settings, release or ground.release)
            if found.digest != ground.release:
                raise failure(f"The personal pair was made for the release {ground.release}, not {found.digest}.")
            shape = write_adapter(folder, personal, base, found.cohorts[ground.cohort], found.manifest.lora)
    if as_json:
        print_json({"folder": str(folder), "rank": shape.rank})
    else:
        typer.echo(f"Wrote one adapter of rank {shape.rank} to {folder}.")


def status(home: Path) -> dict[str, Any] | None:
    """What is known of the personal pair in ``home``, or None where there is none; ``error`` where it is damaged."""
    if not _files_there(home):
        return None
    from federation.device.dual import PersonalFiles
    from federation.device.files import DamagedFile

    try:
        return _about(PersonalFiles.at_home(home).load())
    except DamagedFile as error:
        return {"error": str(error)}


def facts(about: Mapping[str, Any] | None) -> dict[str, str]:
    """``about``, see `status`, for people."""
    if about is None:
        return {"personal pair": "none: `sotto device tune` trains one"}
    if "error" in about:
        return {"personal pair": about["error"]}
    ground = about["release"] and f"release {about['release'][:12]}, cohort {about['cohort']}"
    return {
        "personal pair": f"rank {about['rank']}, {about['tokens']} tokens, {about['step']} steps",
        "made for": ground or f"the base model {about['base'][:12]}",
        "validation loss": f"{about['loss']:.3f} with it, {about['without']:.3f} without, "
        f"{about['prompt_loss']:.3f} with its soft prompt alone",
    }


def with_soft_prompt(home: Path | None) -> Personal:
    """The personal pair in ``home``, told where its soft prompt is of no use alone; failure where it has none."""
    with _told():
        personal = _kept(home)
        if not personal.tokens:
            raise failure("The personal pair has no soft prompt: train one with `sotto device tune --soft-prompt 4`.")
    if not personal.prompt_loss < personal.without:
        typer.echo("sotto: without the personal LoRA, this soft prompt ranks no better than none.", err=True)
    return personal


def rows(personal: Personal) -> list[list[float]]:
    """The soft prompt of ``personal``, as a chat request takes it."""
    from federation.tensors import SOFT_PROMPT

    numbers: list[list[float]] = personal.tensors[SOFT_PROMPT].tolist()
    return numbers


def forget(home: Path) -> bool:
    """Deletes the personal pair and its training's file; whether there was anything."""
    if not _files_there(home):
        return False
    from federation.device.dual import PersonalFiles

    return PersonalFiles.at_home(home).delete()


def _permitted(limits: Limits) -> None:
    from federation.device.limits import may_train

    if reason := may_train(limits):
        granted = "--now, --on-battery and --memory grant more."
        raise failure(f"Training may not start now: {reason}. {granted}")


def _tuned(
    settings: Settings, release: str | None, config: TrainConfig, limits: Limits, rank: int, tokens: int, replies: float
) -> Outcome:
    from assistant.engine.model import find_model
    from federation.device.dual import Ground, PersonalFiles
    from federation.device.experience import lessons
    from federation.device.personal import VALIDATIONS, settle, train_personal
    from federation.device.tuner import Tuner
    from federation.lora import LoraShape
    from federation.releases.base import read_base

    experience, items = _experience(settings.home)
    found = lessons(experience, items, "own", [config.seed, 0], validations=VALIDATIONS)
    folder = find_model(settings.model)
    base = read_base(folder).digest
    with progress_bars() as (_, step):
        own = LoraShape(rank, config.scale * rank)
        if release is None:
            tuner, ground = Tuner(folder, own, tokens, replies=replies), Ground(base)
        else:
            shared = _release(settings, release)
            if shared.manifest.base.digest != base:
                raise failure("The release was made for another base model: name it with --model.")
            width = shared.manifest.soft_prompts["global"]
            tuner = Tuner(folder, shared.manifest.lora, width, replies=replies)
            ground = Ground(base, shared.digest, settle(tuner, shared.cohorts, found.validations))
            tuner.stack(LoraShape(rank, own.alpha, shared.manifest.lora.targets), tokens)
        files = PersonalFiles.at_home(settings.home)
        return train_personal(
            tuner, found, ground, config, files, limits, lambda done: step("training", done, config.steps)
        )


def _experience(home: Path) -> tuple[Experience, dict[str, Item]]:
    from federation.device.experience import Experience
    from federation.device.store import EventStore
    from retrieval.bundled import open_catalogue

    with EventStore.at_home(home) as store, open_catalogue(home) as catalogue:
        return Experience.of(store), {item.id: item for item in catalogue}


def _release(settings: Settings, reference: str) -> Release:
    from federation.releases.registry import Registry
    from federation.releases.verify import verify

    folder = Path(reference)
    if folder.is_dir():
        return verify(folder)
    return Registry(settings.home, settings.mlflow_uri).fetch(reference)


def _settings(home: Path | None, model: str | None = None) -> Settings:
    from assistant.settings import Settings

    settings = Settings()
    return settings.model_copy(update={"home": home_of(home), "model": model or settings.model})


def _kept(home: Path | None) -> Personal:
    from federation.device.dual import PersonalFiles

    personal = PersonalFiles.at_home(home_of(home)).load()
    if personal is None:
        raise failure("There is no personal pair yet: `sotto device tune` trains one.")
    return personal


def _files_there(home: Path) -> bool:
    # Without what reads them: `status` and `delete` need no numbers where there are none.
    from federation.device.store import PERSONAL_PATH

    folder = home / PERSONAL_PATH
    return folder.is_dir() and any(folder.iterdir())


def _about(personal: Personal | None) -> dict[str, Any] | None:
    if personal is None:
        return None
    figures = {name: getattr(personal, name) for name in ("step", "loss", "without", "prompt_loss", "tokens")}
    return {"rank": personal.shape.rank, "alpha": personal.alpha, **figures, **asdict(personal.ground)}


def _said(outcome: Outcome, steps: int) -> str:
    if outcome.stopped is not None:
        return (
            f"Stopped after {outcome.steps} of {steps} steps: {outcome.stopped}. "
            "What was done is kept; the same command goes on."
        )
    if outcome.personal is None:
        return f"After {steps} steps nothing ranks better than without a personal pair: none is kept."
    personal = outcome.personal
    return (
        f"The personal pair is kept: validation loss {personal.loss:.3f} with it, {personal.without:.3f} without "
        f"({personal.step} of {steps} steps)."
    )


@contextmanager
def _going_on() -> Iterator[None]:
    """Ctrl-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("sotto: stopped; the same command goes on from what was last kept.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong as a message, and exit code 1."""
    from assistant.errors import SottoError
    from federation.device.store import StoreError
    from federation.releases.errors import ReleaseError
    from retrieval.database import CatalogueError

    try:
        yield
    except (SottoError, StoreError, CatalogueError, ReleaseError, ValueError, OSError) as error:
        raise failure(error) from None
