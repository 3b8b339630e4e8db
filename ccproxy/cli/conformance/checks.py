"""Runs all checks of the contract on this machine's CLI."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from attrs import evolve

from ccproxy.claude.installation.bench import Bench
from ccproxy.claude.installation.checks import AT_START, CHECKS
from ccproxy.claude.installation.probe import Examination, Finding, difference_of
from ccproxy.claude.native.checks import NATIVE_CHECKS, NativeBench
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.settings import Settings
from ccproxy.server.runtime import Runtime


class ConformanceRun:
    """One run of all checks.

    Attributes:
        version: the CLI's version; None: not known yet.

    Args:
        reactor: starts processes, listens, and is the clock.
        settings: name the CLI.
        environment: ccproxy's environment variables; the CLI gets some of them, and no
            login.
    """

    def __init__(
        self, reactor: Any, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self.version: str | None = None
        self._reactor = reactor
        self._settings = settings
        self._environment = environment

    async def findings(self) -> AsyncIterator[Finding]:
        """Run the checks; on cancel, the CLI is stopped.

        Raises:
            CCProxyError: the CLI is too old, not the CLI, or does not start.
        """
        runtime = Runtime(self._settings, self._reactor, self._environment)
        runtime.open()
        upstream = runtime.probe_upstream()
        context = CLIContext(
            spawner=self._reactor,
            clock=self._reactor,
            wall_seconds=time.time,
            limits=self._settings,
        )
        url = upstream.listen()
        bench = Bench(runtime.isolated(runtime.worker(), url), context, upstream)
        try:
            examination = Examination(bench, {*CHECKS, *AT_START})
            decisive = await examination.decide()
            self.version = examination.version
            for finding in decisive:
                # `report` makes this check again.
                if finding.name != "error_log":
                    yield finding
            async for finding in examination.report():
                yield finding
            native = NativeBench(
                evolve(
                    runtime.isolated(runtime.native(), url),
                    has_error_log=examination.has_error_log,
                ),
                context,
                self._settings,
                upstream,
            )
            for name, check in NATIVE_CHECKS.items():
                yield Finding(name, await difference_of(check(native), bench))
        finally:
            try:
                await bench.close()
            finally:
                await upstream.close()
                await runtime.close()
