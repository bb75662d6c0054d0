"""Gives a turn its voice: the release that answers its caller, and the personal soft prompt that came along.

What the turn did is counted for the arm it met. Who asked is hashed at once and kept nowhere.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from starlette.requests import Request

from assistant.access.keyring import Caller
from assistant.api.admission import admitted
from assistant.api.deps import Serving
from assistant.dialogue.types import Done, Event, Plan, Shadow, TurnRequest, Usage, Voice
from assistant.engine.soft_prompts import joined
from assistant.errors import EngineError, InvalidRequest
from assistant.rollout.arms import ARMS, Arm
from assistant.rollout.routing import Route, Router
from assistant.rollout.service import Rollouts
from federation.releases.manifest import GLOBAL

Rows = Sequence[Sequence[float]]


def asker(request: Request, user: str | None) -> str:
    """Who asks, as it decides the arm: the key, and the application's own name for the person or else the address."""
    caller = cast("Caller", request.state.caller)
    return f"{caller.id}:{user or (request.client.host if request.client else '')}"


def voice_of(route: Route, personal: Rows | None, rollouts: Rollouts) -> Voice:
    """The route's voice with the ``personal`` soft prompt, and the release that chooses in its shadow, if any.

    InvalidRequest where the soft prompt does not fit.
    """
    voice = _spoken(route.voice, personal, rollouts.router)
    if route.shadow is None:
        return voice
    policy, rollout = route.shadow

    def note(shown: tuple[str, ...], chosen: tuple[str, ...], seconds: float | None) -> None:
        agreed = shown[:1] == chosen[:1]
        rollouts.tally.shadow(rollout, 0, route.bucket, seconds, agreed=agreed)

    unheard = _spoken(Voice(policy.model, policy.soft_prompt), personal, rollouts.router)
    return replace(voice, shadow=Shadow(unheard, note))


def _spoken(voice: Voice, personal: Rows | None, router: Router) -> Voice:
    """``voice`` with the ``personal`` soft prompt behind the release's own. InvalidRequest where it does not fit."""
    if personal is None:
        return voice
    if router.embeddings is None:
        raise InvalidRequest("This server's model takes no soft prompts: leave soft_prompt out.", "soft_prompt")
    return replace(voice, soft_prompt=joined(voice.soft_prompt, router.embeddings.checked(personal)))


async def answered(
    request: Request,
    serving: Serving,
    turn: TurnRequest,
    *,
    user: str | None = None,
    cohort: str | None = None,
    personal: Rows | None = None,
) -> AsyncGenerator[Event | None]:
    """`assistant.api.admission.admitted` of ``turn`` under its caller's release, which stays loaded to the end."""
    rollouts = serving.rollouts
    with rollouts.router.route(asker(request, user), cohort or GLOBAL) as route:
        turn = replace(turn, voice=voice_of(route, personal, rollouts))
        started, shown, usage = time.perf_counter(), False, Usage()
        try:
            async with aclosing(admitted(request, serving, turn)) as events:
                async for event in events:
                    if isinstance(event, Plan):
                        shown = event.recommendation_id is not None
                    elif isinstance(event, Done):
                        usage = event.usage
                    yield event
        except EngineError:
            count(serving, route, None, None, shown=False)
            raise
        count(serving, route, time.perf_counter() - started, usage, shown=shown)


def count(serving: Serving, route: Route, seconds: float | None, usage: Usage | None, *, shown: bool) -> None:
    """Counts a turn that took ``seconds`` and ``usage``, or failed: None."""
    serving.metrics.spoke(route.role, route.release, usage)
    if route.role in ARMS:
        arm = cast("Arm", route.role)
        serving.rollouts.tally.turn(route.rollout, route.step, arm, route.bucket, seconds, shown=shown)
