"""Workers under the test's control, and a pool of them."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from typing_extensions import override

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.observer import ClaudeObserver, Served, StopReason
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.processes import ProcessSlots
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.config.limits import PoolLimits
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import Event, Failed, Finished

FINISHED = Finished("end_turn")


@define(eq=False)
class FakeWorker:
    """A worker that does nothing by itself, and records its calls."""

    state: str = "starting"
    questions: int = 0
    system: str | None = None
    resident_bytes: int = 0
    is_hung: bool = False
    is_paused: bool = False
    is_killed: bool = False
    bodies: list[ComposedBody] = field(factory=list)
    texts: list[tuple[str, str]] = field(factory=list)
    counting: "Deferred[int | None] | None" = None
    listener: Any = None
    lost: Callable[[], None] | None = None
    ready: Callable[[], None] | None = None
    openers: "list[Deferred[Any]]" = field(factory=list)
    closed: "Deferred[None] | None" = None

    def __getattr__(self, name: str) -> bool:
        state = name.removeprefix("is_")
        if state not in (
            "starting",
            "ready",
            "preparing",
            "asking",
            "settling",
            "gone",
        ):
            raise AttributeError(name)
        return self.state == state

    # What the pool and the questions do.

    async def open(self) -> Any:
        if self.state == "starting":
            opener: Deferred[Any] = Deferred()
            self.openers.append(opener)
            await opener
        return None

    async def warm_up(self) -> None:
        assert self.state == "ready"
        self.state = "settling"

    def can_ask(self, system: str) -> bool:
        fits = bool(system) or self.system is None
        return self.state in ("starting", "ready") and fits and not self.is_hung

    def ask(self, body: ComposedBody, listener: Any) -> None:
        assert self.can_ask(body.system)
        self.questions += 1
        self.bodies.append(body)
        self.system = body.system or self.system
        self.listener = listener
        self.state = "preparing" if self.state == "starting" else "asking"

    async def count(self, text: str, model: str) -> int | None:
        assert self.can_ask(text)
        self.questions += 1
        self.texts.append((text, model))
        self.system = text
        self.state = "preparing"
        self.counting = Deferred()
        return await self.counting

    def on_ready(self, ready: Callable[[], None]) -> None:
        self.ready = ready

    def watch(self, lost: Callable[[], None]) -> None:
        self.lost = lost

    def abandon(self) -> None:
        assert self.state in ("preparing", "asking")
        self.listener = None
        self.state = "starting" if self.state == "preparing" else "settling"

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def close(self) -> "Deferred[None]":
        assert self.closed is None
        self.state, self.listener, self.lost = "gone", None, None
        self.closed = Deferred()
        openers, self.openers = self.openers, []
        for opener in openers:
            opener.errback(WorkerLost("the worker was closed"))
        return self.closed

    def kill(self) -> None:
        self.is_killed = True

    # What the process does.

    def is_opened(self) -> None:
        """Become ready."""
        if self.state == "starting":
            self.state = "ready"
        elif self.state == "preparing":
            self.state = "asking"
        openers, self.openers = self.openers, []
        for opener in openers:
            opener.callback(None)

    def say(self, *events: Event) -> None:
        """Send a piece of the answer."""
        self.state = "asking"
        self.listener.receive(list(events))

    def answer(self, *events: Event, settles: bool = True) -> None:
        """End the answer with success."""
        listener, self.listener = self.listener, None
        self.state = "settling"
        listener.receive([*events, FINISHED])
        if settles:
            self.settle()

    def counted(self, tokens: int | None) -> None:
        """Answer a count; nothing happens if there is none."""
        counting, self.counting = self.counting, None
        if counting is not None:
            self.state = "settling"
            self.settle()
            counting.callback(tokens)

    def fail(self, error: CCProxyError, *, settles: bool = True) -> None:
        """End the answer with an error; the process stays usable."""
        listener, self.listener = self.listener, None
        self.state = "settling"
        listener.receive([Failed(error)])
        if settles:
            self.settle()

    def settle(self) -> None:
        """Become ready again."""
        if self.state == "settling":
            self.state = "ready"
            if self.ready is not None:
                self.ready()

    def die(self, error: CCProxyError | None = None) -> None:
        """Become unusable."""
        if self.state == "gone":
            return
        error = error or WorkerLost("it died")
        self.state = "gone"
        openers, self.openers = self.openers, []
        for opener in openers:
            opener.errback(error)
        lost, self.lost = self.lost, None
        if lost is not None:
            lost()
        counting, self.counting = self.counting, None
        if counting is not None:
            counting.errback(error)
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.receive([Failed(error)])

    def is_reaped(self) -> None:
        """Report the end of the process."""
        assert self.closed is not None
        self.closed.callback(None)


@define(eq=False)
class Counts(ClaudeObserver):
    """An observer that records its calls."""

    served: list[tuple[Served, float]] = field(factory=list)
    stopped: list[StopReason] = field(factory=list)
    begun: list[tuple[str, Served, float]] = field(factory=list)

    @override
    def cli_stopped(self, why: StopReason) -> None:
        self.stopped.append(why)

    @override
    def question_served(self, served: Served, queued_seconds: float) -> None:
        self.served.append((served, queued_seconds))

    @override
    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        self.begun.append((model, served, seconds))


@define(eq=False)
class PoolHouse:
    """A pool of fake workers, with its observer."""

    processes: int = 2
    spares: int = 0
    queue: int = 1000
    clock: Clock = field(factory=Clock)
    workers: list[FakeWorker] = field(factory=list)
    refusal: CCProxyError | None = None
    refuses_more: CCProxyError | None = None
    allowed: bool = True
    outdated: set[FakeWorker] = field(factory=set)
    native_waits: bool = False
    told: Counts = field(factory=Counts)
    slots: ProcessSlots = field(init=False)
    pool: Pool = field(init=False)

    def __attrs_post_init__(self) -> None:
        factory: Any = self
        limits = PoolLimits(
            spares=self.spares,
            idle_timeout=600.0,
            recycle_rss=1000,
            max_queue=self.queue,
            queue_timeout=60.0,
        )
        self.slots = ProcessSlots(self.processes)
        self.pool = Pool(
            factory,
            self.slots,
            limits,
            self.clock,
            self.told,
            native_waits=lambda: self.native_waits,
        )
        self.pool.start()

    # The factory.

    def start(self, *, is_probe: bool = False) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.workers.append(FakeWorker())
        return self.workers[-1]

    def is_allowed(self) -> bool:
        if self.refuses_more is not None:
            raise self.refuses_more
        return self.allowed

    def is_current(self, worker: FakeWorker) -> bool:
        return worker not in self.outdated

    def update(self) -> None:
        """Replace the binary: new workers run another one."""
        self.outdated = {*self.workers}
        self.pool.wake()

    @property
    def living(self) -> Sequence[FakeWorker]:
        """The workers whose processes run."""
        return [w for w in self.workers if w.closed is None or not w.closed.called]
