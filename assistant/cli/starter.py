"""`sotto starter`: trains and inspects the bundled base model."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train and inspect the bundled starter model.", no_args_is_help=True)


@app.command()
def train(
    work: Annotated[
        Path, typer.Option(help="Folder for the tokenizer, checkpoints and the log; a run resumes from it.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the finished model; WORK/model by default.")] = None,
    facts: Annotated[Path | None, typer.Option(help="JSON Lines of film facts (title, year, cast, genres).")] = None,
    dialogues: Annotated[Path | None, typer.Option(help="ReDial training dialogues (JSON Lines).")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Model folder whose weights and tokenizer a new run begins with.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 1500,
    seed: Annotated[int, typer.Option(help="Seed of weights and corpus.")] = 7,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all cores.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    hidden: Annotated[int, typer.Option(help="Hidden size.")] = 256,
    layers: Annotated[int, typer.Option(help="Layers.")] = 6,
) -> None:
    """Train the starter model from generated text, resuming from WORK where a run was interrupted."""
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from assistant.starter.recipe import prepare_corpus
    from assistant.starter.train import Recipe, export
    from assistant.starter.train import train as run

    if threads:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    recipe = Recipe(steps=steps, seed=seed, hidden_size=hidden, layers=layers)
    with console.status("Preparing films, tokenizer and corpus"):
        corpus = prepare_corpus(work, facts=facts, dialogues=dialogues, seed=seed, start=start)
    log = work / "log.jsonl"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar, log.open("a", encoding="utf-8") as lines:
        task = bar.add_task("training", total=steps)

        def progress(step: int, losses: dict[str, float]) -> None:
            shown = " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            bar.update(task, completed=step, description=shown)
            lines.write(json.dumps({"step": step, "time": round(time.time(), 1), **losses}) + "\n")
            lines.flush()

        model = run(corpus, recipe, work, progress, start=start, device=device)
    folder = out or work / "model"
    export(model.cpu(), corpus.tokenizer, folder)
    console.print(f"Saved the model to {folder}")
