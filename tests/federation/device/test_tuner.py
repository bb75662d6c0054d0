"""The tuner learns, changes what it may and nothing else, and is the same again for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from federation.device.examples import NO_WISH, ReplyExample, choices
from federation.device.experience import Experience
from federation.device.limits import Limits
from federation.device.records import Reply
from federation.device.training import LocalTrainer, quality
from federation.device.tuner import Batch, Tuner
from federation.lora import LoraShape
from federation.rounds.trainer import Refused, TrainConfig
from federation.tensors import SOFT_PROMPT, Part, Tensors, pairs, part
from tests.federation.device.making import ITEMS, at_ease, history, tiny

LORA = LoraShape(4, 8.0)
EXAMPLES = choices(history(), ITEMS, [0], negatives=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tuner"))


@pytest.fixture(scope="module")
def tuner(folder: Path) -> Tuner:
    return Tuner(folder, LORA, tokens=2)


def config(*parts: Part, **changes: float) -> TrainConfig:
    given = {"number": 1, "seed": 0, "scale": LORA.scale, "steps": 6, "batch": 3, "learning_rate": 0.02, **changes}
    return TrainConfig(parts=frozenset(parts or ("A", "B", "prompt")), **given)  # type: ignore[arg-type]


def loss(tuner: Tuner) -> float:
    return float(np.mean([quality(tuner.log_probabilities(one), one.chosen)[0] for one in EXAMPLES]))


def trained(tuner: Tuner, start: Tensors, given: TrainConfig, seed: int = 0) -> dict[str, np.ndarray]:
    tuner.put(start)
    tuner.train(EXAMPLES, given, [seed])
    return tuner.taken()


def test_a_new_adapter_without_soft_prompt_changes_nothing(folder: Path):
    plain = Tuner(folder, LORA)
    plain.put(plain.initial(0))
    for example in EXAMPLES:
        found, base = plain.log_probabilities(example), plain.log_probabilities(example, depth=0)
        np.testing.assert_allclose(found, base, atol=1e-6)


def test_training_lowers_the_loss(tuner: Tuner):
    start = tuner.initial(0)
    tuner.put(start)
    before = loss(tuner)
    trained(tuner, start, config(steps=15))
    assert loss(tuner) < 0.9 * before


@pytest.mark.parametrize("parts", [("B", "prompt"), ("A",), ("prompt",), ("A", "B", "prompt")])
def test_only_the_parts_asked_for_change_and_the_base_model_never(tuner: Tuner, parts: tuple[Part, ...]):
    start = {name: array + 0.1 for name, array in tuner.initial(0).items()}
    base = [quality(tuner.log_probabilities(one, depth=0), 0) for one in EXAMPLES]
    after = trained(tuner, start, config(*parts))
    for name, array in after.items():
        assert np.array_equal(array, start[name]) == (part(name) not in parts)
    assert [quality(tuner.log_probabilities(one, depth=0), 0) for one in EXAMPLES] == base


def test_the_same_seed_gives_the_same_bits_and_another_others(tuner: Tuner):
    start = tuner.initial(0)
    one, two, other = (trained(tuner, start, config(), seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_the_proximal_term_keeps_nearer_to_where_it_began(tuner: Tuner):
    start = tuner.initial(0)

    def apart(given: TrainConfig) -> float:
        return sum(float(((array - start[name]) ** 2).sum()) for name, array in trained(tuner, start, given).items())

    assert apart(config(proximal=10.0)) < 0.8 * apart(config())


def test_training_ends_when_its_time_is_up(tuner: Tuner, monkeypatch: pytest.MonkeyPatch):
    tuner.put(tuner.initial(0))
    clock = iter(range(1000))
    monkeypatch.setattr("federation.device.tuner.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    assert tuner.train(EXAMPLES, config(seconds=3.0), [0]) == 2


def test_the_person_s_limits_are_asked_before_training_and_between_steps(tuner: Tuner, monkeypatch: pytest.MonkeyPatch):
    free, reasons = at_ease(monkeypatch), iter([None, None, "the device runs on its battery, at 9 %"])
    limits = Limits(**free)  # type: ignore[arg-type]
    trainer = LocalTrainer(tuner, ITEMS, lambda _: Experience(history()), negatives=2, limits=limits)
    start = {"global": tuner.initial(0)}
    asked: list[Limits] = []

    def stop(given: Limits, _: object) -> str | None:
        asked.append(given)
        return next(reasons)

    with monkeypatch.context() as patch:
        patch.setattr("federation.device.training.must_stop", stop)
        with pytest.raises(Refused, match="does not train now: the device runs on its battery"):
            trainer.train("7", start, config())
    assert asked == [limits] * 3
    with monkeypatch.context() as patch:
        patch.setattr("federation.device.training.may_train", lambda _: "the machine is busy")
        with pytest.raises(Refused, match="busy"):
            trainer.train("7", start, config())
    # Time that is over is no refusal: what was learned by then is sent.
    clock = iter(range(1000))
    monkeypatch.setattr("federation.device.tuner.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    trainer = LocalTrainer(tuner, ITEMS, lambda _: Experience(history()), 2, replace(limits, seconds=2.0))
    assert any(one.any() for one in trainer.train("7", start, config()).update.values())
    assert next(clock) == 3


def test_a_reply_s_tokens_are_learned_as_they_are_weighed(folder: Path):
    """Against the cross-entropy that transformers gives for the same tokens."""
    reply = ReplyExample(NO_WISH, (ITEMS["i1"],), Reply("recommend", "something funny", "[1] may suit you."))
    heavy = Tuner(folder, LORA, replies=5.0)
    start = heavy.initial(0)
    heavy.put(start)
    prompt = reply.prompt(heavy.tokenizer)
    written = [*reply.written(heavy.tokenizer), heavy.tokenizer.eos_token_id]

    def reply_loss() -> float:
        ids = torch.tensor([[*prompt, *written]])
        labels = torch.tensor([[*[-100] * len(prompt), *written]])
        with torch.no_grad():
            return float(heavy._peft(input_ids=ids, labels=labels).loss)

    alone, both = (float(heavy._loss(Batch(EXAMPLES[:1], one)).detach()) for one in (None, reply))
    assert both - alone == pytest.approx(5 * reply_loss(), rel=1e-4)
    before = reply_loss()
    heavy.train(EXAMPLES[:1], config(steps=4), [0], replies=[reply])
    assert reply_loss() < before
    # Choices are drawn alike with replies and without; a weight of 0 leaves them out.
    light, none = Tuner(folder, LORA, replies=0.0), Tuner(folder, LORA)
    for one, replies in ((light, [reply]), (none, [])):
        one.put(start)
        one.train(EXAMPLES, config(steps=2), [0], replies=replies)
    assert all(np.array_equal(light.taken()[name], tensor) for name, tensor in none.taken().items())


def test_padding_and_company_change_no_prediction(tuner: Tuner):
    tuner.put({name: array + 0.05 for name, array in tuner.initial(0).items()})
    with torch.no_grad():
        together = tuner._logits(EXAMPLES, tuner._soft(1))
    for row, example in zip(together, EXAMPLES, strict=True):
        alone = torch.log_softmax(row[: len(example.candidates)].double(), 0)
        np.testing.assert_allclose(alone.numpy(), tuner.log_probabilities(example), atol=1e-4)


def test_a_core_between_frozen_factors_learns_alone(folder: Path):
    cored = Tuner(folder, LORA, core=True)
    start = cored.initial(0)
    assert {part(name) for name in start} == {"A", "B", "core"}
    cored.put(start)
    before = loss(cored)
    np.testing.assert_allclose(
        cored.log_probabilities(EXAMPLES[0]), cored.log_probabilities(EXAMPLES[0], depth=0), atol=1e-6
    )
    after = trained(cored, start, config("core", steps=15))
    assert loss(cored) < before
    assert all(np.array_equal(after[name], start[name]) == (part(name) != "core") for name in start)


def test_names_are_peft_s_and_pair(tuner: Tuner):
    names = [name for name in tuner.initial(0) if name != SOFT_PROMPT]
    assert len(list(pairs(names))) == 4
    assert all(name.startswith("base_model.model.model.layers.") for name in names)


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(tuner: Tuner, fault: str):
    tensors = dict(tuner.initial(0))
    if fault == "missing":
        del tensors[SOFT_PROMPT]
    elif fault == "unknown":
        tensors["x.lora_A.weight"] = tensors[SOFT_PROMPT]
    else:
        tensors[SOFT_PROMPT] = tensors[SOFT_PROMPT][:1]
    with pytest.raises(ValueError, match=r"soft_prompt|x\.lora_A"):
        tuner.put(tensors)


def test_what_leaves_the_device_is_the_change_of_the_parts_and_figures(tuner: Tuner):
    people = {"7": history(0), "8": history(1)}
    local = LocalTrainer(tuner, ITEMS, lambda device: Experience(people[device]), negatives=5)
    start = local.initial(0)
    cohorts: Mapping[str, Tensors] = {"global": start, "c0": {name: array + 0.3 for name, array in start.items()}}
    found = local.train("7", cohorts, config("B", "prompt"))
    assert {part(name) for name in found.update} == {"B", "prompt"}
    assert set(found.metrics) == {"loss", "ndcg", "base_loss", "base_ndcg", "activity", "seconds"}
    assert found.examples == 5
    assert found.cohort in cohorts
    again = local.train("7", cohorts, config("B", "prompt"))
    assert all(np.array_equal(found.update[name], again.update[name]) for name in found.update)
    other = local.train("8", cohorts, config("B", "prompt"))
    assert any(not np.array_equal(found.update[name], other.update[name]) for name in found.update)
    with pytest.raises(ValueError, match="three"):
        LocalTrainer(tuner, ITEMS, lambda _: Experience(history()[:2])).train("7", cohorts, config())


def test_the_test_event_changes_nothing_that_leaves_the_device(tuner: Tuner):
    events = history()
    swapped = (*events[:-1], type(events[-1])(events[-1].at, "i39", "liked"))
    start = {"global": tuner.initial(0)}
    one, two = (
        LocalTrainer(tuner, ITEMS, lambda _, given=given: Experience(given), negatives=5).train("7", start, config())
        for given in (events, swapped)
    )
    assert all(np.array_equal(one.update[name], two.update[name]) for name in one.update)
    assert {**one.metrics, "seconds": 0} == {**two.metrics, "seconds": 0}
