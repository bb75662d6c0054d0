"""Ends a reply before a text that the client named (``stop``), in what is shown rather than in what the model writes.

The model writes slots whose facts come from the records, so a stop given to the engine would miss what stands in a
record and could cut a slot in two.
"""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Cuts a stream of pieces before the stop that is complete first, wherever the pieces are cut.

    What may be the beginning of a stop is held back until it is known. Of two that end together the longer counts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held = ""
        self.reached = False

    def push(self, piece: str) -> str:
        """What may be shown now that ``piece`` has come; nothing comes after a stop is ``reached``."""
        self._held += "" if self.reached else piece
        ends = [(self._held.find(text) + len(text), -len(text)) for text in self._texts if text in self._held]
        if ends:
            self.reached = True
            end, length = min(ends)
            shown, self._held = self._held[: end + length], ""
            return shown
        kept = max((_overlap(self._held, text) for text in self._texts), default=0)
        shown, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return shown

    def rest(self) -> str:
        """What was held back and turned out to be no stop; call it at the end."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` that begins ``stop`` and is not all of it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
