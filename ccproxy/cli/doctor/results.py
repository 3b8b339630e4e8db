"""Results of checks, as lines and as JSON. Pure.

=========  ==============================================================
OK         the check passed
NOTE       a server will work; the operator should read the message
SKIPPED    the check was not made; the message has the reason
WRONG      a server will not work; the message or the remedy says what to do
=========  ==============================================================
"""

from collections.abc import Sequence
from enum import Enum

import msgspec
from attrs import frozen


class CheckStatus(Enum):
    """The status of a check; see the module's table."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WRONG = "wrong"


# Colours by their ECMA-48 numbers.
_COLOURS = {
    CheckStatus.OK: 32,
    CheckStatus.NOTE: 33,
    CheckStatus.SKIPPED: 2,
    CheckStatus.WRONG: 31,
}
_STATUS_WIDTH = max(len(status.value) for status in CheckStatus)
_NAME_WIDTH = len("database")


@frozen
class CheckResult:
    """The result of one check.

    Attributes:
        name: what was checked: ``package``, ``key``, ``claude``, ``state``,
            ``database``, ``port``, ``session``, ``login``, ``model``, ``composer`` or
            ``answer``.
        message: what was found.
        remedy: what the operator can do; empty if the message says it.
        seconds: the duration of the start or the answer; None: nothing was measured.
    """

    status: CheckStatus
    name: str
    message: str
    remedy: str = ""
    seconds: float | None = None

    def line(self, *, colour: bool) -> str:
        """The result as a line of text."""
        status = self.status.value.ljust(_STATUS_WIDTH)
        if colour:
            status = f"\x1b[{_COLOURS[self.status]}m{status}\x1b[0m"
        words = "; ".join(filter(None, (self.message, self.remedy)))
        # Error messages of the operating system may have several lines.
        return f"{status}  {self.name.ljust(_NAME_WIDTH)}  {' '.join(words.split())}"


def is_well(results: Sequence[CheckResult]) -> bool:
    """Whether no result is WRONG."""
    return all(result.status is not CheckStatus.WRONG for result in results)


class _Check(msgspec.Struct):
    name: str
    verdict: str
    message: str
    remedy: str | None
    seconds: float | None


class _Document(msgspec.Struct):
    ok: bool
    version: str
    checks: list[_Check]


def document(results: Sequence[CheckResult], version: str) -> bytes:
    """The results as JSON, for scripts."""
    checks = [
        _Check(v.name, v.status.value, v.message, v.remedy or None, v.seconds)
        for v in results
    ]
    encoded = msgspec.json.encode(_Document(is_well(results), version, checks))
    return msgspec.json.format(encoded, indent=2)
