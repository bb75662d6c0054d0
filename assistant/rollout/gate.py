"""What a release must pass before any traffic. A check that fails names its figures; overriding it is audited.

The checks are functions of the release and of the one that is live; `assistant.rollout.checks` holds those of Sotto.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.errors import Conflict


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. ``figures`` says what was measured, in words for people."""

    check: str
    passed: bool
    figures: str


Check = Callable[[str, str | None], Finding]
"""Called with the digests of the release and of the live one, None for the base model."""


class GateClosed(Conflict):
    """A release failed checks; ``findings`` are all of them."""

    code = "gate_closed"

    def __init__(self, findings: Sequence[Finding]) -> None:
        failed = "; ".join(f"{one.check}: {one.figures.rstrip('.')}" for one in findings if not one.passed)
        super().__init__(
            f"The gate is closed. {failed}. Mend the release, or override with a reason: it is kept in the audit log."
        )
        self.findings = tuple(findings)


class Gate:
    """Runs ``checks`` in order."""

    def __init__(self, checks: Sequence[Check] = ()) -> None:
        self._checks = tuple(checks)

    def findings(self, release: str, live: str | None) -> tuple[Finding, ...]:
        """What every check found. A release that cannot even be read stops at the first."""
        found: list[Finding] = []
        for check in self._checks:
            found.append(check(release, live))
            if not found[-1].passed and len(found) == 1:
                break
        return tuple(found)

    def pass_(self, release: str, live: str | None) -> tuple[Finding, ...]:
        """The findings; GateClosed where any did not pass."""
        found = self.findings(release, live)
        if not all(one.passed for one in found):
            raise GateClosed(found)
        return found
