"""The context of all CLI processes: launch, clock, limits and callbacks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from ccproxy.claude.observer import ClaudeObserver, CostTracker
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.backend import ModelSize
from ccproxy.core.errors import CCProxyError
from ccproxy.core.usage import RateWindow


class Launches(Protocol):
    """Returns how CLI processes are started now."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The CLI's environment variables; a login in them may limit the body size."""

    def worker(self) -> LaunchSpec:
        """How a worker is started; raises `CCProxyError` if there is no CLI."""

    def native(self, without: frozenset[str]) -> LaunchSpec:
        """How a process of native mode is started.

        Args:
            without: Claude Code's own tools that the client has under the same name.

        Raises:
            CCProxyError: there is no CLI.
        """


@frozen(kw_only=True)
class CLIContext:
    """The clock, limits and callbacks that all CLI processes share, in both modes.

    Attributes:
        spawner: starts processes.
        clock: for time limits and later turns of the reactor.
        wall_seconds: returns the Unix time.
        limits: the time limits of an answer.
        on_initialized: called with the CLI's answer to its initialization, and with how
            the CLI was started.
        on_start_failed: called with the reason if a CLI fails before it has answered
            any control request.
        on_limits: called with the subscription's rate limits that a CLI has reported.
        on_sizes: called with the sizes of models, by their full ids.
        observer: counts processes, answers and costs.
        full_id: maps the name of a model to its full id.
    """

    spawner: IReactorProcess
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    limits: TurnTimeouts
    on_initialized: Callable[[InitializeAnswer, LaunchSpec], None] = lambda *_: None
    on_start_failed: Callable[[CCProxyError], None] = lambda _: None
    on_limits: Callable[[Sequence[RateWindow]], None] = lambda _: None
    on_sizes: Callable[[Mapping[str, ModelSize]], None] = lambda _: None
    observer: ClaudeObserver = field(factory=ClaudeObserver)
    full_id: Callable[[str], str] = str

    def cost_tracker(self) -> CostTracker:
        """A tracker for the costs of one new process."""
        return CostTracker(
            self.observer, self.on_limits, self.on_sizes, self.wall_seconds
        )
