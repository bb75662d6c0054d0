"""Keeps a conversation in the private store of the person's own device: what was said, what was recommended, verdicts.

Knows nothing of terminals, and of the server only what a `Reply` brought. A store that fails ends no conversation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.cli.conversation import Reply
    from federation.device.base import Verdict
    from federation.device.store import EventStore


class Keeper:
    """Keeps in the store within ``home``, or nowhere where that is None.

    ``complain`` is told what is wrong with the store, each thing once. The store is open only while it is written, so
    that `sotto device` can do all it does beside a conversation.
    """

    def __init__(self, home: Path | None, complain: Callable[[str], None]) -> None:
        self._home, self._complain = home, complain
        self._complained: set[str] = set()
        self.begin()

    @property
    def path(self) -> Path | None:
        """The file of the store, or None."""
        from federation.device.store import STORE_PATH

        return None if self._home is None else self._home / STORE_PATH

    def begin(self) -> None:
        """What is said from now on is another conversation."""
        from federation.device.records import new_id

        self._conversation = new_id()

    def turn(self, message: str, at: float, reply: Reply) -> bool:
        """Keeps ``message``, said ``at`` seconds since the epoch, the ``reply`` and its impression; whether it did."""

        def change(store: EventStore) -> None:
            store.add_turn(self._conversation, "user", message, at)
            if reply.text:
                store.add_turn(self._conversation, "assistant", reply.text)
            if reply.lesson is not None:
                shown = [pick["id"] for pick in reply.recommendations]
                row = {"kind": "impression", "id": reply.recommendation_id, "at": time.time(), "wish": reply.wish}
                store.load([{**row, "shown": shown, **reply.lesson}])

        return self._changed(change)

    def judge(self, verdict: Verdict, impression: str, item: str | None) -> bool:
        """Keeps the ``verdict`` on the ``item`` of an ``impression``, or on all of it; whether it did."""
        return self._changed(lambda store: store.add_verdict(verdict, item=item, impression=impression))

    def withdraw(self, impression: str, item: str | None) -> bool:
        """Takes back the verdict on the ``item``, or on all of the ``impression``; False where it is still kept."""
        if self._home is None:
            return True
        return self._changed(lambda store: store.withdraw_verdict(item=item, impression=impression))

    def _changed(self, change: Callable[[EventStore], object]) -> bool:
        from federation.device.store import EventStore, StoreError

        if self._home is None:
            return False
        try:
            with EventStore.at_home(self._home) as store:
                change(store)
        except (StoreError, OSError) as error:
            if str(error) not in self._complained:
                self._complained.add(str(error))
                self._complain(str(error))
            return False
        return True
