"""Starts the processes of the native way."""

from attrs import frozen

from ccproxy.claude.conformance import Conformance, Verdict
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.surroundings import Surroundings
from ccproxy.claude.observer import Observer
from ccproxy.claude.parts import Launches
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import Launch
from ccproxy.errors import ClaudeDown

_RETRY_SECONDS = 1.0


@frozen
class NativeSessions:
    """Starts the processes of the native way."""

    _launches: Launches
    _surroundings: Surroundings
    _breaker: CircuitBreaker
    _conformance: Conformance
    _observer: Observer

    def launch(self, without: frozenset[str]) -> Launch:
        """How one is started; raises `CCProxyError` where none can be."""
        return self._launches.native(without)

    def start(self, launch: Launch) -> Session:
        """Start one; raises `CCProxyError` if that is not possible."""
        self._breaker.check()
        if self._conformance.look() in (Verdict.EXAMINING, Verdict.UNUSABLE):
            # It was put in place since the question was prepared.
            raise ClaudeDown(
                "the claude CLI was replaced and is looked at; ask again",
                retry_after_seconds=_RETRY_SECONDS,
            )
        session = Session(launch, self._surroundings)
        self._observer.cli_started()
        return session
