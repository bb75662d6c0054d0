"""The state database: made once by many, kept from other users, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select, text

from assistant.errors import StateUnavailable
from assistant.settings import Settings
from assistant.state.database import FILE_NAME, Database, database_url, exclude
from assistant.state.models import AuditEntry, Base, RateEntry

ROOT = Path(__file__).parents[2]
OPEN = """
import sys
from assistant.settings import Settings
from assistant.state.database import Database
Database.of(Settings(database_url=sys.argv[1])).close()
"""


def test_the_migrations_make_the_tables_that_the_models_say(database):
    with database.write() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("change", ["UPDATE audit SET why = 'another'", "DELETE FROM audit"])
def test_the_audit_log_is_only_ever_added_to(database, change):
    with database.write() as session:
        session.add(AuditEntry(at=1.0, who="a person", what="start", why="a reason"))
    with pytest.raises(StateUnavailable), database.write() as session:
        session.execute(text(change))
    with database.read() as session:
        assert session.scalars(select(AuditEntry.why)).all() == ["a reason"]


def test_processes_that_start_together_make_it_once(database_url):
    command = [sys.executable, "-c", OPEN, database_url]
    starting = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in starting] == [("", 0)] * 3
    with Database.of(Settings(database_url=database_url)) as database, database.read() as session:
        assert session.scalars(text("SELECT version_num FROM alembic_version")).all() == ["0004"]


def test_opening_again_keeps_what_is_there(database_url):
    settings = Settings(database_url=database_url)
    with Database.of(settings) as database, database.write() as session:
        session.add(RateEntry(bucket="b", until=1.0, amount=2))
    with Database.of(settings) as database, database.read() as session:
        assert session.scalars(select(RateEntry.amount)).all() == [2]


def test_a_transaction_is_whole_or_nothing(database):
    def fail() -> None:
        with database.write() as session:
            session.add(RateEntry(bucket="b", until=1.0, amount=2))
            session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(RateEntry)) == 0


def test_what_a_reader_changes_is_lost(database):
    with database.read() as session:
        session.add(RateEntry(bucket="b", until=1.0, amount=2))
        session.flush()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(RateEntry)) == 0


def test_of_those_who_exclude_each_other_there_is_one_at_a_time(database):
    inside, most, lock = 0, 0, threading.Lock()

    def enter(_: int) -> None:
        nonlocal inside, most
        with database.write() as session:
            exclude(session.connection(), "thing")
            with lock:
                inside += 1
                most = max(most, inside)
            session.execute(select(1))
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(40)))
    assert most == 1


def test_the_file_is_its_owners_alone(own_home):
    own_home.mkdir()
    (own_home / FILE_NAME).touch(0o644)
    with Database.of(Settings()) as database:
        with database.write() as session:
            session.add(RateEntry(bucket="b", until=1.0, amount=2))
        modes = {path.name: path.stat().st_mode & 0o777 for path in own_home.iterdir()}
    assert {f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm", ".lock")} == set(modes)
    assert set(modes.values()) == {0o600}


def test_one_of_a_newer_version_is_refused(database_url):
    settings = Settings(database_url=database_url)
    with Database.of(settings) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateUnavailable, match="newer Sotto"):
        Database.of(settings)


def test_a_failed_migration_leaves_nothing(database_url, monkeypatch):
    def half(connection):
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise OSError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr("assistant.state.database.upgrade", half)
        with pytest.raises(StateUnavailable, match="the power went"):
            Database.of(Settings(database_url=database_url))
    with Database.of(Settings(database_url=database_url)) as database, database.read() as session:
        assert "half" not in inspect(session.connection()).get_table_names()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not an address", "is no address"),
        ("mysql://root:hunter2@localhost/x", "names mysql"),
        ("postgresql://ada:hunter2@127.0.0.1:1/x", "cannot be used"),
        ("sqlite:////proc/nowhere/state.sqlite", "cannot be used"),
    ],
)
def test_an_address_that_does_not_do_is_named_without_its_password(url, said):
    with pytest.raises(StateUnavailable, match=said) as refused:
        Database.of(Settings(database_url=url))
    assert "hunter2" not in str(refused.value)


def test_postgresql_is_spoken_to_by_the_driver_that_is_installed():
    assert database_url(Settings(database_url="postgresql://h/x")).drivername == "postgresql+psycopg"
    assert database_url(Settings()).database.endswith(FILE_NAME)


@pytest.mark.postgres
def test_a_server_that_was_away_is_reached_again(postgres):
    with Database.of(Settings(database_url=postgres.new_database())) as database:
        with database.write() as session:
            gone = session.scalar(text("SELECT pg_backend_pid()"))
        with Database.of(Settings(database_url=postgres.url("postgres"))) as other, other.write() as session:
            session.execute(text("SELECT pg_terminate_backend(:id)"), {"id": gone})
        with database.read() as session:
            assert session.scalar(select(1)) == 1
