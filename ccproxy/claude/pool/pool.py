"""The pool of workers: gives each request a worker, and takes the worker back.

Workers are interchangeable. `WorkerSelector` defines the order in which they are taken.
A request that finds no worker waits in the queue, first come, first served.
`IdleWorkers` stops a worker that was idle for ``--idle-timeout``.

==========  ==========================================================================
SPARE       the worker was started ahead of time and has had no request
ANSWERING   the worker has a request
SETTLING    the request is over or cancelled; the CLI rewinds its conversation
IDLE        the worker has had a request and can take another one
STOPPING    the process is being stopped; it keeps its slot until it is gone
==========  ==========================================================================
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.observer import ClaudeObserver, Served, StopReason
from ccproxy.claude.pool.processes import (
    EmptyWaiter,
    ProcessSlots,
    StoppingProcesses,
    WorkerFactory,
)
from ccproxy.claude.pool.requests import PoolClient, RequestQueue, shutting_down
from ccproxy.claude.pool.selection import IdleWorkers, SettlingWorkers, WorkerSelector
from ccproxy.claude.pool.spares import SpareWorkers
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.claude.worker.worker import Worker
from ccproxy.config.limits import PoolLimits
from ccproxy.core.errors import Cause, CCProxyError, Overloaded

# The memory of a CLI grows with each question. --recycle-rss is a second limit.
_MOST_QUESTIONS = 500


class Pool:
    """The pool of workers.

    Args:
        factory: starts workers.
        slots: the slots for processes, shared with native mode.
        limits: the operator's limits.
        clock: for timers.
        observer: counts processes.
        native_waits: whether a request of native mode waits for a slot.
    """

    def __init__(
        self,
        factory: WorkerFactory,
        slots: ProcessSlots,
        limits: PoolLimits,
        clock: IReactorTime,
        observer: ClaudeObserver,
        native_waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self._factory = factory
        self._stopping: StoppingProcesses[Worker] = StoppingProcesses(
            slots, observer, self._refill
        )
        self._slots = slots
        self._limits = limits
        self._native_waits = native_waits
        self._queue: RequestQueue[PoolClient] = RequestQueue(
            limits.max_queue, limits.queue_timeout, slots.limit
        )
        # Every request that is not over, with or without a worker.
        self._clients: dict[PoolClient, None] = {}
        self._answering: dict[Worker, PoolClient] = {}
        self._settling = SettlingWorkers(clock, self._serve)
        self._idle = IdleWorkers(
            limits.idle_timeout, clock, lambda w: self.retire(w, StopReason.IDLE)
        )
        self._spares = SpareWorkers(limits.spares, self, clock)
        self._selector = WorkerSelector(
            self._idle,
            self._spares,
            self._settling,
            factory,
            self._stopping,
            slots,
            self.start_worker,
        )
        # Workers that were started to learn about the CLI; they become spares.
        self._opening: set[Worker] = set()
        self._is_used = True
        self._is_stopped = False
        self._is_serving = False
        self._must_serve = False
        self._drained = EmptyWaiter(lambda: not self._clients)
        self._slots.watch(self._serve, self._leave_room)

    @property
    def is_stopped(self) -> bool:
        """Whether new requests are refused."""
        return self._is_stopped

    @property
    def queued(self) -> int:
        """The number of requests that wait for a worker."""
        return len(self._queue)

    @property
    def has_workers(self) -> bool:
        """Whether there is a worker that can take a request, now or soon."""
        return bool(self._idle or self._spares or self._settling or self._answering)

    def session_counts(self) -> Mapping[str, int]:
        """The number of processes by state; always the same names."""
        return {
            "answering": len(self._answering),
            "settling": len(self._settling),
            "idle": len(self._idle),
            "spare": len(self._spares) + len(self._opening),
            "stopping": self._stopping.stopping,
        }

    # The server's side.

    def start(self) -> None:
        """Accept requests, also after a stop."""
        self._is_stopped = False

    def drain(self) -> "Deferred[None]":
        """Refuse new requests. Fires when all earlier requests are answered.

        `stop` must still be called. On cancel, the earlier requests continue.
        """
        self._is_stopped = True
        self._spares.stop()
        self._dismiss_if_drained()
        return self._drained.wait()

    def stop(self) -> "Deferred[None]":
        """Fail all requests and stop all processes. Fires when all are gone."""
        self._is_stopped = True
        self._spares.stop()
        for client in tuple(self._clients):
            client.fail(shutting_down())
        self._selector.dismiss_all()
        for worker in self._settling:
            self._settling.discard(worker)
            self.retire(worker, StopReason.SHUTDOWN)
        return self._stopping.all_gone()

    def kill(self) -> None:
        """Kill the processes that are being stopped."""
        self._stopping.kill()

    async def discover(self) -> InitializeAnswer:
        """Start a worker to learn about the CLI; the worker is kept as a spare.

        Raises:
            CCProxyError: the CLI cannot be started, or does not answer.
        """
        if not self._slots.is_free:
            raise Overloaded(
                "no process slot is free for another claude CLI",
                cause=Cause.NO_PROCESS_SLOT,
            )
        worker = self.start_worker(is_probe=True)
        self._opening.add(worker)
        try:
            answer = await worker.open()
        except BaseException:
            if worker in self._opening:
                self._opening.discard(worker)
                self.retire(worker, StopReason.LOST)
            raise
        self._opening.discard(worker)
        if self._is_stopped:
            self.retire(worker, StopReason.SHUTDOWN)
        elif self._spares.missing > 0 and self._is_used:
            self._keep_unused(worker)
        else:
            self._keep(worker)
        self._serve()
        return answer

    def use(self, *, is_used: bool) -> None:
        """Turn the use of workers on or off; off: all requests use native mode."""
        if is_used == self._is_used:
            return
        self._is_used = is_used
        if self._is_stopped:
            return
        if is_used:
            self.wake()
        else:
            self._selector.dismiss_all()

    def wake(self) -> None:
        """Serve requests, after workers may be started again or the CLI was updated."""
        self._selector.dismiss_outdated()
        self._refill(now=True)
        self._serve()

    # The requests' side.

    def submit(self, client: PoolClient) -> None:
        """Take a request, and start or fail it, now or later."""
        if self._is_stopped:
            client.fail(shutting_down())
            return
        self._clients[client] = None
        self._queue.join(client)
        self._serve()
        if client in self._queue:
            self._queue.admit(client, self._selector.leaving)
        self._spares.refill()

    def release(self, worker: Worker) -> None:
        """Take back a worker whose request does not need it for now."""
        self._give_back(worker)
        self._serve()

    def retry(
        self, client: PoolClient, worker: Worker | None = None, *, is_lost: bool = False
    ) -> None:
        """Put a request back at the front of the queue; arguments as for `finished`."""
        self._queue.return_to(client)
        if worker is not None:
            self._give_back(worker, is_lost=is_lost)
        self._serve()
        if client in self._queue:
            self._queue.stay(client)

    def finished(
        self, client: PoolClient, worker: Worker | None, *, is_lost: bool = False
    ) -> None:
        """Forget a request that is over.

        Args:
            client: the request.
            worker: the request's worker, which is taken back; None: it has none.
            is_lost: whether the worker failed.
        """
        self._clients.pop(client, None)
        self._queue.leave(client)
        if worker is not None:
            self._queue.answered(client)
            self._give_back(worker, is_lost=is_lost)
        self._serve()
        self._refill()
        self._dismiss_if_drained()
        self._drained.check()

    # The spares' side.

    @property
    def is_starting_worker(self) -> bool:
        """Whether a request waits for its worker to be ready."""
        return any(w.is_preparing or w.is_starting for w in self._answering)

    def has_room_for_spare(self) -> bool:
        """Whether one more process may be started."""
        if not self._is_used or not self._factory.is_allowed():
            # `use` or `wake` is called when that has changed.
            return False
        if self._slots.is_free and not self._native_waits():
            return True
        if (
            len(self._idle) > 1
            and not self._idle.has_pristine
            and not self._selector.leaving
        ):
            # The spare will be the pristine worker that a question without a system
            # prompt needs.
            self._selector.dismiss_one()
        return False

    def start_worker(self, *, is_probe: bool = False) -> Worker:
        """Start a worker; raises `CCProxyError` if that is not possible."""
        worker = self._factory.start(is_probe=is_probe)
        self._slots.take()
        worker.watch(lambda: self._lost(worker))
        worker.on_ready(lambda: self._settled(worker))
        return worker

    def retire(self, worker: Worker, why: StopReason) -> None:
        """Stop a worker's process; the slot is free when the process is gone."""
        self._stopping.retire(worker, why)

    # Serving.

    def _refill(self, *, now: bool = False) -> None:
        if not self._is_stopped:
            self._spares.refill(now=now)

    def _serve(self) -> None:
        """Give workers to waiting requests, as long as there are workers."""
        # Serving one request may end another, which calls this method again.
        self._must_serve = True
        if self._is_serving:
            return
        self._is_serving = True
        try:
            while self._must_serve:
                self._must_serve = False
                self._serve_queue()
        finally:
            self._is_serving = False

    def _serve_queue(self) -> None:
        """Serve waiting requests in order.

        A later request may get a worker first only if each earlier request will get a
        worker that is about to be free.
        """
        promised = 0
        for client in self._queue.servable(self._answering.values()):
            if client not in self._queue or self._try_to_serve(client, promised):
                continue
            promised += 1
            if not self._selector.make_room(promised):
                return

    def _try_to_serve(self, client: PoolClient, promised: int) -> bool:
        try:
            chosen = self._selector.choose(client, promised)
        except CCProxyError as error:
            if error.cause is Cause.CLI_REPLACED and self.has_workers:
                # A worker of the old binary can send the request.
                return False
            client.fail(error)
            return True
        if chosen is None:
            return False
        worker, served = chosen
        self._queue.leave(client)
        self._answering[worker] = client
        if served is Served.SPARE:
            # `submit` also refills, but the request may have waited since then.
            self._refill()
        client.start(worker, served)
        return True

    def _leave_room(self) -> bool:
        """Stop one idle worker for native mode; returns whether there was one."""
        if not self._selector.dismiss_one():
            return False
        # A request may have waited for the stopped worker.
        self._serve()
        return True

    def _give_back(self, worker: Worker, *, is_lost: bool = False) -> None:
        """Take a worker back, in any state."""
        del self._answering[worker]
        if worker.is_gone:
            self.retire(worker, StopReason.LOST if is_lost else StopReason.UNUSABLE)
        elif worker.is_ready:
            self._keep(worker)
        elif self._is_closing:
            self.retire(worker, StopReason.SHUTDOWN)
        else:
            self._settling.add(worker)
            if not worker.is_settling:
                worker.abandon()
            if worker.is_starting:
                # The request was cancelled before any command was sent.
                self._settling.discard(worker)
                self._keep_unused(worker)

    def _settled(self, worker: Worker) -> None:
        if self._settling.discard(worker):
            self._keep(worker)
        # A worker that was not settling is a spare that is warm now.
        self._serve()

    def _lost(self, worker: Worker) -> None:
        """Retire a lost worker; a worker with a request has failed the request."""
        if self._spares.lost(worker):
            return
        if self._idle.discard(worker):
            self.retire(worker, StopReason.LOST)
        elif self._settling.discard(worker):
            self.retire(worker, StopReason.UNUSABLE)

    def _keep_unused(self, worker: Worker) -> None:
        """Keep a worker that had no request as a spare, or stop it."""
        if self._factory.is_current(worker):
            self._spares.admit(worker)
        else:
            self.retire(worker, StopReason.OUTDATED)

    def _keep(self, worker: Worker) -> None:
        """Keep a ready worker for another request, or stop it."""
        why = self._why_not(worker)
        if why is None:
            self._idle.admit(worker)
        else:
            self.retire(worker, why)

    def _why_not(self, worker: Worker) -> StopReason | None:
        if self._is_closing:
            return StopReason.SHUTDOWN
        if not self._is_used and not self._queue:
            return StopReason.NOT_REUSED
        # If the new binary needs native mode, waiting requests need this worker.
        if self._is_used and not self._factory.is_current(worker):
            return StopReason.OUTDATED
        is_large = worker.resident_bytes > self._limits.recycle_rss
        if is_large or worker.questions >= _MOST_QUESTIONS:
            return StopReason.WORN
        is_needed = not self._slots.is_free and self._native_waits()
        return StopReason.ROOM if is_needed and not self._queue else None

    @property
    def _is_closing(self) -> bool:
        """Whether no request will need a worker any more."""
        return self._is_stopped and not self._queue

    def _dismiss_if_drained(self) -> None:
        if self._is_stopped and not self._clients:
            self._selector.dismiss_all()
