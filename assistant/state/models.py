"""The tables. Every change here needs a migration in `migrations/versions`; a test compares the two.

Times are seconds since the epoch, which every database keeps alike.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Double, Index, Integer, MetaData, String
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
