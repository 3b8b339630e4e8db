"""Examines each binary of the CLI once: does it send bodies as the proxy sets them?

A CLI process with a dummy key sends two questions to a scripted API on loopback. The
API must receive the system prompt, the model and the body of each question exactly
once, as they were set. The result is stored by the binary's path, size and modification
time, so that an updated file counts as another binary. No client's request is sent
before the result is known.

=========  ===========================================================================
UNKNOWN    no binary was examined
EXAMINING  the examination is running
MERGES     everything arrived as it was set
DIFFERS    something else arrived: requests are sent in native mode
FAILED     no result: requests are sent in native mode; examined again later
UNUSABLE   the binary is too old, or not the CLI: requests fail; examined again later
=========  ===========================================================================

Source: docs/claude-cli-protocol.md, "Body mode" and "Versions".
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.claude.installation.compose_mode import BinaryVerdict
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


class BinaryID(msgspec.Struct, frozen=True):
    """Identifies a binary; a replaced or updated file has another id.

    Attributes:
        path: with all symbolic links followed.
        size: in bytes.
        modified_ns: modification time, Unix time in nanoseconds.
    """

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, binary: Path) -> "BinaryID | None":
        """The binary at a path; None: there is none."""
        try:
            path = os.path.realpath(binary)
            about = os.stat(path)
        except OSError:
            return None
        return cls(path, about.st_size, about.st_mtime_ns)


class ProbeResult(msgspec.Struct, frozen=True):
    """The result of an examination.

    Attributes:
        version: the CLI's version; None: it is not reported.
        why: the difference that was found, one clause; empty: none.
    """

    version: str | None = None
    why: str = ""


class Prober(Protocol):
    """Examines a CLI without data of a client."""

    async def probe(self, launch: LaunchSpec) -> ProbeResult:
        """Start a CLI, and let it send test questions if the prober has any.

        On cancel, the process is killed.

        Raises:
            ClaudeUnavailable: the binary is too old, or not the CLI.
            CCProxyError: there was no result.
        """


class ProbeResults(Protocol):
    """Stores results of examinations."""

    def load(self, binary: BinaryID) -> ProbeResult | None:
        """The stored result of a binary; None: there is none."""

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        """Store a result; failures are ignored."""


class Conformance:
    """Examines the current binary, and each binary that replaces it.

    Attributes:
        verdict: the result for the current binary.
        why: the reason for a bad verdict, one clause.

    Args:
        launch: returns how the CLI is started; raises `CCProxyError` if there is no
            CLI.
        prober: examines a binary.
        probe_results: stores results.
        clock: for the time of the next examination.
        known: called after each examination.
        decides: whether the prober sends test questions; if not, the examination only
            detects an unusable binary.
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
        """Whether a worker may be started, for bodies that the proxy composes.

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
        before, self._binary = self._examination, binary
        self._examination = None
        if before is not None:
            before.cancel()
        kept = self._probe_results.load(binary) if self._decides else None
        if kept is not None:
            self._decide(kept)
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
        try:
            result = await self._found(launch)
        except CancelledError:
            return
        except CCProxyError as error:
            if self._binary == binary:
                self._give_up(error)
            return
        if self._binary == binary:
            if self._decides:
                self._probe_results.save(binary, result)
            self._decide(result)

    async def _found(self, launch: LaunchSpec) -> ProbeResult:
        """Examine a binary; after a `ClaudeFailed`, try once more."""
        try:
            return await self._prober.probe(launch)
        except ClaudeFailed:
            return await self._prober.probe(launch)

    def _decide(self, result: ProbeResult) -> None:
        self.why = result.why
        self.verdict = BinaryVerdict.DIFFERS if result.why else BinaryVerdict.MERGES
        if result.why:
            self._log.error(
                "claude CLI {version} does not send bodies as they were set ({why}): "
                "requests are sent in the slower native mode; see --compose",
                version=result.version or "of unknown version",
                why=result.why,
            )
        self._reached()

    def _give_up(self, error: CCProxyError) -> None:
        is_unusable = isinstance(error, ClaudeUnavailable)
        if not is_unusable and not self._decides:
            # Requests get the same error.
            self._decide(ProbeResult())
            return
        self.verdict = BinaryVerdict.UNUSABLE if is_unusable else BinaryVerdict.FAILED
        self.why = error.message
        self._error = error
        if is_unusable and self._replaces:
            # For the first binary, `CLIDiscovery` logs the error.
            self._replaces = False
            self._log.warn(
                "requests fail until the CLI can be used: {why}", why=error.message
            )
        if not is_unusable:
            self._log.warn(
                "the claude CLI could not be examined ({why}): requests are sent in "
                "the slower native mode for now; see --compose",
                why=error.message,
            )
        self._reached()

    def _reached(self) -> None:
        self._examination = None
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
