"""`sotto release`: what is in the registry, what a release is, whether every byte of it is in order.

REFERENCE is a release's digest, the beginning of one (6 digits or more), its number (v3) or an alias.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cli.output import failure, plainly, print_facts, print_json

if TYPE_CHECKING:
    from federation.releases.diff import ReleaseDiff
    from federation.releases.registry import Registered, Registry
    from federation.releases.verify import Release

app = typer.Typer(help="List, show, compare, verify and move releases of adapters.", no_args_is_help=True)

_SHOWN = 12
"""Digits of a digest in tables."""

Home = Annotated[Path | None, typer.Option(help="Folder of all state; SOTTO_HOME by default.", show_default=False)]
Name = Annotated[str, typer.Option(help="Name of the releases in the registry.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Reference = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="A digest or its beginning, v3, or an alias.", show_default=False)
]


@app.command("list")
def list_(name: Name = "sotto", as_json: Json = False, home: Home = None) -> None:
    """List the releases, the latest first."""
    with _registry(home, name) as registry:
        found = registry.all()
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        _print_list(found)
    else:
        typer.echo("There are no releases yet: `sotto round run` makes one.", err=True)


@app.command()
def show(reference: Reference, name: Name = "sotto", as_json: Json = False, home: Home = None) -> None:
    """Show what a release is made of and what it came from."""
    with _registry(home, name) as registry:
        registered, release = registry.find(reference), registry.fetch(reference)
    if as_json:
        manifest = release.manifest.model_dump(mode="json")
        print_json({**asdict(registered), "folder": str(release.folder), "manifest": manifest})
    else:
        print_facts(_facts(registered, release))


@app.command("diff")
def diff_(
    before: Reference,
    after: Annotated[str, typer.Argument(metavar="REFERENCE", help="What to compare with it.", show_default=False)],
    name: Name = "sotto",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Compare two releases: what they are made of, and how far each part moved."""
    from federation.releases.diff import diff

    with _registry(home, name) as registry:
        found = diff(registry.fetch(before), registry.fetch(after))
    if as_json:
        print_json({**asdict(found), "facts": {key: list(values) for key, values in found.facts.items()}})
    else:
        _print_diff(found)


