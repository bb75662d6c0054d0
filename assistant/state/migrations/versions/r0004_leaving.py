"""Whether a server is taking a release away, so that no other asks for it meanwhile."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the mark; what servers told before means nothing any more."""
    op.execute("DELETE FROM residences")
    op.add_column("residences", sa.Column("leaving", sa.Boolean, nullable=False, server_default=sa.false()))
