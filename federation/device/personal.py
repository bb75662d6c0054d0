"""Trains the personal pair on top of frozen shared adapters, within the person's limits. Nothing of it is ever sent.

It can stop after any step, or be killed, and goes on from what it kept, to the same bits as without a break. Knows no
store: what it learns from is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from federation.device.cohorts import choose
from federation.device.dual import Ground, Personal, PersonalFiles
from federation.device.examples import Example
from federation.device.experience import Lessons
from federation.device.files import DamagedFile
from federation.device.limits import Deadline, Limits, must_stop
from federation.device.training import quality
from federation.device.tuner import Tuner
from federation.rounds.trainer import TrainConfig
from federation.tensors import Tensors, part

__all__ = ["EVERY", "VALIDATIONS", "Outcome", "mean_loss", "settle", "train_personal"]

EVERY = 5
"""Steps between two looks at the validation event, after each of which what was done outlives being killed."""

VALIDATIONS = 4
"""Draws of other candidates around the validation event: one event tells little under one draw."""

_BEST = "best."


@dataclass(frozen=True)
class Outcome:
    """What came of training: the ``personal`` pair, or None where none is better than its ground alone.

    Where it was ``stopped``, for that reason, before its steps were done, a further call goes on.
    """

    personal: Personal | None
    steps: int
    stopped: str | None = None


def mean_loss(tuner: Tuner, validations: Sequence[Example], depth: int | None = None) -> float:
    """The loss in nats over ``validations`` under the lowest ``depth`` adapters; all unless given."""
    return float(np.mean([quality(tuner.log_probabilities(one, depth=depth), one.chosen)[0] for one in validations]))


def settle(tuner: Tuner, cohorts: Mapping[str, Tensors], validations: Sequence[Example]) -> str:
    """Puts the cohort of lowest loss over ``validations`` into ``tuner`` and returns its name, as in a round."""
    losses = {}
    for name, tensors in sorted(cohorts.items()):
        tuner.put(tensors)
        losses[name] = mean_loss(tuner, validations)
    chosen = choose(losses)
    tuner.put(cohorts[chosen])
    return chosen


def train_personal(
    tuner: Tuner,
    found: Lessons,
    ground: Ground,
    config: TrainConfig,
    files: PersonalFiles,
    limits: Limits,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Trains the topmost adapter of ``tuner``, whose lower ones are ``ground``'s, and keeps it where it is any better.

    Of the pairs on the way, looked at every `EVERY` steps, that of the lowest mean validation loss is kept in
    ``files``; none, also no earlier one, where that is not below the loss of the ground alone. The same call goes on
    where one was stopped by ``limits`` or killed; of ``config``, ``seconds`` counts for nothing. ``progress`` is told
    the steps taken so far.
    """
    run = _Run(tuner, found, ground, config, files)
    deadline = Deadline(limits.seconds)
    while run.descent.steps < config.steps:
        progress(run.descent.steps)
        if reason := must_stop(limits, deadline):
            run.keep()
            return Outcome(None, run.descent.steps, reason)
        run.step()
    progress(run.descent.steps)
    return Outcome(run.finish(), run.descent.steps)


class _Run:
    """A personal training between two breaks: it begins where the last one ended."""

    def __init__(self, tuner: Tuner, found: Lessons, ground: Ground, config: TrainConfig, files: PersonalFiles) -> None:
        self._tuner, self._found, self._ground, self._config, self._files = tuner, found, ground, config, files
        self._identity = _identity(tuner, found, ground, config)
        self._without = mean_loss(tuner, found.validations, tuner.depth - 1)
        tuner.put(tuner.initial(config.seed))
        self.descent = tuner.descent(found.choices, config, [config.seed, 2], found.replies)
        self._best: Personal | None = None
        self._resume()

    def step(self) -> None:
        """Takes a step and, where it is time to, looks at the validation event and keeps where it is."""
        self.descent.step()
        if self.descent.steps % EVERY == 0 or self.descent.steps == self._config.steps:
            loss = mean_loss(self._tuner, self._found.validations)
            if loss < (self._without if self._best is None else self._best.loss):
                self._best = self._personal(self.descent.steps, loss)
            self.keep()

    def keep(self) -> None:
        """Keeps all that is needed to go on from here."""
        best = {} if self._best is None else self._best.tensors
        about = {
            "identity": self._identity,
            "steps": self.descent.steps,
            "best": None if self._best is None else [self._best.step, self._best.loss],
        }
        tensors = {**self.descent.state(), **{_BEST + name: one for name, one in best.items()}}
        self._files.training.save(tensors, about)

    def finish(self) -> Personal | None:
        """Keeps the best pair alone, if any."""
        best = self._best
        if best is None:
            self._files.delete()
            return None
        self._tuner.put({name: one * 0 if part(name) == "B" else one for name, one in best.tensors.items()})
        best = replace(best, prompt_loss=mean_loss(self._tuner, self._found.validations))
        self._tuner.put(best.tensors)
        # The pair first: killed between the two, the next call only comes back here.
        self._files.save(best)
        self._files.training.delete()
        return best

    def _personal(self, step: int, loss: float) -> Personal:
        tensors = self._tuner.taken()
        rank = next(len(one) for name, one in tensors.items() if part(name) == "A")
        return Personal(tensors, self._config.scale * rank, self._ground, step, loss, self._without, loss)

    def _resume(self) -> None:
        try:
            kept = self._files.training.load()
        except DamagedFile:
            kept = None  # what is lost is time
        if kept is None or kept.about["identity"] != self._identity:
            return
        state = {name: one for name, one in kept.tensors.items() if not name.startswith(_BEST)}
        if kept.about["best"] is not None:
            tensors = {name.removeprefix(_BEST): kept.tensors[name] for name in kept.tensors.keys() - state.keys()}
            self._tuner.put(tensors)
            self._best = self._personal(*kept.about["best"])
        self.descent.restore(state, kept.about["steps"])


def _identity(tuner: Tuner, found: Lessons, ground: Ground, config: TrainConfig) -> str:
    """Differs where a training would: the weights below, the lessons, or how it goes; the time it has is no part."""
    how = {**asdict(config), "parts": sorted(config.parts), "seconds": None, "replies": tuner.replies}
    how["shapes"] = {name: tensor.shape for name, tensor in tuner.taken().items()}
    told = [
        *((one.chosen, [item.id for item in (*one.history, *one.candidates)]) for one in found.choices),
        *((one.chosen, [item.id for item in (*one.history, *one.candidates)]) for one in found.validations),
        *(asdict(one.reply) for one in found.replies),
    ]
    return hashlib.sha256(repr((asdict(ground), how, told)).encode()).hexdigest()
