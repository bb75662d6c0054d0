"""The idempotency key of what the audit log tells, so that a request that comes twice changes things once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the key; earlier lines have none."""
    op.add_column("audit", sa.Column("request_key", sa.String(200)))
    op.create_index("ix_audit_request_key", "audit", ["request_key"], unique=True)
