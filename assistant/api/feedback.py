"""POST /v1/feedback: a verdict on a recommendation, given, changed or withdrawn. Nothing of the person is kept."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from assistant.api import examples
from assistant.api.deps import ServingDep
from assistant.rollout.feedback import Verdict

router = APIRouter(tags=["feedback"])


class FeedbackRequest(BaseModel):
    """A verdict. An unknown field is refused, so that no text is sent by mistake."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.FEEDBACK]})

    recommendation_id: Annotated[
        str, StringConstraints(min_length=1, max_length=100), Field(description="As it came with the reply.")
    ]
    verdict: Annotated[
        Verdict, Field(description="`withdrawn` takes an earlier verdict back, whole; the last one counts.")
    ]


class FeedbackTaken(BaseModel):
    """The verdict in force, and the one before it."""

    recommendation_id: str
    verdict: Verdict
    before: Verdict


@router.post("/v1/feedback", summary="Judge a recommendation", responses=examples.answers(examples.FEEDBACK_TAKEN))
async def give_feedback(body: FeedbackRequest, serving: ServingDep) -> FeedbackTaken:
    """Puts a verdict in force; the same again changes nothing, so it may be sent twice.

    What is kept is the verdict under a keyed hash of the id, for as long as it can be changed, and sums.
    """
    given = await to_thread.run_sync(serving.rollouts.feedback.give, body.recommendation_id, body.verdict)
    serving.metrics.judged(given)
    return FeedbackTaken(recommendation_id=body.recommendation_id, verdict=given.verdict, before=given.before)
