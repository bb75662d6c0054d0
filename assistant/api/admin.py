"""/admin: rollouts, replicas and the audit log, for keys with the scope admin. What changes anything gives a reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from assistant.access.keyring import Caller
from assistant.api import examples
from assistant.api.deps import Serving, ServingDep
from assistant.rollout.gate import GateClosed
from assistant.rollout.judge import Count
from assistant.rollout.ledger import STEPS, Entry, Ledger, Plan

router = APIRouter(prefix="/admin", tags=["admin"])

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
IdempotencyKey = Annotated[str | None, Header(max_length=200, description="The same key again changes nothing new.")]


class RolloutRequest(BaseModel):
    """A release to roll out, and how. ``override`` is a reason to pass a closed gate; it is audited."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.ROLLOUT_REQUEST]})

    release: Annotated[Digest, Field(description="Its whole digest: `sotto release list`.")]
    reason: Reason
    steps: Annotated[tuple[float, ...], Field(max_length=20, description="Shares of callers in percent.")] = STEPS
    step_seconds: Annotated[float, Field(ge=0, le=1e8, description="How long a step lasts at least.")] = 600.0
    step_requests: Annotated[int, Field(ge=0, le=10**9, description="Turns that the canary answers at least.")] = 200
    manual: Annotated[bool, Field(description="Waits for a person at each step.")] = False
    shadow: Annotated[bool, Field(description="Lets the release choose on live requests, shown to nobody.")] = False
    override: Annotated[Reason | None, Field(description="Why to go on though the gate is closed.")] = None


class ReasonGiven(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the figures look right"}]})

    reason: Reason


class RolloutState(BaseModel):
    """A rollout; times are seconds since the epoch. A release that is null is the bare base model."""

    id: int
    release: str | None = None
    replaces: str | None = None
    state: Literal["running", "paused", "promoted", "rolled_back"]
    step: int
    steps: tuple[float, ...]
    share: float
    manual: bool
    shadow: bool
    started_at: float
    step_at: float
    ended_at: float | None = None
    reason: str | None = None

    @classmethod
    def of(cls, entry: Entry) -> RolloutState:
        """``entry`` for clients."""
        plan = entry.plan
        named = {name: getattr(entry, name) for name in cls.model_fields if hasattr(entry, name)}
        return cls(**named, steps=plan.steps, manual=plan.manual, shadow=plan.shadow)


class Measured(BaseModel):
    """One measure of the arms: see docs/rollout.md."""

    measure: str
    control: float | None = None
    canary: float | None = None
    harm: float | None = None
    error: float | None = None
    p_value: float
    harmful: bool


class ShadowState(BaseModel):
    """How the release in the shadow chose beside what was shown.

    ``agreement`` is the share of ``turns`` with the same first item, ``seconds`` the geometric mean of its choices'.
    """

    turns: int
    errors: int
    agreement: float | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, counts: Iterable[Count]) -> ShadowState:
        """Of the counts of a rollout."""
        rows = [one for one in counts if one.arm == "shadow"]
        turns, errors = sum(one.requests for one in rows), sum(one.errors for one in rows)
        chosen = turns - errors
        if not chosen:
            return cls(turns=turns, errors=errors)
        agreement = sum(one.accepted for one in rows) / chosen
        seconds = math.exp(sum(one.log_seconds for one in rows) / chosen)
        return cls(turns=turns, errors=errors, agreement=agreement, seconds=seconds)


class Status(BaseModel):
    """What answers now, what is on its way, and what is known of it; ``shadow`` where that chooses unseen."""

    live: str | None = None
    rollout: RolloutState | None = None
    measures: tuple[Measured, ...]
    shadow: ShadowState | None = None
    turns: int
    ready: tuple[str, ...]
    faults: dict[str, str]


class AuditLine(BaseModel):
    """Who did what, why and when."""

    at: float
    who: str
    what: str
    rollout: int | None = None
    release: str | None = None
    why: str


class ReplicaState(BaseModel):
    """A wanted vLLM, and what this server knows of it."""

    url: str
    draining: bool
    added_at: float
    up: bool
    busy: int
    releases: tuple[str, ...]


class ReplicaRequest(BaseModel):
    """A vLLM's address, and why it is to come or go."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.REPLICA_REQUEST]})

    url: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    reason: Reason


@router.post("/rollouts", summary="Roll a release out", responses=examples.answers(examples.ROLLOUT))
async def start_rollout(
    body: RolloutRequest, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Passes the release through the gate and begins its canary."""
    entry = await to_thread.run_sync(_start, serving, body, _who(request), idempotency_key)
    return RolloutState.of(entry)