@app.command()
def verify(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE|FOLDER", help="A release, or a folder of one.", show_default=False)
    ],
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the base model it must fit.", exists=True, file_okay=False, show_default=False),
    ] = None,
    name: Name = "sotto",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Check every byte of a release. Exit code 1, with the reason, where one is not in order."""
    from federation.releases.base import read_served
    from federation.releases.verify import Limits
    from federation.releases.verify import verify as check

    with _registry(home, name, as_json=as_json) as registry:
        folder = Path(reference)
        # A folder that carries a digest as its name must be that release.
        digest, folder = (_named(folder), folder) if folder.is_dir() else _fetched(registry, reference)
        served = None if base is None else read_served(base)
        release = check(folder, Limits(), digest=digest, served=served)
    checked = {"digest": release.digest, "files": len(release.manifest.files) + 1, "folder": str(folder)}
    if as_json:
        print_json({"ok": True, **checked})
    else:
        print(f"The release {release.digest} is in order: {checked['files']} files in {folder}.")


@app.command()
def export(
    reference: Reference,
    folder: Annotated[Path, typer.Argument(help="Where to put it; it must not exist.", show_default=False)],
    name: Name = "sotto",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Copy a release to a folder, as PEFT and vLLM load it."""
    from federation.releases.store import Store

    if folder.exists():
        raise failure(f"{folder} is there already, and nothing is written over: choose another folder.")
    with _registry(home, name) as registry:
        release = registry.fetch(reference)
        with Store(folder.absolute().parent).draft() as draft:
            shutil.copytree(release.folder, draft / release.digest)
            (draft / release.digest).rename(folder)
    if as_json:
        print_json({"digest": release.digest, "folder": str(folder)})
    else:
        print(f"The release {release.digest} is in {folder}.")


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a release.", exists=True, file_okay=False, show_default=False)
    ],
    name: Name = "sotto",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Verify the release in a folder and register it; nothing happens where it is registered already."""
    from federation.releases.verify import verify as check

    with _registry(home, name) as registry:
        check(folder, digest=_named(folder))
        registered = registry.register(folder)
    if as_json:
        print_json(asdict(registered))
    else:
        print(f"The release {registered.digest} is registered as v{registered.version} of {name}.")


@contextmanager
def _registry(home: Path | None, name: str, *, as_json: bool = False) -> Iterator[Registry]:
    """The registry in force; what goes wrong becomes a message and exit code 1."""
    from assistant.settings import Settings
    from federation.releases.errors import ReleaseError
    from federation.releases.registry import Registry

    settings = Settings()
    try:
        yield Registry(home or settings.home, settings.mlflow_uri, name)
    except (ReleaseError, OSError, ValueError) as error:
        if as_json:
            print_json({"ok": False, "error": type(error).__name__, "message": plainly(error)})
        raise failure(error) from None


def _named(folder: Path) -> str | None:
    from federation.releases.manifest import is_digest

    name = folder.absolute().name
    return name if is_digest(name) else None


def _fetched(registry: Registry, reference: str) -> tuple[str, Path]:
    release = registry.fetch(reference)
    return release.digest, release.folder


def _print_list(found: list[Registered]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("release", "number", "aliases", "registered", "parent", box=None, padding=(0, 2, 0, 0))
    for one in found:
        parent = one.parent[:_SHOWN] if one.parent else "–"
        cells = (one.digest[:_SHOWN], f"v{one.version}", " ".join(one.aliases), _when(one.created_at), parent)
        table.add_row(*map(Text, cells))
    Console().print(table)


def _facts(registered: Registered, release: Release) -> dict[str, str]:
    manifest = release.manifest
    prompts = {cohort: tokens for cohort, tokens in manifest.soft_prompts.items() if tokens}
    size = sum(file.size for file in manifest.files)
    facts = {
        "release": release.digest,
        "number": f"v{registered.version}",
        "aliases": " ".join(registered.aliases) or "none",
        "registered": _when(registered.created_at),
        "parent": manifest.parent or "none: its rounds began with the base model",
        "base model": f"{manifest.base.name}, {manifest.base.digest}",
        "LoRA": f"rank {manifest.lora.rank}, alpha {manifest.lora.alpha:g}, {', '.join(manifest.lora.targets)}",
        "cohorts": " ".join(release.cohorts),
        "soft prompts": ", ".join(f"{cohort} {tokens} tokens" for cohort, tokens in prompts.items()) or "none",
        "item vectors": f"{manifest.items.count:,} of {manifest.items.width}" if manifest.items else "none",
        "rounds": str(len(manifest.rounds)),
        "size": f"{size / 1e6:,.2f} MB in {len(manifest.files) + 1} files",
        "folder": str(release.folder),
    }
    last = manifest.rounds[-1] if manifest.rounds else {}
    return facts | {f"last round's {key}": _figure(value) for key, value in last.items() if not _nested(value)}


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print_diff(found: ReleaseDiff) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    print_facts(
        {
            "before": found.before,
            "after": found.after,
            **{key: f"{_figure(old)} → {_figure(new)}" for key, (old, new) in found.facts.items()},
        }
    )
    table = Table("cohort", "part", box=None, padding=(0, 2, 0, 0))
    for column in ("before", "after", "change", "cosine"):
        table.add_column(column, justify="right")
    for one in found.moved:
        norms = (f"{norm:.4g}" for norm in (one.before, one.after, one.change))
        cosine = "–" if one.cosine is None else f"{one.cosine:.4f}"
        table.add_row(*map(Text, (one.cohort, one.tensor.removeprefix("base_model.model."), *norms, cosine)))
    Console().print(table)


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
