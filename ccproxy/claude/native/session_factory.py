"""Starts the processes of the native way."""

from attrs import frozen

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.observer import ClaudeObserver
from ccproxy.claude.options import Launches
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import LaunchSpec


@frozen
class NativeSessions:
    """Starts the processes of the native way."""

    _launches: Launches
    _surroundings: Surroundings
    _breaker: CircuitBreaker
    _conformance: Conformance
    _observer: ClaudeObserver

    def launch(self, without: frozenset[str]) -> LaunchSpec:
        """How one is started; raises `CCProxyError` where none can be."""
        return self._launches.native(without)

    def is_allowed(self) -> bool:
        """Whether one may be started now; False: the binary is being examined.

        Raises:
            CCProxyError: not with the binary that is there.
        """
        return self._conformance.check_usable()

    def start(self, launch: LaunchSpec) -> Session:
        """Start one; raises `CCProxyError` if that is not possible."""
        self._breaker.check()
        session = Session(launch, self._surroundings)
        self._observer.cli_started()
        return session
