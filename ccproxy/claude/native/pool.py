"""The pool of native mode: gives each request a process with the CLI's own loop.

A request takes the suspended process that waits for its tool results. If there is none,
it takes a new process. If no slot is free, it waits in the queue, first come, first
served. At the end of an answer, the process is stopped or suspended. It is suspended if
the turn has used Claude Code's own tools and waits for results of the client's tools. A
suspended process is stopped when its slot is needed.

If a process is lost before any event was sent to the client, the request gets another
process, once.
"""

from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.native.completion import NativeCompletion
from ccproxy.claude.native.prompt import NativeQuestion
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.suspended_sessions import SuspendedSessions
from ccproxy.claude.native.suspension import Suspension
from ccproxy.claude.observer import ClaudeObserver, Served, StopReason
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.pool.processes import EmptyWaiter, ProcessSlots, StoppingProcesses
from ccproxy.claude.pool.requests import AnswerChecker, RequestQueue, shutting_down
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext, Launches
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.config.limits import SuspensionLimits
from ccproxy.core.backend import Listener
from ccproxy.core.errors import CCProxyError


@frozen
class SessionFactory:
    """Starts the processes of native mode."""

    _launches: Launches
    _context: CLIContext
    _settings: NativeSettings
    _breaker: CircuitBreaker
    _conformance: Conformance

    def launch(self, without: frozenset[str]) -> LaunchSpec:
        """How a process is started.

        Args:
            without: Claude Code's own tools that have the name of a client's tool.

        Raises:
            CCProxyError: there is no CLI.
        """
        return self._conformance.fit(self._launches.native(without))

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


