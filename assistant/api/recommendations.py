"""POST /v1/recommendations: a wish as data in, items out, no words; the model ranks as in a turn of conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from assistant.api import examples
from assistant.api.admission import place
from assistant.api.deps import MODEL, Serving, ServingDep
from assistant.api.models import known_model
from assistant.api.schemas import (
    MAX_SEED,
    Asker,
    CohortName,
    GivenWish,
    Grounding,
    LessonAsked,
    LessonTold,
    ModelName,
    PersonalPrompt,
    TokenUsage,
    TraceAsked,
    TraceTold,
)
from assistant.api.turns import unless_gone
from assistant.api.voices import asker, count, voice_of
from assistant.dialogue.types import Done, Plan, WishRequest
from assistant.errors import EngineError
from federation.releases.manifest import GLOBAL
from retrieval.wish import MAX_COUNT, Ids, Wish, without_nulls

RANKED_TOKENS = 1  # that a ranking decodes, for its distribution

router = APIRouter(tags=["recommendations"])


class WishedRequest(BaseModel):
    """What is wished for, as the `wish` of a chat answer has it. A null field counts as one left out.

    A field that is not known is refused, so that a misspelt one is not passed over.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.WISHED]})

    wish: Annotated[GivenWish, Field(description="An empty wish gets what is best known.")] = Wish()
    count: Annotated[
        int | None, Field(ge=1, le=MAX_COUNT, description="How many; goes before the wish's own `count`.")
    ] = None
    exclude: Annotated[Ids, Field(description="Ids that are not wanted back, besides those the wish names.")] = ()
    seed: Annotated[int | None, Field(ge=-MAX_SEED, le=MAX_SEED, description="One seed gives one order.")] = None
    model: ModelName = MODEL
    user: Asker = None
    cohort: CohortName = None
    soft_prompt: PersonalPrompt = None
    trace: TraceAsked = False
    lesson: LessonAsked = False

    _nulls = model_validator(mode="before")(without_nulls)

    def request(self) -> WishRequest:
        """What the dialogue is asked for."""
        wish = self.wish if self.count is None else self.wish.model_copy(update={"count": self.count})
        return WishRequest(wish, self.model, self.exclude, self.seed)


class Recommended(Grounding):
    """The recommended items, best first. ``relaxed`` are the parts of the wish, in plain words, that were given up.

    Nothing is given up unless nothing fits the whole wish.
    """

    relaxed: tuple[str, ...]
    usage: TokenUsage
    trace: TraceTold = None
    lesson: LessonTold = None


@router.post(
    "/v1/recommendations",
    summary="Recommend for a wish",
    response_model=Recommended,
    responses=examples.answers(examples.RECOMMENDED),
)
async def recommend(body: WishedRequest, request: Request, serving: ServingDep) -> Any:
    """Ranks what fits a wish that comes as data; for clients that need no conversation.

    The wish of a chat answer can be sent as it is, or edited.
    """
    known_model(body.model)
    plan, done = await unless_gone(request, _placed(request, serving, body))
    return Recommended(
        recommendations=plan.recommendations,
        adapter=plan.adapter,
        recommendation_id=plan.recommendation_id,
        wish=plan.wish,
        relaxed=plan.relaxed,
        usage=TokenUsage.of(done.usage),
        trace=done.trace if body.trace else None,
        lesson=done.lesson if body.lesson else None,
    )


async def _placed(request: Request, serving: Serving, body: WishedRequest) -> tuple[Plan, Done]:
    """What the wish gets, once there is a place for its ranking among the turns under way."""
    rollouts = serving.rollouts
    with rollouts.router.route(asker(request, body.user), body.cohort or GLOBAL) as route:
        wish = replace(body.request(), voice=voice_of(route, body.soft_prompt, rollouts))
        try:
            async with place(request, (), RANKED_TOKENS) as bill:
                plan, done = await serving.assistant.recommend(wish)
                bill.usage = done.usage
        except EngineError:
            count(serving, route, None, None, shown=False)
            raise
        count(serving, route, done.trace.seconds, done.usage, shown=plan.recommendation_id is not None)
    serving.metrics.passed(done.trace.stages)
    return plan, done
