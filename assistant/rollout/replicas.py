"""Which vLLM replicas are wanted, in the database: added and removed while everything runs."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import select

from assistant.errors import InvalidRequest, NotFound
from assistant.rollout.ledger import Ledger
from assistant.state.database import Database
from assistant.state.models import Replica


@dataclass(frozen=True)
class Wanted:
    """A replica at ``url``; ``draining`` ones get no new calls and are let go once idle."""

    url: str
    draining: bool
    added_at: float


class Replicas:
    """The list. Calls block."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger

    def all(self) -> list[Wanted]:
        """In order of their addresses."""
        with self._database.read() as session:
            rows = session.scalars(select(Replica).order_by(Replica.url))
            return [Wanted(row.url, row.draining, row.added_at) for row in rows]

    def add(self, url: str, who: str, why: str) -> Wanted:
        """Wants the vLLM at ``url``; again what was draining. InvalidRequest for what is no private address."""
        url = private_url(url)
        with self._database.write() as session:
            row = session.get(Replica, url)
            if row is None:
                row = Replica(url=url, draining=False, added_at=time.time())
                session.add(row)
            row.draining = False
            added = Wanted(row.url, row.draining, row.added_at)
        self._ledger.note(who, "replica added", f"{url}: {why}")
        return added

    def drain(self, url: str, who: str, why: str) -> None:
        """Gives it no new calls. NotFound where it is not wanted."""
        with self._database.write() as session:
            self._get(session.get(Replica, url), url).draining = True
        self._ledger.note(who, "replica draining", f"{url}: {why}")

    def remove(self, url: str, who: str, why: str) -> None:
        """Lets it go once its calls have ended. NotFound where it is not wanted."""
        with self._database.write() as session:
            session.delete(self._get(session.get(Replica, url), url))
        self._ledger.note(who, "replica removed", f"{url}: {why}")

    @staticmethod
    def _get(row: Replica | None, url: str) -> Replica:
        if row is None:
            raise NotFound(f"There is no replica {url}: GET /admin/replicas lists them.")
        return row


def private_url(url: str) -> str:
    """``url`` without its trailing slash, when it is http to a loopback or private address, or a bare host name.

    vLLM guards nothing, and is sent conversations: it belongs on loopback or a private network.
    """
    parts = urlsplit(url.rstrip("/"))
    host = parts.hostname or ""
    plain = parts.scheme == "http" and host and not (parts.path or parts.query or parts.fragment or parts.username)
    try:
        private = ipaddress.ip_address(host).is_private
    except ValueError:
        private = bool(host) and "." not in host
    if not plain or not private:
        raise InvalidRequest(
            f"{url!r} is not like http://10.0.0.2:8001: a replica is a vLLM on loopback or a private network.", "url"
        )
    return url.rstrip("/")
