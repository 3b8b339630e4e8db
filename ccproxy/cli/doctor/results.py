"""What was found, in words. Pure.

=========  ==============================================================
OK         a server will be content
NOTE       it will run, but somebody should know
SKIPPED    was not looked at; says why
WRONG      it will not do what it should, and what helps
=========  ==============================================================
"""

from collections.abc import Sequence
from enum import Enum

import msgspec
from attrs import frozen


class CheckStatus(Enum):
    """How good it is; see the module."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WRONG = "wrong"


# Of ECMA-48, the ones that every terminal has.
_COLOURS = {
    CheckStatus.OK: 32,
    CheckStatus.NOTE: 33,
    CheckStatus.SKIPPED: 2,
    CheckStatus.WRONG: 31,
}
_LEVEL_WIDTH = max(len(level.value) for level in CheckStatus)
_NAME_WIDTH = len("database")


@frozen
class CheckResult:
    """One thing that was looked at.

    Attributes:
        name: of what: ``key``, ``claude``, ``state``, ``database``, ``port``,
            ``session``, ``login``, ``model``, ``composer`` or ``answer``.
        message: one line.
        remedy: what to do, if it is not part of the message.
        seconds: how long it took, if that is of interest.
    """

    level: CheckStatus
    name: str
    message: str
    remedy: str = ""
    seconds: float | None = None

    def line(self, *, colour: bool) -> str:
        """The verdict as people read it."""
        level = self.level.value.ljust(_LEVEL_WIDTH)
        if colour:
            level = f"\x1b[{_COLOURS[self.level]}m{level}\x1b[0m"
        words = "; ".join(filter(None, (self.message, self.remedy)))
        # What others say may have several lines.
        return f"{level}  {self.name.ljust(_NAME_WIDTH)}  {' '.join(words.split())}"


def is_well(verdicts: Sequence[CheckResult]) -> bool:
    """Whether nothing is wrong."""
    return all(verdict.level is not CheckStatus.WRONG for verdict in verdicts)


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


def document(verdicts: Sequence[CheckResult], version: str) -> bytes:
    """The verdicts as JSON, for scripts."""
    checks = [
        _Check(v.name, v.level.value, v.message, v.remedy or None, v.seconds)
        for v in verdicts
    ]
    encoded = msgspec.json.encode(_Document(is_well(verdicts), version, checks))
    return msgspec.json.format(encoded, indent=2)
