"""Examines binaries of the CLI, one at a time, and stores the results."""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ccproxy.claude.installation.examination import Prober, ProbeResults
from ccproxy.claude.installation.examined import ExaminedBinary
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary import identify
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed, ClaudeUnavailable

_RETRY_SECONDS = 1.0
# Errors that an incomplete file cannot cause. The examination is not repeated.
_FINAL = (Cause.CLI_TOO_OLD, Cause.CLI_FALLS_SHORT)


class Examiner:
    """Examines a binary.

    Args:
        prober: makes the checks.
        probe_results: stores results.
        clock: for repetitions.
        decided: called when the decisive checks are done, or have failed.
        completed: called when all quick checks are done.
        decides: whether the prober has checks.
    """

    _log = Logger()

    def __init__(
        self,
        prober: Prober,
        probe_results: ProbeResults,
        clock: IReactorTime,
        decided: Callable[[ExaminedBinary], None],
        completed: Callable[[ExaminedBinary], None],
        *,
        decides: bool,
    ) -> None:
        self.probe_results = probe_results
        self._prober = prober
        self._clock = clock
        self._decided = decided
        self._completed = completed
        self._decides = decides
        self._examined: ExaminedBinary | None = None
        self._examination: Deferred[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether checks are running."""
        return self._examined is not None

    def cancel(self) -> None:
        """Cancel a running examination."""
        self._examined = None
        examination, self._examination = self._examination, None
        if examination is not None:
            examination.cancel()

    def examine(
        self, examined: ExaminedBinary, may_change: Callable[[], bool] = lambda: False
    ) -> None:
        """Examine a binary; cancels an examination that is running.

        Args:
            examined: the binary; its verdict is set.
            may_change: whether the file may still be written; then an examination that
                fails is repeated.
        """
        self.cancel()
        kept = self._stored(examined.binary)
        if kept is not None:
            examined.decide(kept)
            self._report_decision(examined)
            self._completed(examined)
            return
        examined.decided_seconds = self._clock.seconds()
        self._examined = examined
        examination = Deferred.fromCoroutine(self._probe(examined, may_change))
        if not examination.called:
            self._examination = examination
        examination.addErrback(
            lambda failure: self._log.failure(
                "the examination of a CLI failed", failure
            )
        )

    def _stored(self, binary: BinaryID) -> ProbeResult | None:
        kept = self.probe_results.load(binary) if self._decides else None
        return kept if kept is not None and kept.is_complete else None

    async def _probe(
        self, examined: ExaminedBinary, may_change: Callable[[], bool]
    ) -> None:
        try:
            result = await self._found(examined, may_change)
        except CancelledError:
            return
        except CCProxyError as error:
            if examined is self._examined:
                self._examined = self._examination = None
                self._fail(examined, error)
            return
        if examined is self._examined:
            self._examined = self._examination = None
            examined.result = result
            if self._decides:
                self.probe_results.save(examined.binary, result)
                self._completed(examined)

    async def _found(
        self, examined: ExaminedBinary, may_change: Callable[[], bool]
    ) -> ProbeResult:
        """Make the checks; repeat them if the CLI was killed, or was incomplete."""

        def decided(result: ProbeResult) -> None:
            # The program that was started may be another file already.
            is_same = identify(examined.launch.binary) == examined.binary
            if is_same and examined is self._examined:
                examined.decide(result)
                self._report_decision(examined)

        is_repeated = False
        while True:
            try:
                return await self._prober.probe(examined.launch, decided)
            except CCProxyError as error:
                if may_change() and error.cause not in _FINAL:
                    await deferLater(self._clock, _RETRY_SECONDS)
                elif is_repeated or not isinstance(error, ClaudeFailed):
                    raise
                is_repeated = True

    def _fail(self, examined: ExaminedBinary, error: CCProxyError) -> None:
        if self._decides or isinstance(error, ClaudeUnavailable):
            examined.fail(error)
        else:
            # Requests get the same error.
            examined.decide(ProbeResult())
        self._report_decision(examined)

    def _report_decision(self, examined: ExaminedBinary) -> None:
        examined.decided_seconds = self._clock.seconds()
        self._decided(examined)
