"""Examines a CLI with the contract's quick checks, in a process of its own.

The decisive checks come first and take 0.9 s: they decide how requests are sent. The
other checks follow in the background. A check that fails is repeated once, because a
loaded machine can be too slow for it.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from ccproxy.claude.installation.bench import Bench, ScriptedUpstream
from ccproxy.claude.installation.checks import AT_START, CHECKS, NO_OPTION
from ccproxy.claude.installation.contract import BEHAVIOURS, DECISIVE, QUICK
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary import check_version
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.claude.worker.context import CLIContext
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed

# For the start and the decisive checks together.
_TIMEOUT_SECONDS = 20.0
# For each of the remaining checks.
_CHECK_SECONDS = 30.0


@frozen
class Finding:
    """The result of one check.

    Attributes:
        name: the behaviour's name.
        difference: what was found instead, one clause; empty: the CLI has the
            behaviour.
    """

    name: str
    difference: str = ""


class Examination:
    """The checks of body mode on one CLI.

    Args:
        bench: the CLI.
        names: the behaviours to check.
    """

    def __init__(self, bench: Bench, names: Collection[str]) -> None:
        self._bench = bench
        self._names = names
        self._answer: InitializeAnswer | None = None

    @property
    def version(self) -> str | None:
        """The CLI's version; None: it was not reported yet."""
        known = None if self._answer is None else self._answer.claude_code_version
        return known or self._bench.upstream.client_version

    @property
    def has_error_log(self) -> bool:
        """Whether the CLI has the option for an error log; known after `decide`."""
        return self._bench.launch.has_error_log

    async def decide(self) -> list[Finding]:
        """Start the CLI, and make the decisive checks.

        Raises:
            ClaudeUnavailable: the binary is too old, or not the CLI.
            CCProxyError: the CLI does not start, or an answer failed.
        """
        made = Deferred.fromCoroutine(self._decide())
        made.addTimeout(_TIMEOUT_SECONDS, self._bench.context.clock)
        try:
            return await made
        except DeferredTimeoutError:
            raise ClaudeFailed(
                f"it did not answer the checks within {_TIMEOUT_SECONDS:g} s",
                cause=Cause.NO_REPLY,
            ) from None

    async def _decide(self) -> list[Finding]:
        self._answer = await self._bench.open()
        findings = [
            Finding(name, await CHECKS[name](self._bench))
            for name in self._select(CHECKS)
            if BEHAVIOURS[name].reaction in DECISIVE
        ]
        if self.version is not None:
            # `open` checks the version only if the CLI reports it at the start.
            check_version(self.version)
        if not self.has_error_log:
            findings.append(Finding("error_log", NO_OPTION))
        return findings

    async def report(self) -> AsyncIterator[Finding]:
        """Make the other checks, after `decide`; a failure is a finding."""
        for name in self._select(AT_START):
            if self._answer is not None:
                yield Finding(name, AT_START[name](self._answer))
        for name in self._select(CHECKS):
            if BEHAVIOURS[name].reaction not in DECISIVE:
                first = await self._make(name)
                yield Finding(name, first and await self._make(name))

    async def _make(self, name: str) -> str:
        return await difference_of(CHECKS[name](self._bench), self._bench)

    def _select(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._names]


async def difference_of(check: Any, bench: Bench) -> str:
    """Run a check; returns the difference it found, or a failure or timeout as text."""
    made: Deferred[str] = Deferred.fromCoroutine(check)
    made.addTimeout(_CHECK_SECONDS, bench.context.clock)
    try:
        return await made
    except DeferredTimeoutError:
        await bench.close()
        return f"it takes longer than {_CHECK_SECONDS:g} s"
    except CCProxyError as error:
        return error.message


class CLIProber:
    """Examines a CLI in a separate process; implements `Prober`.

    Args:
        context: the context of the process, without callbacks.
        upstream: makes the scripted API.
        isolated: maps a launch and a base URL to a launch with that URL, with a dummy
            key and without the user's login.
        sends_questions: whether the checks are made; if not, the CLI is only started.
    """

    def __init__(
        self,
        context: CLIContext,
        upstream: Callable[[], ScriptedUpstream],
        isolated: Callable[[LaunchSpec, str], LaunchSpec],
        *,
        sends_questions: bool,
    ) -> None:
        self._context = context
        self._upstream = upstream
        self._isolated = isolated
        self._names: Collection[str] = QUICK if sends_questions else ()

    async def probe(
        self, launch: LaunchSpec, decided: Callable[[ProbeResult], None]
    ) -> ProbeResult:
        """Start a CLI and check it; see `Prober`."""
        upstream = self._upstream()
        url = upstream.listen()
        bench = Bench(self._isolated(launch, url), self._context, upstream)
        try:
            examination = Examination(bench, self._names)
            findings = await examination.decide()
            decided(_result(examination, findings))
            async for finding in examination.report():
                findings.append(finding)
            return _result(examination, findings)
        finally:
            try:
                await bench.close()
            finally:
                await upstream.close()


def _result(examination: Examination, findings: Iterable[Finding]) -> ProbeResult:
    return ProbeResult(
        examination.version,
        {each.name: each.difference for each in findings},
        has_error_log=examination.has_error_log,
    )
