"""What Alembic runs to reach the database: it is given a connection that already holds the lock."""

from __future__ import annotations

from alembic import context

from assistant.state.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
