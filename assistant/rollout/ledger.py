"""The rollouts of a server in its database: what is live, what is on its way, what its arms did, and who changed what.

Every change is one transaction that also writes the audit log. Servers on one database exclude each other, so two that
judge at once advance a canary once. Calls block: from a coroutine, make them in a thread.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from assistant.errors import Conflict, InvalidRequest, NotFound
from assistant.rollout.arms import Counted
from assistant.rollout.judge import Count
from assistant.state.database import Database, exclude
from assistant.state.models import ArmFigure, AuditEntry, Rollout, Secret

State = Literal["running", "paused", "promoted", "rolled_back"]
UNDER_WAY: tuple[State, ...] = ("running", "paused")
Action = Literal["start", "advance", "pause", "resume", "promote", "rollback"]
Clock = Callable[[], float]
MOST_REASON = 500
STEPS = (1.0, 10.0, 50.0, 100.0)
_SUMS = ("shown", "accepted", "requests", "errors", "log_seconds")
_SECRET = "rollout"  # noqa: S105  the name of the row


@dataclass(frozen=True)
class Plan:
    """How a release goes live: ``steps`` are the canary's shares in percent, the last 100.

    A step is passed once it has lasted ``step_seconds`` and the canary has answered ``step_requests`` turns without
    harm being found; ``manual`` waits for a person at each. ``shadow`` scores the release on live requests without
    showing it, and ends there.
    """

    steps: tuple[float, ...] = STEPS
    step_seconds: float = 600.0
    step_requests: int = 200
    manual: bool = False
    shadow: bool = False

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] <= 0 or self.steps[-1] != 100:
            raise InvalidRequest(
                "A canary's steps are shares in percent that rise from above 0 to 100, like 1,10,50,100."
            )
        if self.step_seconds < 0 or self.step_requests < 0:
            raise InvalidRequest("A step's seconds and requests are 0 or more.")


@dataclass(frozen=True)
class Entry:
    """A rollout as it stands. Times are seconds since the epoch; ``release`` None is the bare base model."""

    id: int
    release: str | None
    replaces: str | None
    state: State
    step: int
    plan: Plan
    started_at: float
    step_at: float
    ended_at: float | None
    reason: str | None

    @property
    def share(self) -> float:
        """The canary's present share of callers, 0 to 1."""
        return 0.0 if self.plan.shadow else self.plan.steps[self.step] / 100.0


@dataclass(frozen=True)
class Traffic:
    """Which release answers: the ``live`` one, and beside it the rollout under way."""

    live: str | None
    rollout: Entry | None

    @property
    def wanted(self) -> frozenset[str]:
        """The releases that every replica must hold."""
        canary = self.rollout.release if self.rollout else None
        return frozenset(release for release in (self.live, canary) if release is not None)


@dataclass(frozen=True)
class Audit:
    """One line of the audit log."""

    at: float
    who: str
    what: str
    rollout: int | None
    release: str | None
    why: str


