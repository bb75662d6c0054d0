"""Tunes a LoRA on q and v and a soft prompt with PEFT, on a device's own choices. Knows neither stores nor Flower.

The base model is loaded once and never changes. Adapters stand on each other, the topmost of which is trained: their
LoRAs add up, and their soft prompts stand one after the other before the prompt, the lowest one's first, as the server
puts a person's own behind its cohort's. Everything drawn comes from a seed; a step is bounded by the clock only
between steps, so that what was done is whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.device.adapter import Adapter, Arrays
from federation.device.descent import Descent
from federation.device.examples import Example, ReplyExample
from federation.lora import LoraShape
from federation.rounds.trainer import TrainConfig
from federation.tensors import Tensors, part
from prompts.build import RANK_LABELS, label_ids

REPLIES = 0.1
"""What a reply's loss weighs beside that of choices, unless told otherwise."""


class Batch(NamedTuple):
    """What one step learns from."""

    choices: Sequence[Example]
    reply: ReplyExample | None


class Tuner:
    """A base model with one LoRA and one soft prompt of ``tokens`` tokens, which `put` fills and `train` changes.

    With ``core``, an r x r matrix between A and B is trained in their place (Fed-SB). ``replies`` is what a reply's
    loss weighs. ValueError where the model's folder holds no model with the LoRA's modules.
    """

    def __init__(
        self, folder: Path, lora: LoraShape, tokens: int = 0, *, core: bool = False, replies: float = REPLIES
    ) -> None:
        from peft import get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of transformers, which draws one for every load, whatever standard error is
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
        self._peft: Any = get_peft_model(base, _config(lora), adapter_name="a0")
        self._peft.eval()
        self._embeddings: Tensor = base.get_input_embeddings().weight
        self._heads: Tensor = base.get_output_embeddings().weight
        self._labels = torch.tensor(label_ids(self.tokenizer, len(RANK_LABELS)))
        self.replies = replies
        self._adapters = [Adapter(self._peft, "a0", tokens, core=core)]

    @property
    def depth(self) -> int:
        """How many adapters stand on each other."""
        return len(self._adapters)

    def stack(self, lora: LoraShape, tokens: int = 0) -> None:
        """Puts a further adapter on top: from now on `initial`, `put`, `taken` and training are of it alone."""
        name = f"a{self.depth}"
        self._peft.add_adapter(name, _config(lora))
        self._adapters.append(Adapter(self._peft, name, tokens))
        self._activate(self.depth)

    def initial(self, seed: int) -> Arrays:
        """See `Adapter.initial`."""
        return self._adapters[-1].initial(seed)

    def put(self, tensors: Tensors) -> None:
        """See `Adapter.put`."""
        self._adapters[-1].put(tensors)

    def taken(self) -> Arrays:
        """See `Adapter.taken`."""
        return self._adapters[-1].taken()

    def descent(
        self, choices: Sequence[Example], config: TrainConfig, seed: Sequence[int], replies: Sequence[ReplyExample] = ()
    ) -> Descent[Batch]:
        """A training of the parts that ``config`` names, not begun: AdamW on batches that ``seed`` draws.

        The loss is the cross-entropy of the chosen label among the candidates', and that of one of the ``replies``
        where there are any.
        """
        trained = {name: one for name, one in self._adapters[-1].parameters.items() if part(name) in config.parts}
        taught = replies if self.replies else ()
        return Descent(trained, _batches(choices, taught, config.batch, seed), self._loss, config)

    def train(
        self,
        choices: Sequence[Example],
        config: TrainConfig,
        seed: Sequence[int],
        *,
        replies: Sequence[ReplyExample] = (),
        before_step: Callable[[], None] = lambda: None,
    ) -> int:
        """Trains the weights in place, see `descent`; returns how many steps were taken.

        What ``before_step`` raises ends it.
        """
        descent = self.descent(choices, config, seed, replies)
        began = time.monotonic()
        while descent.steps < config.steps and time.monotonic() - began < config.seconds:
            before_step()
            descent.step()
        return descent.steps

    def log_probabilities(self, example: Example, *, depth: int | None = None) -> NDArray[np.float64]:
        """Of each candidate being chosen, float64 (candidates,).

        By the base model and the lowest ``depth`` adapters, all of them unless given: 0 is the base model alone.
        """
        with torch.no_grad(), self._using(self.depth if depth is None else depth) as soft:
            logits = self._logits([example], soft)
        scores = logits[0, : len(example.candidates)].double()
        return cast("NDArray[np.float64]", torch.log_softmax(scores, dim=0).numpy())

    def _loss(self, batch: Batch) -> Tensor:
        soft = self._soft(self.depth)
        targets = torch.tensor([example.chosen for example in batch.choices])
        loss = nn.functional.cross_entropy(self._logits(batch.choices, soft), targets, reduction="none").mean()
        return loss if batch.reply is None else loss + self.replies * self._reply_loss(batch.reply, soft)

    def _reply_loss(self, reply: ReplyExample, soft: Tensor) -> Tensor:
        """The mean cross-entropy of the reply's tokens and of the end behind them, in nats."""
        prompt = reply.prompt(self.tokenizer)
        written = [*reply.written(self.tokenizer), self.tokenizer.eos_token_id]
        hidden = self._hidden([[*prompt, *written[:-1]]], soft)[0, -len(written) :]
        return nn.functional.cross_entropy(hidden @ self._heads.T, torch.tensor(written))

    def _logits(self, examples: Sequence[Example], soft: Tensor) -> Tensor:
        """Each candidate label's logit behind the prompt, (examples, most candidates); -inf where there is none."""
        hidden = self._hidden([one.prompt(self.tokenizer) for one in examples], soft)[:, -1]
        most = max(len(one.candidates) for one in examples)
        logits = hidden @ self._heads[self._labels[:most]].T
        counts = torch.tensor([len(one.candidates) for one in examples])
        return logits.masked_fill(torch.arange(most) >= counts[:, None], -torch.inf)

    def _hidden(self, prompts: Sequence[Sequence[int]], soft: Tensor) -> Tensor:
        """What the last layer makes of each token behind ``soft``, (prompts, longest, hidden); padded in front."""
        rows = [torch.cat([soft, self._embeddings[torch.tensor(one)]]) for one in prompts]
        longest = max(len(row) for row in rows)
        # Padded in front, so that every prompt ends at the last place.
        embedded = torch.stack([nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.stack([torch.arange(longest) >= longest - len(row) for row in rows])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        output = self._peft.base_model.model.model(
            inputs_embeds=embedded, attention_mask=mask.long(), position_ids=positions, use_cache=False
        )
        return cast("Tensor", output.last_hidden_state)

    @contextmanager
    def _using(self, depth: int) -> Iterator[Tensor]:
        """The soft prompt of the lowest ``depth`` adapters, which alone are active meanwhile."""
        self._activate(depth)
        try:
            if depth:
                yield self._soft(depth)
            else:
                with self._peft.disable_adapter():
                    yield self._soft(0)
        finally:
            self._activate(self.depth)

    def _activate(self, depth: int) -> None:
        # PEFT has active adapters ask for gradients unless they are for inference.
        names = [adapter.name for adapter in self._adapters[: depth or 1]]
        self._peft.base_model.set_adapter(names, inference_mode=True)

    def _soft(self, depth: int) -> Tensor:
        rows = [adapter.soft_prompt for adapter in self._adapters[:depth]]
        return torch.cat([self._embeddings[:0], *rows])


def _config(lora: LoraShape) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank, lora_alpha=cast("int", lora.alpha), target_modules=list(lora.targets), lora_dropout=0.0
    )


def _batches(
    choices: Sequence[Example], replies: Sequence[ReplyExample], size: int, seed: Sequence[int]
) -> Iterator[Batch]:
    """Without end. Whether there are replies changes nothing of which choices are drawn."""
    draw, other = np.random.default_rng(list(seed)), np.random.default_rng([*seed, 1])
    while True:
        drawn = draw.choice(len(choices), min(size, len(choices)), replace=False)
        reply = replies[int(other.integers(len(replies)))] if replies else None
        yield Batch([choices[at] for at in drawn], reply)
