"""Examines each binary of the CLI once: does it do what the proxy relies on?

The contract's quick checks are made on a CLI process with a dummy key, which sends its
requests to a scripted API on loopback. The result is stored by the binary's path, size,
modification time and inode, so that an updated file counts as another binary. No
client's request is sent before the decisive checks are done. The other checks follow in
the background.

=========  ===========================================================================
UNKNOWN    no binary was examined
EXAMINING  the decisive checks are running
MERGES     the CLI passed them: requests are sent in body mode
DIFFERS    bodies do not arrive as they were set: requests are sent in native mode
FAILED     no result: requests are sent in native mode; examined again later
UNUSABLE   the binary is too old, unsafe, or not the CLI: requests fail; examined again
           later
=========  ===========================================================================

The proxy looks at the place of the binary for each request, before each start of a
process, and every ten seconds. If a new binary is there, the old binary stays in use
until the decisive checks of the new binary are done: processes of the old binary take
requests, and new processes are started from its file if that file still exists. If the
new binary is worse, the old binary stays in use while its file exists. While the place
is empty, or has an incomplete file, requests that need a new process wait for some
seconds.

Source: docs/claude-cli-protocol.md, "Body mode" and "Versions".
"""

from collections.abc import Callable
from contextlib import suppress

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.installation.compose_mode import BinaryVerdict
from ccproxy.claude.installation.examination import Prober, ProbeResults
from ccproxy.claude.installation.examined import ExaminedBinary
from ccproxy.claude.installation.examiner import Examiner
from ccproxy.claude.installation.place import BinaryPlace
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.installation.report import ConformanceReport
from ccproxy.claude.process.binary import gone
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.core.errors import Cause, CCProxyError, ClaudeUnresponsive

# The time before a binary without a result is examined again.
_REEXAMINE_SECONDS = 60.0
_RETRY_SECONDS = 1.0
# The time between two looks at the place of the binary: usually, and while it is empty.
_LOOK_SECONDS = 10.0
_SOON_SECONDS = 0.25
# The longest time that an update takes to put a complete file there. npm and pip unpack
# 220 MB within some seconds.
_UPDATE_SECONDS = 15.0


