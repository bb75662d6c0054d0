"""Makes the model's replies so long that nothing but a crash or a hang-up ends them: imported where the server starts.

A random model ends its replies at random; under this schema it writes ones until the token limit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from assistant.engine.gateway import Delta, Sampling, VllmEngine
from assistant.engine.soft_prompts import SoftPrompt

SCHEMA = {"type": "array", "items": {"const": 1}, "minItems": 4000}

_generate = VllmEngine.generate


def generate(
    self: VllmEngine,
    prompt: Sequence[int],
    *,
    model: str,
    sampling: Sampling,
    schema: Mapping[str, Any] | None = None,
    soft_prompt: SoftPrompt | None = None,
) -> AsyncGenerator[Delta, None]:
    """As `VllmEngine.generate`, with `SCHEMA` where none is given."""
    return _generate(self, prompt, model=model, sampling=sampling, schema=schema or SCHEMA, soft_prompt=soft_prompt)


VllmEngine.generate = generate  # type: ignore[method-assign]