class Ledger:
    """The rollouts in ``database``. May be shared by threads."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database, self._clock = database, clock

    def secret(self) -> bytes:
        """32 random bytes that every server on this database shares."""
        with self.alone() as session:
            row = session.get(Secret, _SECRET)
            if row is None:
                row = Secret(name=_SECRET, value=secrets.token_bytes(32))
                session.add(row)
            return row.value

    def traffic(self) -> Traffic:
        """Which release answers now."""
        with self._database.read() as session:
            return traffic(session)

    def live_rollout(self) -> int:
        """The number of the rollout that made the live release live; 0 before any."""
        with self._database.read() as session:
            row = _row_live(session)
            return 0 if row is None else row.id

    def kept(self) -> frozenset[str]:
        """The releases that a rollback may want back at once."""
        with self._database.read() as session:
            row = _row_live(session)
            return frozenset() if row is None else frozenset({row.release, row.replaces} - {None})  # type: ignore[arg-type]

    def get(self, rollout: int) -> Entry:
        """One rollout; NotFound without it."""
        with self._database.read() as session:
            row = session.get(Rollout, rollout)
            if row is None:
                raise NotFound(f"There is no rollout {rollout}: `sotto rollout history` lists them.")
            return _entry(row)

    def history(self, limit: int = 50) -> list[Entry]:
        """The latest rollouts, newest first."""
        with self._database.read() as session:
            return [_entry(row) for row in session.scalars(select(Rollout).order_by(Rollout.id.desc()).limit(limit))]

    def audit(self, limit: int = 200) -> list[Audit]:
        """The latest lines of the audit log, newest first."""
        with self._database.read() as session:
            rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit))
            return [Audit(row.at, row.who, row.what, row.rollout, row.release, row.why) for row in rows]

    def note(self, who: str, what: str, why: str, release: str | None = None) -> None:
        """Adds to the audit log what changes no rollout: a gate overridden, a replica added."""
        with self.alone() as session:
            _audit(session, self._clock(), who, what, None, release, why)

    def start(self, release: str, plan: Plan, who: str, why: str, request_key: str | None = None) -> Entry:
        """Begins to roll ``release`` out. The same ``request_key`` again gets the same rollout.

        Conflict while another is under way, or when the release is live already.
        """
        with self.alone() as session:
            if (known := _started(session, release, request_key)) is not None:
                return known
            live = _live_before(session, release)
            row = self._new(release, live, plan, "running", request_key)
            session.add(row)
            session.flush()
            _audit(session, row.started_at, who, "start", row.id, release, why)
            return _entry(row)

    def started(self, release: str, request_key: str | None) -> Entry | None:
        """The rollout of ``release`` that ``request_key`` began before; None where one may begin.

        Conflict where the key began another's, and where `start` would refuse: the gate takes minutes.
        """
        with self._database.read() as session:
            if (known := _started(session, release, request_key)) is None:
                _live_before(session, release)
            return known

    def advance(self, rollout: int, step: int, who: str, why: str) -> Entry:
        """To the step after ``step``, or to live after the last; nothing changes where another server did so before."""
        with self.alone() as session:
            row = self._get(session, rollout)
            if row.state != "running" or row.step != step:
                return _entry(row)
            return self._further(session, row, who, why)

    def step_on(self, who: str, why: str, request_key: str | None = None) -> Entry:
        """As `advance`, for a person: from whatever step the rollout under way is at."""
        with self.alone() as session:
            if (known := self._done(session, request_key, "advance", "promote")) is not None:
                return known
            row = self._shown(session)
            if row.state != "running":
                raise Conflict(f"Rollout {row.id} is {row.state}: resume it first.")
            return self._further(session, row, who, why, request_key)

    def pause(self, who: str, why: str, request_key: str | None = None) -> Entry:
        """Keeps the rollout at its step until it is resumed."""
        return self._switch("running", "paused", "pause", who, why, request_key)

    def resume(self, who: str, why: str, request_key: str | None = None) -> Entry:
        """Lets a paused rollout go on."""
        return self._switch("paused", "running", "resume", who, why, request_key)

    def promote(self, who: str, why: str, request_key: str | None = None) -> Entry:
        """Makes the release under way live for everyone, whatever step it is at."""
        with self.alone() as session:
            if (known := self._done(session, request_key, "promote")) is not None:
                return known
            row = self._shown(session)
            now = self._clock()
            _end(row, "promoted", now, why)
            _audit(session, now, who, "promote", row.id, row.release, why, request_key)
            return _entry(row)

    def roll_back(self, who: str, why: str, request_key: str | None = None, *, rollout: int | None = None) -> Entry:
        """Ends the rollout under way; without one, makes what the live release replaced live again.

        ``rollout`` is the one that is meant, where a judgement was passed on it: nothing changes when it has ended.
        """
        with self.alone() as session:
            if (known := self._done(session, request_key, "rollback")) is not None:
                return known
            row = _row_under_way(session)
            now = self._clock()
            if row is not None and rollout in (None, row.id):
                _end(row, "rolled_back", now, why)
            elif rollout is not None:
                return _entry(self._get(session, rollout))
            else:
                promoted = _row_live(session)
                if promoted is None:
                    raise Conflict("Nothing was ever rolled out: the base model is live.")
                row = self._new(promoted.replaces, promoted.release, Plan((100.0,), 0.0, 0), "promoted", None)
                row.ended_at, row.reason = now, why[:MOST_REASON]
                session.add(row)
                session.flush()
            _audit(session, now, who, "rollback", row.id, row.release, why, request_key)
            return _entry(row)

    def count(self, rollout: int, counts: Iterable[Count]) -> None:
        """Adds what the arms did."""
        with self._database.write() as session:
            self.add(session, rollout, *counts)

    def add(self, session: Session, rollout: int, *counts: Count) -> None:
        """Adds counts within a transaction of the caller's, always in one order, so that none waits for another."""
        if not counts:
            return
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        row = insert(ArmFigure)
        added = {name: getattr(ArmFigure, name) + getattr(row.excluded, name) for name in _SUMS}
        ordered = sorted(counts, key=lambda one: (one.step, one.arm, one.bucket))
        session.execute(
            row.on_conflict_do_update(index_elements=["rollout", "step", "arm", "bucket"], set_=added),
            [{"rollout": rollout, **asdict(one)} for one in ordered],
        )

    def counts(self, rollout: int) -> list[Count]:
        """All that the arms of a rollout did."""
        with self._database.read() as session:
            rows = session.scalars(select(ArmFigure).where(ArmFigure.rollout == rollout))
            return [_count(row) for row in rows]

    def _done(self, session: Session, request_key: str | None, *actions: Action) -> Entry | None:
        """The rollout that the request of this key changed before, as it is now; Conflict where it asked for more."""
        if request_key is None:
            return None
        line = session.scalars(select(AuditEntry).where(AuditEntry.request_key == request_key)).one_or_none()
        if line is None or line.rollout is None:
            return None
        if line.what not in actions:
            raise Conflict(
                f"The idempotency key {request_key!r} was used before, to {line.what} rollout {line.rollout}."
            )
        return _entry(self._get(session, line.rollout))

    def _shown(self, session: Session) -> Rollout:
        """The canary under way; Conflict where there is none."""
        row = _row_under_way(session)
        if row is None:
            raise Conflict("No rollout is under way: start one first.")
        if row.shadow:
            raise Conflict(f"Rollout {row.id} is a shadow, which is never shown: roll it back and start a canary.")
        return row

    def _further(self, session: Session, row: Rollout, who: str, why: str, request_key: str | None = None) -> Entry:
        now = self._clock()
        last = row.step + 1 >= len(_steps(row.steps))
        if last:
            _end(row, "promoted", now, why)
        else:
            row.step, row.step_at = row.step + 1, now
        _audit(session, now, who, "promote" if last else "advance", row.id, row.release, why, request_key)
        return _entry(row)

    def _switch(
        self, before: State, after: State, action: Action, who: str, why: str, request_key: str | None
    ) -> Entry:
        with self.alone() as session:
            if (known := self._done(session, request_key, action)) is not None:
                return known
            row = _row_under_way(session)
            if row is None:
                raise Conflict(f"No rollout is under way: there is nothing to {action}.")
            if row.state == after:
                return _entry(row)
            if row.state != before:
                raise Conflict(f"Rollout {row.id} is {row.state}: it cannot be told to {action}.")
            now = self._clock()
            row.state = after
            if after == "running":
                row.step_at = now
            _audit(session, now, who, action, row.id, row.release, why, request_key)
            return _entry(row)

    def _new(
        self, release: str | None, replaces: str | None, plan: Plan, state: State, request_key: str | None
    ) -> Rollout:
        now = self._clock()
        return Rollout(
            release=release,
            replaces=replaces,
            state=state,
            step=0,
            steps=",".join(f"{share:g}" for share in plan.steps),
            step_seconds=plan.step_seconds,
            step_requests=plan.step_requests,
            manual=plan.manual,
            shadow=plan.shadow,
            started_at=now,
            step_at=now,
            request_key=request_key,
        )

    def _get(self, session: Session, rollout: int) -> Rollout:
        row = session.get(Rollout, rollout)
        if row is None:
            raise NotFound(f"There is no rollout {rollout}.")
        return row

    @contextmanager
    def alone(self) -> Iterator[Session]:
        """A transaction that no rollout begins, changes or ends beside."""
        with self._database.write() as session:
            exclude(session.connection(), "rollout")
            yield session