class Conformance:
    """Examines the current binary, and each binary that replaces it.

    Args:
        launch: returns how the CLI is started; raises `CCProxyError` if there never was
            a CLI.
        prober: examines a binary.
        probe_results: stores results.
        clock: for the time of the next examination.
        known: called when processes may be started again, or a new binary is used.
        decides: whether the prober has checks; if not, the examination only detects an
            unusable binary, and an option that the CLI does not know.
    """

    def __init__(
        self,
        launch: Callable[[], LaunchSpec],
        prober: Prober,
        probe_results: ProbeResults,
        clock: IReactorTime,
        known: Callable[[], None],
        *,
        decides: bool = True,
    ) -> None:
        self._place = BinaryPlace(launch)
        self._examiner = Examiner(
            *(prober, probe_results, clock, self._decided, self._completed),
            decides=decides,
        )
        self._clock = clock
        self._known = known
        self._report = ConformanceReport()
        # The binary in use, and another one at its place, which is being examined or
        # was found to be worse.
        self._used: ExaminedBinary | None = None
        self._new: ExaminedBinary | None = None
        # While a binary is examined again: the reason that was logged the first time.
        self._logged_reason: str | None = None
        # When the binary in use left its place; None: the binary is there.
        self._changed_since: float | None = None
        self._is_waited_for = False
        self._waiting: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    # What is known.

    @property
    def verdict(self) -> BinaryVerdict:
        """The result for the binary in use."""
        used = self._current
        return BinaryVerdict.UNKNOWN if used is None else used.verdict

    @property
    def is_usable(self) -> bool:
        """False if the checks found that the binary in use is unusable."""
        return self.verdict is not BinaryVerdict.UNUSABLE

    @property
    def why(self) -> str:
        """The reason for a bad verdict, one clause."""
        used = self._current
        return "" if used is None else used.why

    @property
    def result(self) -> ProbeResult:
        """What the checks of the binary in use have found."""
        used = self._current
        return ProbeResult() if used is None else used.result

    @property
    def binary(self) -> BinaryID | None:
        """The binary in use; None: none was found."""
        used = self._current
        return None if used is None else used.binary

    @property
    def why_not_updated(self) -> str:
        """Why the binary at the place is not used, one clause; empty: it is used."""
        new = self._new
        return "" if new is None or new.is_examining else new.shortcoming

    @property
    def is_examining(self) -> bool:
        """Whether checks are running, in the background or not."""
        return self._examiner.is_running

    def is_current(self, launch: LaunchSpec) -> bool:
        """Whether a process was started from the binary in use."""
        return launch.binary_id is None or launch.binary_id == self.binary

    @property
    def _current(self) -> ExaminedBinary | None:
        """The binary in use; but if it is bad, a new one that is being examined."""
        used, new = self._used, self._new
        if used is not None and (used.is_good or new is None or not new.is_examining):
            return used
        return new

    # Start and stop.

    def start(self) -> None:
        """Start an examination in the background; also after a stop."""
        self._is_stopped = False
        self._tick()

    def stop(self) -> None:
        """Cancel a running examination, and start none until `start`."""
        self._is_stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._used = self._new = self._changed_since = None
        self._examiner.cancel()
        self._wake_waiters()

    # Before a request, and before a process is started.

    def look(self) -> BinaryVerdict:
        """The verdict; examines the binary in the background if it is new.

        Raises:
            CCProxyError: there is no CLI.
        """
        if self._is_stopped:
            return self.verdict
        binary, used, new = self._place.look(), self._used, self._new
        if used is not None and binary == used.binary:
            self._changed_since = None
            if new is not None:
                self._return_to(used)
            self._examine_again(used)
        elif binary is None:
            self._note_change()
            self._forget_new()
            self._look_soon()
        elif new is None or binary != new.binary:
            self._note_change()
            self._forget_new()
            self._new = ExaminedBinary(binary, self._place.launch)
            self._examiner.examine(
                self._new, lambda: used is not None and self._is_expecting
            )
        elif used is not None and not new.is_examining and not self._is_there(used):
            self._use(new)
        elif not new.is_examining:
            self._examine_again(new)
        return self.verdict

    async def settle(
        self, has_processes: Callable[[], bool] = lambda: False
    ) -> BinaryVerdict:
        """The verdict on the binary in use; waits until processes may be started.

        Args:
            has_processes: whether processes of a binary that was examined can take the
                request; then this method does not wait.

        Raises:
            CCProxyError: there is no CLI, or the CLI cannot be used.
        """
        while True:
            self.look()
            used = self._current
            if used is not None and used.is_good and has_processes():
                break
            if self._may_start():
                break
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter
        return self.verdict

    def check_usable(self) -> bool:
        """Whether a process may be started for any request.

        Returns:
            False: a binary is being examined or installed; ``known`` will be called.

        Raises:
            CCProxyError: the binary cannot be used, or is gone.
        """
        self.look()
        return self._may_start()

    def _may_start(self) -> bool:
        """What `check_usable` returns, after a look at the place of the binary."""
        used = self._current
        if used is None:
            return True
        if used.verdict is BinaryVerdict.UNUSABLE and used.error is not None:
            raise _again(used.error)
        if not used.is_examining and self._is_there(used):
            return True
        if not used.is_examining and not self._is_being_updated:
            raise gone(self._place.launch.binary)
        self._is_waited_for = True
        return False

    def check(self) -> bool:
        """Whether a worker of body mode may be started.

        Returns:
            False: a binary is being examined or installed; ``known`` will be called.

        Raises:
            CCProxyError: the binary cannot be used, or is gone.
        """
        is_usable = self.check_usable()
        if self.verdict in (BinaryVerdict.DIFFERS, BinaryVerdict.FAILED):
            raise ClaudeUnresponsive(
                "the claude CLI was replaced while this request waited for it; try "
                "again",
                retry_after_seconds=_RETRY_SECONDS,
                cause=Cause.CLI_REPLACED,
            )
        return is_usable

    def fit(self, launch: LaunchSpec) -> LaunchSpec:
        """How the binary in use is started: without options that it does not know.

        Args:
            launch: how a CLI with all options is started.
        """
        used = self._current
        if used is None:
            return launch
        return evolve(
            launch,
            binary=self._place.path_of(used.binary) or launch.binary,
            has_error_log=used.result.has_error_log,
            answers_pings="heartbeat" not in used.result.missing,
            binary_id=used.binary,
        )

    def _is_there(self, used: ExaminedBinary) -> bool:
        return self._place.path_of(used.binary) is not None

    # The time of an update.

    @property
    def _is_being_updated(self) -> bool:
        """Whether the binary in use will be replaced, or may come back."""
        if self._new is not None:
            return self._new.is_examining
        return self._is_expecting

    @property
    def _is_expecting(self) -> bool:
        if self._changed_since is None:
            return False
        return self._clock.seconds() - self._changed_since < _UPDATE_SECONDS

    def _note_change(self) -> None:
        is_new = self._place.binary is not None and not self._is_expecting
        if self._changed_since is None or is_new:
            self._changed_since = self._clock.seconds()

    def _look_soon(self) -> None:
        if self._timer is not None and self._is_expecting:
            self._timer.reset(_SOON_SECONDS)

    def _tick(self) -> None:
        """Look at the place of the binary at intervals, also without requests."""
        self._timer = None
        with suppress(CCProxyError):
            # Requests get this error.
            self.look()
        is_gone = self._place.is_missing and not self._is_being_updated
        if self._is_waited_for and is_gone:
            # Requests that wait for a process fail.
            self._report.missing(gone(self._place.launch.binary).message)
            self._reached()
        is_soon = self._place.is_missing and self._is_expecting
        self._timer = self._clock.callLater(
            _SOON_SECONDS if is_soon else _LOOK_SECONDS, self._tick
        )

    # Examinations.

    def _examine_again(self, examined: ExaminedBinary) -> None:
        """Examine a binary without a result again, after some time."""
        age = self._clock.seconds() - examined.decided_seconds
        if examined.is_without_result and age >= _REEXAMINE_SECONDS:
            self._logged_reason = examined.why
            self._examiner.examine(examined)

    def _decided(self, examined: ExaminedBinary) -> None:
        is_logged, self._logged_reason = examined.why == self._logged_reason, None
        used = self._used
        if examined is used:
            if not is_logged:
                self._log_verdict(examined, None)
        elif used is not None and self._is_there(used) and examined.is_worse_than(used):
            self._changed_since = None
            if not is_logged:
                self._report.kept(used, examined)
        else:
            self._use(examined)
            return
        self._reached()

    def _completed(self, examined: ExaminedBinary) -> None:
        if examined is self._used:
            self._report.standing(examined)

    def _use(self, examined: ExaminedBinary) -> None:
        """Use a binary from now on."""
        before, self._used, self._new = self._used, examined, None
        self._changed_since = None
        self._log_verdict(examined, before)
        self._reached()

    def _log_verdict(
        self, examined: ExaminedBinary, before: ExaminedBinary | None
    ) -> None:
        match examined.verdict:
            case BinaryVerdict.DIFFERS:
                self._report.differs(examined)
            case BinaryVerdict.FAILED:
                self._report.not_examined(examined)
            case BinaryVerdict.UNUSABLE:
                # `CLIDiscovery` logs the error of a first binary that is too old.
                if examined.is_unsafe or (before is not None and before.is_good):
                    self._report.unusable(examined)
        if before is not None and examined.is_good:
            self._report.updated(before, examined)

    def _forget_new(self) -> None:
        if self._new is not None:
            self._new = None
            self._examiner.cancel()

    def _return_to(self, used: ExaminedBinary) -> None:
        """Forget the new binary: the binary in use is back at its place."""
        self._forget_new()
        # Its own examination may have been cancelled before the end.
        self._logged_reason = used.why
        self._examiner.examine(used)

    def _reached(self) -> None:
        self._is_waited_for = False
        self._known()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


def _again(error: CCProxyError) -> CCProxyError:
    """A copy of the error, for another client."""
    return type(error)(
        error.message,
        param=error.param,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
    )
