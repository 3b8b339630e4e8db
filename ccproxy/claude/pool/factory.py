"""Starts workers."""

from collections.abc import Callable

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker


class WorkerFactory:
    """Everything that a new worker needs, and whether it is worth to start one.

    Args:
        launch: how a CLI is started now; raises `CCProxyError` where there is none.
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
            CCProxyError: not with the binary that is there.
        """
        return self._conformance.check()

    def start(self, *, is_probe: bool = False) -> Worker:
        """Start a worker.

        Args:
            is_probe: start it even if it is not expected to answer.

        Raises:
            CCProxyError: there is no CLI, it cannot be started, or it is not worth it.
        """
        if not is_probe:
            self._breaker.check()
        worker = Worker(self._launch(), self._context)
        self._context.observer.cli_started()
        return worker
