"""Brings the tables up to date, by Alembic.

A migration is a file of `versions`, written by hand: ``revision``, ``down_revision`` (the one before) and ``upgrade``.
They only go forward; to go back, restore the database from a copy.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Runs what is missing within the transaction of ``connection``: all of it, or nothing.

    Raises alembic.util.CommandError for a database of a version that is not known here.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
