"""Chooses among candidates with one listwise forward pass of the model.

Candidates carry one-token labels; the engine returns the model's distribution over them. Their order is drawn
from a seed, so that position carries no bias and the same request gives the same answer. The retrieval score
enters as a prior.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assistant.dialogue.effort import Effort
from assistant.dialogue.types import Usage, Voice
from assistant.engine.gateway import Engine
from prompts.build import ChatTokenizer, encode, label_ids, rank_messages
from retrieval.item import Item
from retrieval.search import Candidate
from retrieval.wish import Wish

MOST_CANDIDATES = 20
PRIOR = 4.0


@dataclass(frozen=True)
class Ranked:
    """A candidate with its ``score``, the share of preference among all ranked (0 to 1)."""

    item: Item
    score: float


class Ranker:
    """Ranks candidates under a voice; ``prior`` weighs the retrieval score, in nats per unit of it."""

    def __init__(self, engine: Engine, tokenizer: ChatTokenizer, prior: float = PRIOR) -> None:
        self._engine, self._tokenizer, self._prior = engine, tokenizer, prior
        self._labels = label_ids(tokenizer, MOST_CANDIDATES)

    async def rank(
        self, wish: Wish, history: Sequence[Item], candidates: Sequence[Candidate], voice: Voice, seed: int = 0
    ) -> tuple[tuple[Ranked, ...], Effort]:
        """All of the first `MOST_CANDIDATES` candidates, best first, and what it took."""
        if not candidates:
            return (), Effort()
        order = list(candidates[:MOST_CANDIDATES])
        random.Random(_order_seed(order, seed)).shuffle(order)
        prompt = encode(self._tokenizer, rank_messages(wish, history, [candidate.item for candidate in order]))
        preference = await self._engine.label_logprobs(
            prompt, self._labels[: len(order)], model=voice.model, soft_prompt=voice.soft_prompt
        )
        logits = preference + self._prior * np.array([candidate.score for candidate in order])
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")
        ranked = tuple(Ranked(order[at].item, float(shares[at])) for at in best)
        # One token is decoded for its distribution.
        return ranked, Effort(Usage(len(prompt), 1), calls=1)


def _order_seed(candidates: Sequence[Candidate], seed: int) -> int:
    text = f"{seed}:{','.join(sorted(candidate.item.id for candidate in candidates))}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
