"""Logs, for the operator, what was found out about a binary of the CLI."""

from twisted.logger import Logger

from ccproxy.claude.installation.contract import (
    BEHAVIOURS,
    DECISIVE,
    NEWEST_TESTED,
    Standing,
)
from ccproxy.claude.installation.examined import ExaminedBinary


class ConformanceReport:
    """Writes one line of the log for each event."""

    _log = Logger()

    def updated(self, before: ExaminedBinary, after: ExaminedBinary) -> None:
        """Another binary answers requests from now on."""
        self._log.info(
            "the {before} was replaced: new processes are started from {path} "
            "({version})",
            before=before.name,
            path=after.binary.path,
            version=after.name,
        )

    def kept(self, before: ExaminedBinary, rejected: ExaminedBinary) -> None:
        """A worse binary is at the place; the file of the old binary still exists."""
        self._log.warn(
            "the CLI was replaced by {path}, which is not used: {why}. Requests are "
            "answered by {before} at {kept} while that file exists",
            path=rejected.binary.path,
            why=rejected.shortcoming,
            before=before.name,
            kept=before.binary.path,
        )

    def differs(self, examined: ExaminedBinary) -> None:
        """Requests are sent in native mode from now on."""
        self._log.error(
            "{name} does not send bodies as they were set ({why}): requests are sent "
            "in the slower native mode; see --compose",
            name=examined.name,
            why=examined.why,
        )

    def not_examined(self, examined: ExaminedBinary) -> None:
        """Requests are sent in native mode for now."""
        self._log.warn(
            "the claude CLI could not be examined ({why}): requests are sent in the "
            "slower native mode for now; see --compose",
            why=examined.why,
        )

    def unusable(self, examined: ExaminedBinary) -> None:
        """Requests fail from now on."""
        self._log.warn(
            "requests fail until the CLI can be used: {why}", why=examined.why
        )

    def missing(self, why: str) -> None:
        """There is no binary any more."""
        self._log.warn("no new CLI process can be started: {why}", why=why)

    def standing(self, examined: ExaminedBinary) -> None:
        """All quick checks are done."""
        result = examined.result
        match result.standing:
            case Standing.TESTED:
                self._log.info("{name} is tested", name=examined.name)
            case Standing.NEWER:
                self._log.info(
                    "{name} is newer than the newest tested version, {newest}, and has "
                    "passed the checks",
                    name=examined.name,
                    newest=NEWEST_TESTED,
                )
        for name in result.falls_short_in:
            # The decisive behaviours were reported before.
            if BEHAVIOURS[name].reaction not in DECISIVE:
                self._log.warn(
                    "{version} falls short in {name} ({difference}); this costs: "
                    "{loss}",
                    version=examined.name,
                    name=name,
                    difference=result.missing[name],
                    loss=BEHAVIOURS[name].loss,
                )
