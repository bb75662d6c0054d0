"""What a person thinks of what was recommended: kept on their device, and told to the server as one word on the whole.

The server learns whether a recommendation was accepted or rejected: neither which item nor why. Knows no terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from assistant.cli.conversation import Conversation, ConversationError, Reply
from assistant.cli.keeping import Keeper

if TYPE_CHECKING:
    from federation.device.base import Verdict

Outcome = Literal["accepted", "rejected", "withdrawn"]


class VerdictError(ValueError):
    """There is nothing such a verdict could be on; the message is meant for people."""


@dataclass(eq=False)
class Shown:
    """What was recommended, and the verdicts in force on it: by an item's id, and on all of it by None.

    ``told`` is what the server knows of them.
    """

    id: str
    picks: list[dict[str, Any]]
    verdicts: dict[str | None, Verdict] = field(default_factory=dict)
    told: Outcome = "withdrawn"

    def name(self, item: str | None) -> str:
        """``item``, or all of what was recommended, in words."""
        titles = {pick["id"]: str(pick["title"]) for pick in self.picks}
        return "all of the recommendation" if item is None else titles[item]

    @property
    def outcome(self) -> Outcome:
        """What the verdicts come to: that on all of it goes first; without, one item liked outweighs those disliked."""
        counted = [self.verdicts[None]] if None in self.verdicts else self.verdicts.values()
        return "accepted" if "liked" in counted else "rejected" if "disliked" in counted else "withdrawn"


class Verdicts:
    """The verdicts given in a conversation. Each method says in words what came of it, or raises VerdictError."""

    def __init__(self, conversation: Conversation, keeper: Keeper) -> None:
        self._conversation, self._keeper = conversation, keeper
        self._shown: Shown | None = None
        self._given: list[tuple[Shown, str | None]] = []

    def begin(self) -> None:
        """Nothing is recommended yet. What was judged before can still be taken back."""
        self._shown = None

    def show(self, reply: Reply) -> None:
        """Verdicts from now on are on what ``reply`` recommends, if anything; on nothing where it was broken off."""
        if reply.recommendation_id is not None:
            self._shown = Shown(reply.recommendation_id, reply.recommendations) if reply.complete else None

    def give(self, verdict: Verdict, number: str) -> str:
        """Puts the ``verdict`` on what has the ``number`` in force, or on all of the recommendation without one."""
        shown, item = self._meant(verdict, number)
        kept = self._keeper.judge(verdict, shown.id, item)
        shown.verdicts[item] = verdict
        self._given = [one for one in self._given if one != (shown, item)] + [(shown, item)]
        return self._told(shown, f"{verdict.capitalize()}: {shown.name(item)}.", "" if kept else "It is not kept.")

    def undo(self) -> str:
        """Takes the last verdict back, whole: one that it replaced does not come back."""
        if not self._given:
            raise VerdictError("There is no verdict to take back.")
        shown, item = self._given.pop()
        gone = self._keeper.withdraw(shown.id, item)
        said = f"Taken back: {shown.verdicts.pop(item)}, {shown.name(item)}."
        return self._told(shown, said, "" if gone else "The store still has it.")

    def _meant(self, verdict: Verdict, number: str) -> tuple[Shown, str | None]:
        shown = self._shown
        if shown is None:
            raise VerdictError("There is no recommendation to judge yet: ask for one first.")
        ids = {str(place): str(pick["id"]) for place, pick in enumerate(shown.picks, 1)}
        if not number and verdict != "seen":
            return shown, None
        if number not in ids:
            every = "1" if len(ids) == 1 else f"1 to {len(ids)}"
            raise VerdictError(f"Say which of the recommendations: {every}.")
        return shown, ids[number]

    def _told(self, shown: Shown, *said: str) -> str:
        """``said``, once the server was told what the verdicts on what was ``shown`` come to now."""
        now, fault = shown.outcome, ""
        if now != shown.told:
            try:
                self._conversation.judge(shown.id, now)
                shown.told = now
            except ConversationError as error:
                fault = f"The server was not told: {error}"
        return " ".join(filter(None, (*said, fault)))
