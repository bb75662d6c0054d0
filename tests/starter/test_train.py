"""Training computes the loss it claims, and an interrupted run goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from assistant.starter.corpus import TASKS, Corpus, TaskName
from assistant.starter.losses import batch_losses
from assistant.starter.train import Recipe, export, new_model, train

SMALL = Recipe(
    hidden_size=64, layers=3, intermediate_size=64, heads=4, kv_heads=4, head_dim=48, steps=4, warmup=1,
    batch={"understand": 3, "rank": 2, "respond": 2},
)  # fmt: skip


@pytest.mark.parametrize("task", ["understand", "respond"])
def test_sharing_prefix_and_context_changes_nothing_about_the_loss(corpus: Corpus, task: TaskName) -> None:
    model = new_model(SMALL, corpus.tokenizer).eval()
    prefix, rows = corpus.prefix_ids(task), corpus.rows(task, 0, 3)
    shared = batch_losses(model, prefix, rows).answer
    losses = []
    for row in rows:
        for answer in row.answers:
            ids = torch.tensor([[*prefix, *row.context, *answer]])
            logits = model(input_ids=ids).logits[0, -len(answer) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, ids[0, -len(answer) :], reduction="none"))
    assert torch.allclose(shared, torch.cat(losses).mean(), atol=1e-4)


def test_a_choice_is_judged_at_its_end_and_each_candidate_at_its_label(corpus: Corpus) -> None:
    model, prefix = new_model(SMALL, corpus.tokenizer).eval(), corpus.prefix_ids("rank")
    row = next(row for row in corpus.rows("rank", 0, 2) if row.choice)
    choice = row.choice
    assert choice is not None
    assert [row.context[place] for place in choice.places] == list(choice.labels)
    logits = model(input_ids=torch.tensor([[*prefix, *row.context]])).logits[0, -1]
    wanted = torch.zeros_like(logits)
    wanted[list(choice.labels)] = torch.tensor(choice.target, dtype=torch.float32)
    divergence = torch.nn.functional.kl_div(logits.log_softmax(-1), wanted, reduction="sum")
    losses = batch_losses(model, prefix, [row])
    assert torch.allclose(losses.answer, divergence, atol=1e-4)
    probe = torch.nn.Linear(SMALL.hidden_size, 1)
    assert batch_losses(model, prefix, [row], probe=probe).total > losses.total


def test_a_run_begins_with_given_weights_where_it_has_no_state(corpus: Corpus, tmp_path: Path) -> None:
    export(new_model(SMALL, corpus.tokenizer), corpus.tokenizer, tmp_path / "start")
    nothing: Any = lambda step, losses: None  # noqa: E731
    same = train(corpus, replace(SMALL, steps=0), tmp_path / "work", nothing, start=tmp_path / "start")
    kept = Qwen3ForCausalLM.from_pretrained(tmp_path / "start", dtype=torch.float32)
    for name, weight in same.state_dict().items():
        assert torch.equal(weight, kept.state_dict()[name])


def test_of_a_start_of_another_shape_the_likenesses_of_tokens_are_kept(corpus: Corpus, tmp_path: Path) -> None:
    start = new_model(SMALL, corpus.tokenizer)
    with torch.no_grad():
        start.model.embed_tokens.weight[300] = start.model.embed_tokens.weight[301]
    export(start, corpus.tokenizer, tmp_path / "start")
    nothing: Any = lambda step, losses: None  # noqa: E731
    other = replace(SMALL, steps=0, hidden_size=96)
    weight = train(corpus, other, tmp_path / "work", nothing, start=tmp_path / "start").model.embed_tokens.weight
    assert weight.shape[1] == 96
    likeness = torch.nn.functional.cosine_similarity(weight[300], weight, dim=-1)
    assert likeness[301] > 0.99 > likeness[302]


def test_every_task_begins_with_its_system_message(corpus: Corpus) -> None:
    for task in TASKS:
        text = corpus.tokenizer.decode(corpus.prefix_ids(task))
        assert text.startswith("<|im_start|>system\n")
        assert text.rstrip().endswith("<|im_end|>")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of several threads come out by who was first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_run_cut_in_two_ends_as_an_undisturbed_one(corpus: Corpus, tmp_path: Path) -> None:
    quiet: Any = lambda step, losses: None  # noqa: E731
    whole = train(corpus, SMALL, tmp_path / "whole", quiet)

    class Cut(Exception):
        pass

    def cut(step: int, losses: dict[str, float]) -> None:
        if step == 3:
            raise Cut

    with pytest.raises(Cut):
        train(corpus, SMALL, tmp_path / "cut", cut, save_every_seconds=0.0)
    resumed = train(corpus, SMALL, tmp_path / "cut", quiet)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_an_exported_model_loads_in_bf16_safetensors(corpus: Corpus, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(new_model(SMALL, corpus.tokenizer), corpus.tokenizer, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template
