"""Starts workers."""

from collections.abc import Callable

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker


class WorkerFactory:
    """Starts workers, if the circuit breaker and the binary's examination allow it.

    Args:
        launch: returns how the CLI is started; raises `CCProxyError` if there is none.
        context: given to every worker.
        breaker: stops starts after repeated failures.
        conformance: what is known of the binary.
    """

    def __init__(
        self,
        launch: Callable[[], LaunchSpec],
        context: CLIContext,
        breaker: CircuitBreaker,
        conformance: Conformance,
    ) -> None:
        self._launch = launch
        self._context = context
        self._breaker = breaker
        self._conformance = conformance

    def is_allowed(self) -> bool:
        """Whether a worker may be started now; False: the binary is being examined.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        return self._conformance.check()

    def start(self, *, is_probe: bool = False) -> Worker:
        """Start a worker.

        Args:
            is_probe: start it even if the circuit is open.

        Raises:
            CCProxyError: there is no CLI, it cannot be started, or the circuit is open.
        """
        if not is_probe:
            self._breaker.check()
        worker = Worker(self._launch(), self._context)
        self._context.observer.cli_started()
        return worker
