"""Whether a CLI binary does what the proxy relies on; asked once for each binary.

One question to a scripted API on loopback, by a process of its own with a dummy key,
proves that system prompt, model and body arrive as they were set, exactly once. The
outcome is kept by the binary's path, size and time of change, so that an update in
place is another binary. Until the outcome is known, no client's question is asked.

=========  ===========================================================================
UNKNOWN    no binary was looked at
EXAMINING  the question is under way
MERGES     what was set has arrived
DIFFERS    something else has arrived: questions are asked the native way
FAILED     there was no answer to judge by: asked the native way, and tried again later
UNUSABLE   the binary is too old, or is no CLI: nothing is asked; tried again later
=========  ===========================================================================

Source: docs/claude-cli-protocol.md, "The body set whole" and "Versions".
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
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
)

# A binary that could not be judged is looked at again after so long.
_AGAIN_SECONDS = 60.0
_RETRY_SECONDS = 1.0


_PASSING = (BinaryVerdict.FAILED, BinaryVerdict.UNUSABLE)


class BinaryID(msgspec.Struct, frozen=True):
    """What tells a binary from another that is put in its place.

    Attributes:
        path: with all symbolic links followed.
        size: in bytes.
        modified_ns: of its last change, Unix time.
    """

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, binary: Path) -> "BinaryID | None":
        """What is there now; None: nothing."""
        try:
            path = os.path.realpath(binary)
            about = os.stat(path)
        except OSError:
            return None
        return cls(path, about.st_size, about.st_mtime_ns)


class ProbeResult(msgspec.Struct, frozen=True):
    """What the question has shown.

    Attributes:
        version: the CLI's, if it tells.
        why: what has not arrived as it was set, one clause; empty: all has.
    """

    version: str | None = None
    why: str = ""


class Prober(Protocol):
    """Looks at a CLI, with nothing of a client's."""

    async def probe(self, launch: LaunchSpec) -> ProbeResult:
        """Start a CLI, and ask it the one question if that is wanted.

        On cancel: what was started is ended.

        Raises:
            ClaudeUnavailable: it is too old, or no CLI.
            CCProxyError: there was no answer to judge by.
        """


class ProbeResults(Protocol):
    """Where outcomes are kept."""

    def load(self, binary: BinaryID) -> ProbeResult | None:
        """What was found out about a binary; None: nothing is kept."""

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        """Keep what was found out; without success nothing happens."""


class Conformance:
    """What is known of the CLI's binary, and the look at a new one.

    Attributes:
        verdict: of the binary that was looked at last.
        why: where it is no good one: one clause.

    Args:
        launch: how a CLI is started now; raises `CCProxyError` where there is none.
        known: called whenever a verdict has been reached.
        decides: whether the prober puts its question; if not, only what is unusable
            is told from what is not.
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
        # Whether the binary that is there now stands in the place of a good one.
        self._replaces = False

    def start(self) -> None:
        """Look at what there is, in the background; also after a stop."""
        self._is_stopped = False
        try:
            self.look()
        except CCProxyError:
            # Whoever asks is told.
            return

    def look(self) -> BinaryVerdict:
        """Look whether there is another binary now, and examine it in the background.

        Raises:
            CCProxyError: there is no CLI.
        """
        if self._is_stopped:
            return self.verdict
        launch = self._launch()
        # To follow the links of a path takes longer than all else here.
        mark = _mark_of(launch.binary)
        binary = self._binary
        if mark != self._mark or binary is None:
            binary, self._mark = BinaryID.of(launch.binary), mark
        is_other = binary is not None and binary != self._binary
        age = self._clock.seconds() - self._decided_seconds
        is_old = self.verdict in _PASSING and age >= _AGAIN_SECONDS
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
        """The verdict on the binary that is there now; waits until it is known.

        Raises:
            CCProxyError: there is no CLI, or none that can be used.
        """
        while self.look() is BinaryVerdict.EXAMINING:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter
        if self.verdict is BinaryVerdict.UNUSABLE and self._error is not None:
            raise _again(self._error)
        return self.verdict

    def check_usable(self) -> bool:
        """Whether a process may be started for any question.

        Returns:
            False: not yet, the binary is being examined; ``known`` will be called.

        Raises:
            CCProxyError: not with this binary.
        """
        verdict = self.look()
        if verdict is BinaryVerdict.UNUSABLE and self._error is not None:
            raise _again(self._error)
        return verdict is not BinaryVerdict.EXAMINING

    def check(self) -> bool:
        """Whether a process may be started for questions that are set whole.

        Returns:
            False: not yet, the binary is being examined; ``known`` will be called.

        Raises:
            CCProxyError: not with this binary.
        """
        is_known = self.check_usable()
        if self.verdict in (BinaryVerdict.DIFFERS, BinaryVerdict.FAILED):
            raise ClaudeUnresponsive(
                "the claude CLI was replaced while this request waited for it; ask "
                "again",
                retry_after_seconds=_RETRY_SECONDS,
            )
        return is_known

    def stop(self) -> None:
        """End an examination that is under way, and begin none until `start`."""
        self._is_stopped = True
        examination, self._examination = self._examination, None
        self._binary = None
        self.verdict = BinaryVerdict.UNKNOWN
        if examination is not None:
            examination.cancel()
        self._tell()

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
            lambda failure: self._log.failure("while a CLI was examined", failure)
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
        """The outcome of an examination; a process may die by chance, once."""
        try:
            return await self._prober.probe(launch)
        except ClaudeFailed:
            return await self._prober.probe(launch)

    def _decide(self, result: ProbeResult) -> None:
        self.why = result.why
        self.verdict = BinaryVerdict.DIFFERS if result.why else BinaryVerdict.MERGES
        if result.why:
            self._log.error(
                "claude CLI {version} does not take a body as it is set ({why}): "
                "questions are asked the slower native way; see --compose",
                version=result.version or "of unknown version",
                why=result.why,
            )
        self._reached()

    def _give_up(self, error: CCProxyError) -> None:
        is_unusable = isinstance(error, ClaudeUnavailable)
        if not is_unusable and not self._decides:
            # Whoever asks is told the same.
            self._decide(ProbeResult())
            return
        self.verdict = BinaryVerdict.UNUSABLE if is_unusable else BinaryVerdict.FAILED
        self.why = error.message
        self._error = error
        if is_unusable and self._replaces:
            # Of the first binary the look at its models tells the same.
            self._replaces = False
            self._log.warn("nothing is asked for now: {why}", why=error.message)
        if not is_unusable:
            self._log.warn(
                "the claude CLI could not be examined ({why}): questions are asked "
                "the slower native way for now; see --compose",
                why=error.message,
            )
        self._reached()

    def _reached(self) -> None:
        self._examination = None
        self._decided_seconds = self._clock.seconds()
        self._known()
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


def _mark_of(binary: Path) -> object:
    """What changes if another file is put in its place; None: nothing is there."""
    try:
        about = os.stat(binary)
    except OSError:
        return None
    return (binary, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def _again(error: CCProxyError) -> CCProxyError:
    """The same error, for another client."""
    return type(error)(
        error.message, param=error.param, retry_after_seconds=error.retry_after_seconds
    )
