"""Examines each binary of the CLI once: does it do what the proxy relies on?

The contract's quick checks are made on a CLI process with a dummy key, which sends its
requests to a scripted API on loopback. The result is stored by the binary's path, size
and modification time, so that an updated file counts as another binary. No client's
request is sent before the decisive checks are done. The other checks follow in the
background.

=========  ===========================================================================
UNKNOWN    no binary was examined
EXAMINING  the decisive checks are running
MERGES     the CLI passed them: requests are sent in body mode
DIFFERS    bodies do not arrive as they were set: requests are sent in native mode
FAILED     no result: requests are sent in native mode; examined again later
UNUSABLE   the binary is too old, unsafe, or not the CLI: requests fail; examined again
           later
=========  ===========================================================================

Source: docs/claude-cli-protocol.md, "Body mode" and "Versions".
"""

import os
from collections.abc import Callable
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.claude.installation.compose_mode import BinaryVerdict
from ccproxy.claude.installation.contract import (
    BEHAVIOURS,
    DECISIVE,
    NEWEST_TESTED,
    Reaction,
    Standing,
)
from ccproxy.claude.installation.examination import BinaryID, Prober, ProbeResults
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
)

# The time before a binary without a result is examined again.
_REEXAMINE_SECONDS = 60.0
_RETRY_SECONDS = 1.0


_PASSING = (BinaryVerdict.FAILED, BinaryVerdict.UNUSABLE)


