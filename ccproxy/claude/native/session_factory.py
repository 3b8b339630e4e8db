"""Starts the processes of native mode."""

from attrs import frozen

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.launches import Launches
from ccproxy.claude.native.session import Session
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.claude_settings import NativeSettings


@frozen
class SessionFactory:
    """Starts the processes of native mode."""

    _launches: Launches
    _context: CLIContext
    _settings: NativeSettings
    _breaker: CircuitBreaker
    _conformance: Conformance

    def launch(self, without: frozenset[str]) -> LaunchSpec:
        """How a process is started; raises `CCProxyError` if there is no CLI."""
        return self._launches.native(without)

    def is_allowed(self) -> bool:
        """Whether a process may be started now; False: the binary is being examined.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        return self._conformance.check_usable()

    def start(self, launch: LaunchSpec) -> Session:
        """Start a process; raises `CCProxyError`."""
        self._breaker.check()
        session = Session(launch, self._context, self._settings)
        self._context.observer.cli_started()
        return session
