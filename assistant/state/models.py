"""The tables. Every change here needs a migration in `migrations/versions`; a test compares the two.

Times are seconds since the epoch, which every database keeps alike.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, LargeBinary, MetaData, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Every table's base; constraints have names, so that a migration can speak of them."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


class ApiKey(Base):
    """A key. Its secret is not here: ``digest`` and ``previous_digest`` are SHA-256 of the whole key, in hex.

    ``previous_digest`` is the secret before the last rotation, good until ``previous_until``. ``scopes`` are names
    with blanks between. ``last_used_at`` is cut to the hour. Rates that are None are the server's own.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    previous_digest: Mapped[str | None] = mapped_column(String(64))
    previous_until: Mapped[int | None] = mapped_column(BigInteger)
    scopes: Mapped[str] = mapped_column(String(200))
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)


class RateEntry(Base):
    """``amount`` of a bucket's allowance that is taken ``until`` a time."""

    __tablename__ = "rate_entries"
    __table_args__ = (Index(None, "bucket", "until"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    bucket: Mapped[str] = mapped_column(String(200))
    until: Mapped[float] = mapped_column(Double)
    amount: Mapped[int] = mapped_column(BigInteger)


_COUNTED = BigInteger().with_variant(Integer, "sqlite")


class Secret(Base):
    """A random value that all servers on this database share, made once."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary(64))


class Rollout(Base):
    """A release on its way into live traffic, or a change that took effect at once (a rollback is one too).

    ``release`` and ``replaces`` are ids of releases, None for the bare base model. ``steps`` are the canary's shares in
    percent with commas between. ``request_key`` is the idempotency key of whoever asked for it. What is live is the
    release of the last rollout that was promoted.
    """

    __tablename__ = "rollouts"

    id: Mapped[int] = mapped_column(_COUNTED, primary_key=True)
    release: Mapped[str | None] = mapped_column(String(64))
    replaces: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), index=True)
    step: Mapped[int] = mapped_column(Integer)
    steps: Mapped[str] = mapped_column(String(100))
    step_seconds: Mapped[float] = mapped_column(Double)
    step_requests: Mapped[int] = mapped_column(Integer)
    manual: Mapped[bool] = mapped_column(Boolean)
    shadow: Mapped[bool] = mapped_column(Boolean)
    started_at: Mapped[float] = mapped_column(Double)
    step_at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str | None] = mapped_column(Text)
    request_key: Mapped[str | None] = mapped_column(String(200), unique=True)


class ArmFigure(Base):
    """What one arm did for one group of callers in one step of a rollout: see `assistant.rollout.judge.Count`."""

    __tablename__ = "arm_figures"

    rollout: Mapped[int] = mapped_column(_COUNTED, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    arm: Mapped[str] = mapped_column(String(8), primary_key=True)
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    shown: Mapped[int] = mapped_column(BigInteger)
    accepted: Mapped[int] = mapped_column(BigInteger)
    requests: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    log_seconds: Mapped[float] = mapped_column(Double)


class Feedback(Base):
    """The verdict in force on a recommendation, so that it can be changed or withdrawn; pruned after some weeks.

    ``id`` is a keyed hash of the recommendation's id. Neither who gave it nor what was recommended is here.
    """

    __tablename__ = "feedback"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    at: Mapped[float] = mapped_column(Double, index=True)


class AuditEntry(Base):
    """Who did what, why and when. Rows are only ever added: triggers refuse anything else.

    ``request_key`` is the idempotency key of whoever asked for it.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_COUNTED, primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    who: Mapped[str] = mapped_column(String(120))
    what: Mapped[str] = mapped_column(String(40))
    rollout: Mapped[int | None] = mapped_column(_COUNTED)
    release: Mapped[str | None] = mapped_column(String(64))
    why: Mapped[str] = mapped_column(Text)
    request_key: Mapped[str | None] = mapped_column(String(200), unique=True, index=True)


class Replica(Base):
    """A vLLM that is wanted. ``draining`` ones get no new requests and are dropped once they are idle."""

    __tablename__ = "replicas"

    url: Mapped[str] = mapped_column(String(200), primary_key=True)
    draining: Mapped[bool] = mapped_column(Boolean)
    added_at: Mapped[float] = mapped_column(Double)


class Residence(Base):
    """A release that a server may ask for, with its replies under way there, or that it is taking away.

    Told every other second; what is old means nothing any more.
    """

    __tablename__ = "residences"

    server: Mapped[str] = mapped_column(String(40), primary_key=True)
    release: Mapped[str] = mapped_column(String(64), primary_key=True)
    in_flight: Mapped[int] = mapped_column(Integer)
    leaving: Mapped[bool] = mapped_column(Boolean, server_default=false())
    seen_at: Mapped[float] = mapped_column(Double, index=True)