class Conformance:
    """Examines the current binary, and each binary that replaces it.

    Attributes:
        verdict: the result for the current binary.
        why: the reason for a bad verdict, one clause.
        result: what is known about the current binary.

    Args:
        launch: returns how the CLI is started; raises `CCProxyError` if there is no
            CLI.
        prober: examines a binary.
        probe_results: stores results.
        clock: for the time of the next examination.
        known: called after each examination.
        decides: whether the prober has checks; if not, the examination only detects an
            unusable binary, and an option that the CLI does not know.
    """

    _log = Logger()

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
        self.verdict = BinaryVerdict.UNKNOWN
        self.why = ""
        self.result = ProbeResult()
        self._launch = launch
        self._prober = prober
        self._probe_results = probe_results
        self._clock = clock
        self._known = known
        self._decides = decides
        self._binary: BinaryID | None = None
        self._mark: object = None
        self._error: CCProxyError | None = None
        self._examination: Deferred[None] | None = None
        self._decided_seconds = 0.0
        self._waiting: list[Deferred[None]] = []
        self._is_stopped = False
        # Whether the current binary has replaced a usable one.
        self._replaces = False

    @property
    def binary(self) -> BinaryID | None:
        """The binary that `look` has found last; None: it has found none."""
        return self._binary

    def start(self) -> None:
        """Start an examination in the background; also after a stop."""
        self._is_stopped = False
        try:
            self.look()
        except CCProxyError:
            # Requests get this error.
            return

    def look(self) -> BinaryVerdict:
        """The verdict; examines the binary in the background if it is new.

        Raises:
            CCProxyError: there is no CLI.
        """
        if self._is_stopped:
            return self.verdict
        launch = self._launch()
        # Cheaper than `BinaryID.of`, which resolves symbolic links.
        mark = _mark_of(launch.binary)
        binary = self._binary
        if mark != self._mark or binary is None:
            binary, self._mark = BinaryID.of(launch.binary), mark
        is_other = binary is not None and binary != self._binary
        age = self._clock.seconds() - self._decided_seconds
        is_old = self.verdict in _PASSING and age >= _REEXAMINE_SECONDS
        if binary is not None and (is_other or is_old):
            if is_other:
                self._replaces |= self.verdict in (
                    BinaryVerdict.MERGES,
                    BinaryVerdict.DIFFERS,
                )
                self.verdict = BinaryVerdict.EXAMINING
            self._examine(binary, launch)
        return self.verdict

    async def settle(self) -> BinaryVerdict:
        """The verdict on the current binary; waits for its examination.

        Raises:
            CCProxyError: there is no CLI, or the CLI cannot be used.
        """
        while self.look() is BinaryVerdict.EXAMINING:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter
        if self.verdict is BinaryVerdict.UNUSABLE and self._error is not None:
            raise _again(self._error)
        return self.verdict

    def check_usable(self) -> bool:
        """Whether a process may be started for any request.

        Returns:
            False: the binary is being examined; ``known`` will be called.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        verdict = self.look()
        if verdict is BinaryVerdict.UNUSABLE and self._error is not None:
            raise _again(self._error)
        return verdict is not BinaryVerdict.EXAMINING

    def check(self) -> bool:
        """Whether a worker of body mode may be started.

        Returns:
            False: the binary is being examined; ``known`` will be called.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        is_known = self.check_usable()
        if self.verdict in (BinaryVerdict.DIFFERS, BinaryVerdict.FAILED):
            raise ClaudeUnresponsive(
                "the claude CLI was replaced while this request waited for it; try "
                "again",
                retry_after_seconds=_RETRY_SECONDS,
                cause=Cause.CLI_REPLACED,
            )
        return is_known

    def fit(self, launch: LaunchSpec) -> LaunchSpec:
        """How the current binary is started: without options that it does not know.

        Args:
            launch: how a CLI with all options is started.
        """
        if self.result.has_error_log:
            return launch
        return evolve(launch, has_error_log=False)

    @property
    def is_examining(self) -> bool:
        """Whether checks are running, in the background or not."""
        return self._examination is not None

    def stop(self) -> None:
        """Cancel a running examination, and start none until `start`."""
        self._is_stopped = True
        examination, self._examination = self._examination, None
        self._binary = None
        self.verdict = BinaryVerdict.UNKNOWN
        if examination is not None:
            examination.cancel()
        self._wake_waiters()

    def _examine(self, binary: BinaryID, launch: LaunchSpec) -> None:
        if binary != self._binary:
            self.result = ProbeResult()
        before, self._binary = self._examination, binary
        self._examination = None
        if before is not None:
            before.cancel()
        kept = self._probe_results.load(binary) if self._decides else None
        if kept is not None and kept.is_complete:
            self._decide(kept)
            self._report()
            return
        self._decided_seconds = self._clock.seconds()
        examination = Deferred.fromCoroutine(self._probe(binary, launch))
        if not examination.called:
            self._examination = examination
        examination.addErrback(
            lambda failure: self._log.failure(
                "the examination of a CLI failed", failure
            )
        )

    async def _probe(self, binary: BinaryID, launch: LaunchSpec) -> None:
        def decided(result: ProbeResult) -> None:
            if self._binary == binary:
                self._decide(result)

        try:
            result = await self._found(launch, decided)
        except CancelledError:
            return
        except CCProxyError as error:
            if self._binary == binary:
                self._give_up(error)
            return
        if self._binary == binary:
            self._examination = None
            self.result = result
            if self._decides:
                self._probe_results.save(binary, result)
                self._report()

    async def _found(
        self, launch: LaunchSpec, decided: Callable[[ProbeResult], None]
    ) -> ProbeResult:
        """Examine a binary; after a `ClaudeFailed`, try once more."""
        try:
            return await self._prober.probe(launch, decided)
        except ClaudeFailed:
            return await self._prober.probe(launch, decided)

    def _decide(self, result: ProbeResult) -> None:
        self.result = result
        version = result.version or "of unknown version"
        unsafe = result.first(Reaction.REFUSED)
        if unsafe:
            why = f"the claude CLI {version} is not safe to use: {unsafe}"
            self._refuse(ClaudeUnavailable(why, cause=Cause.CLI_FALLS_SHORT))
            return
        self.why = result.first(Reaction.NATIVE)
        self.verdict = BinaryVerdict.DIFFERS if self.why else BinaryVerdict.MERGES
        if self.why:
            self._log.error(
                "claude CLI {version} does not send bodies as they were set ({why}): "
                "requests are sent in the slower native mode; see --compose",
                version=version,
                why=self.why,
            )
        self._reached()

    def _report(self) -> None:
        """Log whether the version is tested, and what it falls short in."""
        result = self.result
        version = result.version or "of unknown version"
        match result.standing:
            case Standing.TESTED:
                self._log.info("claude CLI {version} is tested", version=version)
            case Standing.NEWER:
                self._log.info(
                    "claude CLI {version} is newer than the newest tested version, "
                    "{newest}, and has passed the checks",
                    version=version,
                    newest=NEWEST_TESTED,
                )
        for name in result.falls_short_in:
            # `_decide` has reported the decisive behaviours.
            if BEHAVIOURS[name].reaction not in DECISIVE:
                self._log.warn(
                    "claude CLI {version} falls short in {name} ({difference}); this "
                    "costs: {loss}",
                    version=version,
                    name=name,
                    difference=result.missing[name],
                    loss=BEHAVIOURS[name].loss,
                )

    def _give_up(self, error: CCProxyError) -> None:
        is_unusable = isinstance(error, ClaudeUnavailable)
        self._examination = None
        if not is_unusable and not self._decides:
            # Requests get the same error.
            self._decide(ProbeResult())
            return
        if is_unusable:
            self._refuse(error)
            return
        self.verdict, self.why = BinaryVerdict.FAILED, error.message
        self._log.warn(
            "the claude CLI could not be examined ({why}): requests are sent in the "
            "slower native mode for now; see --compose",
            why=error.message,
        )
        self._reached()

    def _refuse(self, error: CCProxyError) -> None:
        is_known = self._error is not None and self._error.message == error.message
        self.verdict, self.why = BinaryVerdict.UNUSABLE, error.message
        self._error = error
        # `CLIDiscovery` logs the error of a first binary that is too old.
        is_unsafe = error.cause is Cause.CLI_FALLS_SHORT and not is_known
        if self._replaces or is_unsafe:
            self._replaces = False
            self._log.warn(
                "requests fail until the CLI can be used: {why}", why=error.message
            )
        self._reached()

    def _reached(self) -> None:
        self._decided_seconds = self._clock.seconds()
        self._known()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


def _mark_of(binary: Path) -> object:
    """Identify the file at a path by one ``stat``; None: there is no file."""
    try:
        about = os.stat(binary)
    except OSError:
        return None
    return (binary, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def _again(error: CCProxyError) -> CCProxyError:
    """A copy of the error, for another client."""
    return type(error)(
        error.message,
        param=error.param,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
    )
