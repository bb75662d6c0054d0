"""What a stage of a turn takes of the engine, summed up over its calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from assistant.dialogue.types import Objection, Stage, StageTrace, Usage


@dataclass(frozen=True)
class Effort:
    """``cache_hits`` are calls spared by what was known from before, ``retries`` those made again.

    ``objections`` say what was wrong with each sentence that was not shown.
    """

    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    cache_hits: int = 0
    retries: int = 0
    objections: tuple[Objection, ...] = ()

    def __add__(self, other: Effort) -> Effort:
        return Effort(
            self.usage + other.usage,
            self.calls + other.calls,
            self.cache_hits + other.cache_hits,
            self.retries + other.retries,
            self.objections + other.objections,
        )

    def traced(self, stage: Stage, seconds: float) -> StageTrace:
        """The trace of ``stage``, which took this and ``seconds`` by the clock."""
        return StageTrace(
            stage=stage,
            seconds=round(seconds, 6),
            engine_calls=self.calls,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            cache_hits=self.cache_hits,
            retries=self.retries,
            objections=Counter(self.objections),
        )