class NativePool:
    """The pool of native mode.

    Args:
        factory: starts processes.
        clock: for timers.
        limits: the limits of suspended processes.
        slots: the slots for processes, shared with the workers.
        queue: the waiting requests.
        checker: checks answers against their schemas.
        observer: counts processes.
    """

    def __init__(
        self,
        factory: SessionFactory,
        clock: IReactorTime,
        limits: SuspensionLimits,
        slots: ProcessSlots,
        queue: RequestQueue[NativeCompletion],
        checker: AnswerChecker,
        observer: ClaudeObserver,
    ) -> None:
        self._factory = factory
        self._clock = clock
        self._slots = slots
        self._queue = queue
        self._checker = checker
        self._observer = observer
        self._running: set[NativeCompletion] = set()
        self._checking: set[NativeCompletion] = set()
        self._suspended = SuspendedSessions(limits, clock, self._retire)
        self._stopping: StoppingProcesses[Session] = StoppingProcesses(slots, observer)
        self._stopped = False
        self._drained = EmptyWaiter(
            lambda: not (self._running or self._checking or self._queue)
        )
        slots.watch(self._serve, self.make_room)

    def ask(self, question: NativeQuestion, listener: Listener) -> NativeCompletion:
        """Start a request; the listener is called only after this method returns."""
        prompt = question.prompt
        completion = NativeCompletion(
            self, prompt, listener, self._checker, self._clock, self._observer
        )
        if self._stopped:
            completion.fail(shutting_down())
            return completion
        taken = self._suspended.take(prompt)
        if taken is not None:
            session, results = taken

            def resume() -> None:
                session.resume_with_results(prompt, results, completion)

            self._run(completion, session, resume, Served.SUSPENDED)
            return completion
        self._queue.join(completion)
        self._serve()
        if completion in self._queue:
            self._queue.admit(completion, self._slots.leaving)
        return completion

    @property
    def is_stopped(self) -> bool:
        """Whether new requests are refused."""
        return self._stopped

    @property
    def queued(self) -> int:
        """The number of requests that wait for a process."""
        return len(self._queue)

    def start(self) -> None:
        """Accept requests, also after a stop."""
        self._stopped = False

    def wake(self) -> None:
        """Serve waiting requests: processes may be started again."""
        self._serve()

    def stop(self) -> "Deferred[None]":
        """Fail all requests and stop all processes. Fires when all are gone."""
        self._stopped = True
        for completion in (*self._queue, *self._running, *self._checking):
            completion.fail(shutting_down())
        self._dismiss_suspended()
        return self._stopping.all_gone()

    def kill(self) -> None:
        """Kill the processes that are being stopped."""
        self._stopping.kill()

    def drain(self) -> "Deferred[None]":
        """Refuse new requests. Fires when all earlier requests are answered.

        `stop` must still be called. On cancel, the earlier requests continue.
        """
        self._stopped = True
        self._dismiss_suspended()
        return self._drained.wait()

    def session_counts(self) -> Mapping[str, int]:
        """The number of processes by state; always the same names."""
        return {
            "answering": len(self._running),
            "suspended": len(self._suspended),
            "stopping": self._stopping.stopping,
        }

    def make_room(self) -> bool:
        """Stop the process suspended first; returns whether there was one."""
        if not self._suspended:
            return False
        self._suspended.dismiss(StopReason.ROOM)
        return True

    def retry(self, completion: NativeCompletion, session: Session) -> None:
        """Put a request that lost its process at the front of the queue."""
        self._running.discard(completion)
        self._queue.return_to(completion)
        self._retire(session, StopReason.LOST)
        self._serve()
        if completion in self._queue:
            self._queue.stay(completion)

    def finished(
        self,
        completion: NativeCompletion,
        session: Session | None,
        suspension: Suspension | None,
    ) -> None:
        """Forget a request that is over, and suspend or stop its session.

        Args:
            completion: the request.
            session: the request's session; None: it has none.
            suspension: the results that the session waits for; None: the session is
                stopped.
        """
        self._running.discard(completion)
        self._queue.leave(completion)
        # A request whose answer is being checked has no process, and no end yet.
        if completion.is_checking:
            self._checking.add(completion)
        else:
            self._checking.discard(completion)
        if session is not None:
            self._queue.answered(completion)
            if suspension is not None and not self._stopped:
                self._suspended.admit(session, suspension)
            else:
                self._retire(session, StopReason.NOT_REUSED)
        self._serve()
        self._drained.check()

    def _serve(self) -> None:
        """Serve waiting requests, as long as there are slots."""
        promised = 0
        for completion in self._queue:
            # Serving one request may end another.
            if completion not in self._queue or self._try_to_serve(completion):
                continue
            promised += 1
            if not self._free_slots(promised):
                return

    def _try_to_serve(self, completion: NativeCompletion) -> bool:
        try:
            if not self._slots.is_free or not self._factory.is_allowed():
                return False
            self._serve_with_new(completion)
        except CCProxyError as error:
            completion.fail(error)
        return True

    def _free_slots(self, places: int) -> bool:
        """Stop idle processes, so that ``places`` requests can get a slot.

        Returns:
            Whether enough slots are, or will be, free.
        """
        while self._slots.leaving + self._slots.free < places:
            if not self._slots.make_room():
                return False
        return True

    def _serve_with_new(self, completion: NativeCompletion) -> None:
        prompt = completion.prompt
        launch = self._factory.launch(frozenset(tool.name for tool in prompt.tools))
        session = self._factory.start(launch)
        self._slots.take()
        self._queue.leave(completion)

        def begin() -> None:
            session.ask(prompt, completion)

        self._run(completion, session, begin, Served.NEW)

    def _run(
        self,
        completion: NativeCompletion,
        session: Session,
        begin: Callable[[], None],
        served: Served,
    ) -> None:
        self._running.add(completion)
        completion.start(session, begin, served)

    def _retire(self, session: Session, why: StopReason) -> None:
        self._stopping.retire(session, StopReason.SHUTDOWN if self._stopped else why)

    def _dismiss_suspended(self) -> None:
        while self._suspended:
            self._suspended.dismiss(StopReason.SHUTDOWN)