@router.get("/rollouts", summary="List the rollouts", responses=examples.answers([examples.ROLLOUT]))
async def list_rollouts(serving: ServingDep, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[RolloutState]:
    """The latest, newest first."""
    return [RolloutState.of(entry) for entry in await to_thread.run_sync(serving.rollouts.ledger.history, limit)]


@router.get("/status", summary="Read what is live and on its way", responses=examples.answers(examples.STATUS))
async def read_status(serving: ServingDep) -> Status:
    """What answers now, and how the canary does beside its control."""
    return await to_thread.run_sync(_status, serving)


@router.post("/rollouts:pause", summary="Pause the rollout", responses=examples.answers(examples.ROLLOUT))
async def pause_rollout(
    body: ReasonGiven, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Keeps the canary at its share."""
    return await _act(serving, "pause", request, body, idempotency_key)


@router.post("/rollouts:resume", summary="Resume the rollout", responses=examples.answers(examples.ROLLOUT))
async def resume_rollout(
    body: ReasonGiven, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Lets a paused canary go on."""
    return await _act(serving, "resume", request, body, idempotency_key)


@router.post(
    "/rollouts:advance", summary="Take the rollout a step further", responses=examples.answers(examples.ROLLOUT)
)
async def advance_rollout(
    body: ReasonGiven, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Takes the canary to its next step, or makes it live after the last, without waiting for more turns."""
    return await _act(serving, "step_on", request, body, idempotency_key)


@router.post("/rollouts:promote", summary="Promote the rollout", responses=examples.answers(examples.ROLLOUT))
async def promote_rollout(
    body: ReasonGiven, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Makes the release under way live for everyone."""
    return await _act(serving, "promote", request, body, idempotency_key)


@router.post("/rollouts:rollback", summary="Roll back", responses=examples.answers(examples.ROLLOUT))
async def roll_back(
    body: ReasonGiven, request: Request, serving: ServingDep, idempotency_key: IdempotencyKey = None
) -> RolloutState:
    """Ends the rollout under way; without one, makes live again what was live before."""
    return await _act(serving, "roll_back", request, body, idempotency_key)


@router.get("/audit", summary="Read the audit log", responses=examples.answers(examples.AUDIT))
async def read_audit(serving: ServingDep, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[AuditLine]:
    """The latest lines, newest first."""
    lines = await to_thread.run_sync(serving.rollouts.ledger.audit, limit)
    return [AuditLine(**asdict(line)) for line in lines]


@router.get("/replicas", summary="List the replicas", responses=examples.answers(examples.REPLICAS))
async def list_replicas(serving: ServingDep) -> list[ReplicaState]:
    """Those that are wanted, and what this server knows of them."""
    return await to_thread.run_sync(_replicas, serving)


@router.post("/replicas", summary="Add a replica", responses=examples.answers(examples.REPLICAS))
async def add_replica(body: ReplicaRequest, request: Request, serving: ServingDep) -> list[ReplicaState]:
    """Wants the vLLM at an address; it answers once it holds what is live."""
    await to_thread.run_sync(serving.rollouts.replicas.add, body.url, _who(request), body.reason)
    return await to_thread.run_sync(_replicas, serving)


@router.post("/replicas:drain", summary="Drain a replica", responses=examples.answers(examples.REPLICAS))
async def drain_replica(body: ReplicaRequest, request: Request, serving: ServingDep) -> list[ReplicaState]:
    """Gives a replica no new calls."""
    await to_thread.run_sync(serving.rollouts.replicas.drain, body.url, _who(request), body.reason)
    return await to_thread.run_sync(_replicas, serving)


@router.post("/replicas:remove", summary="Remove a replica", responses=examples.answers(examples.REPLICAS))
async def remove_replica(body: ReplicaRequest, request: Request, serving: ServingDep) -> list[ReplicaState]:
    """Lets a replica go once its calls have ended."""
    await to_thread.run_sync(serving.rollouts.replicas.remove, body.url, _who(request), body.reason)
    return await to_thread.run_sync(_replicas, serving)


def _who(request: Request) -> str:
    return f"key {cast('Caller', request.state.caller).id}"


def _start(serving: Serving, body: RolloutRequest, who: str, key: str | None) -> Entry:
    rollouts = serving.rollouts
    plan = Plan(body.steps, body.step_seconds, body.step_requests, body.manual, body.shadow)
    # The gate takes minutes and may find otherwise by now: what was begun before does not pass it again.
    if (known := rollouts.ledger.started(body.release, key)) is not None:
        return known
    live = rollouts.ledger.traffic().live
    try:
        rollouts.gate.pass_(body.release, live)
    except GateClosed as closed:
        if body.override is None:
            rollouts.ledger.note(who, "gate closed", str(closed), body.release)
            raise
        rollouts.ledger.note(who, "gate overridden", f"{body.override} ({closed})", body.release)
    return rollouts.ledger.start(body.release, plan, who, body.reason, key)


async def _act(serving: Serving, action: str, request: Request, body: ReasonGiven, key: str | None) -> RolloutState:
    act: Any = getattr(serving.rollouts.ledger, action)
    return RolloutState.of(await to_thread.run_sync(act, _who(request), body.reason, key))


def _status(serving: Serving) -> Status:
    rollouts = serving.rollouts
    traffic = rollouts.ledger.traffic()
    found = rollouts.controller.look(traffic.rollout) if traffic.rollout else None
    return Status(
        live=traffic.live,
        rollout=RolloutState.of(traffic.rollout) if traffic.rollout else None,
        measures=tuple(Measured(**asdict(verdict)) for verdict in found.verdicts) if found else (),
        shadow=_shadow(rollouts.ledger, traffic.rollout),
        turns=found.turns if found else 0,
        ready=tuple(sorted(rollouts.router.fleet.routable)),
        faults=dict(rollouts.reconciler.faults) if rollouts.reconciler else {},
    )


def _shadow(ledger: Ledger, entry: Entry | None) -> ShadowState | None:
    return ShadowState.of(ledger.counts(entry.id)) if entry is not None and entry.plan.shadow else None


def _replicas(serving: Serving) -> list[ReplicaState]:
    rollouts = serving.rollouts
    found = []
    for wanted in rollouts.replicas.all():
        known = rollouts.router.fleet.replicas.get(wanted.url)
        releases = tuple(sorted(known.routable)) if known else ()
        state = {"up": known.up if known else False, "busy": known.busy if known else 0, "releases": releases}
        found.append(ReplicaState(**asdict(wanted), **state))
    return found
