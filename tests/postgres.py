"""A throw-away PostgreSQL for the tests: a cluster in a folder of its own, reached by a socket in it alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

START_SECONDS = 60
# PostgreSQL refuses to run as root.
UNPRIVILEGED = ("postgres", "nobody")


class Cluster:
    """A running server in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()

    def url(self, name: str) -> str:
        """The address of the database ``name``."""
        return f"postgresql://sotto@/{name}?host={self._folder}"

    def new_database(self) -> str:
        """The address of a database that is empty."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Removes the database at ``url``, and cuts off who uses it."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running(programs: Path) -> Iterator[Cluster]:
    """A cluster for as long as the block runs, by the ``programs`` of a PostgreSQL."""
    # Not in tmp_path: its parents are closed to every other user.
    folder = Path(tempfile.mkdtemp(prefix="sotto-postgres-"))
    user = None
    if os.geteuid() == 0:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = next(known[name] for name in UNPRIVILEGED if name in known)
        os.chown(folder, user.pw_uid, user.pw_gid)
    own = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    options = {"cwd": folder, "stdin": subprocess.DEVNULL, "env": {**os.environ, "LC_ALL": "C"}, **own}
    data = folder / "data"
    made = ["initdb", "-D", data, "-U", "sotto", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    settings = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "shared_buffers": "16MB"}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    try:
        subprocess.run([programs / made[0], *made[1:]], check=True, capture_output=True, **options)
        with (folder / "log").open("w") as log:
            server = subprocess.Popen([programs / "postgres", "-D", data, *flags], stdout=log, stderr=log, **options)
        try:
            cluster = Cluster(folder)
            _wait(cluster, server, folder / "log")
            yield cluster
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(cluster: Cluster, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(cluster.url("postgres")).close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