def traffic(session: Session) -> Traffic:
    """Which release answers now."""
    return Traffic(_live(session), _under_way(session))


def _end(row: Rollout, state: State, now: float, why: str) -> None:
    row.state, row.ended_at, row.reason = state, now, why[:MOST_REASON]


def _audit(
    session: Session,
    at: float,
    who: str,
    what: str,
    rollout: int | None,
    release: str | None,
    why: str,
    request_key: str | None = None,
) -> None:
    told = {"at": at, "who": who[:120], "what": what[:40], "why": why[:MOST_REASON]}
    session.add(AuditEntry(**told, rollout=rollout, release=release, request_key=request_key))


def _steps(text: str) -> tuple[float, ...]:
    return tuple(float(share) for share in text.split(","))


def _entry(row: Rollout) -> Entry:
    plan = Plan(_steps(row.steps), row.step_seconds, row.step_requests, row.manual, row.shadow)
    state = cast("State", row.state)
    return Entry(
        row.id,
        row.release,
        row.replaces,
        state,
        row.step,
        plan,
        row.started_at,
        row.step_at,
        row.ended_at,
        row.reason,
    )


def _count(row: ArmFigure) -> Count:
    arm = cast("Counted", row.arm)
    return Count(row.step, arm, row.bucket, row.shown, row.accepted, row.requests, row.errors, row.log_seconds)


def _row_under_way(session: Session) -> Rollout | None:
    return session.scalars(select(Rollout).where(Rollout.state.in_(UNDER_WAY))).one_or_none()


def _under_way(session: Session) -> Entry | None:
    row = _row_under_way(session)
    return None if row is None else _entry(row)


def _row_live(session: Session) -> Rollout | None:
    promoted = select(Rollout).where(Rollout.state == "promoted").order_by(Rollout.ended_at.desc(), Rollout.id.desc())
    return session.scalars(promoted.limit(1)).one_or_none()


def _live(session: Session) -> str | None:
    row = _row_live(session)
    return None if row is None else row.release


def _live_before(session: Session, release: str) -> str | None:
    """What a rollout of ``release`` would replace. Conflict where none can begin."""
    if (other := _under_way(session)) is not None:
        raise Conflict(f"Rollout {other.id} is {other.state}: promote it or roll it back first.")
    if (live := _live(session)) == release:
        raise Conflict(f"The release {release} is live already.")
    return live


def _started(session: Session, release: str, request_key: str | None) -> Entry | None:
    if request_key is None:
        return None
    known = session.scalars(select(Rollout).where(Rollout.request_key == request_key)).one_or_none()
    if known is not None and known.release != release:
        raise Conflict(f"The idempotency key {request_key!r} was used for the release {known.release}.")
    return None if known is None else _entry(known)
