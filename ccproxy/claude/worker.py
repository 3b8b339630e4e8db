"""One CLI process, asked one question at a time, any question after any other.

=========  =====================================================================
STARTING   spawned; not initialized yet
READY      nothing of a question is in it; it can be asked
PREPARING  it has a question, and is told body, system prompt and model
ASKING     the question is written, the answer comes
SETTLING   the listener has its end, or is gone: the CLI has to end the turn, to
           rewind its conversation and to forget the body
GONE       the process is being stopped, or has ended
=========  =====================================================================

Source: protocol notes, "The body set whole".
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime

from ccproxy.accounting import RateWindow
from ccproxy.claude.body.composed import ComposedBody
from ccproxy.claude.deadlines import Limits
from ccproxy.claude.observer import Nobody, Observer
from ccproxy.claude.process.launch import Launch
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.core.stream import Event
from ccproxy.errors import CCProxyError, ClaudeFailed


class WorkerLost(ClaudeFailed):
    """The process is at fault, not the question: another one may be asked."""


class TurnListener(Protocol):
    """Who is told an answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take what arrived together, at least one event, in order.

        The last event of all is the only ``Finished`` or ``Failed``. It may come
        before the worker is ready again; ``Worker.on_ready`` tells of that.
        """


@frozen(kw_only=True)
class WorkerContext:
    """What workers need of the world.

    Attributes:
        wall_seconds: Unix time.
        learned: told what a CLI says of itself when it is initialized.
        limited: told how much of the subscription's limits is used.
        observer: whoever counts.
        unheard: told why one has failed that had not answered anything.
        full_id: the id of the model that a name means.
    """

    spawner: IReactorProcess
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    limits: Limits
    learned: Callable[[InitializeAnswer], None]
    unheard: Callable[[CCProxyError], None]
    limited: Callable[[Sequence[RateWindow]], None] = lambda _: None
    observer: Observer = field(factory=Nobody)
    full_id: Callable[[str], str] = str


class Worker:
    """A CLI process that answers one question at a time.

    Attributes:
        launch: how it was started.
        questions: how many it has been asked.
        system: the system prompt that it has; None: it never had one.

    Raises:
        CCProxyError: the process cannot be started.
    """

    def __init__(self, launch: Launch, context: WorkerContext) -> None:
        self.launch = launch
        self.questions = 0
        self.system: str | None = None
        self._context = context

    @property
    def is_starting(self) -> bool:
        """Whether it is not initialized yet, and has no question."""
        raise NotImplementedError

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked, and has no question."""
        raise NotImplementedError

    @property
    def is_preparing(self) -> bool:
        """Whether it has a question that it was not asked yet."""
        raise NotImplementedError

    @property
    def is_asking(self) -> bool:
        """Whether the answer is under way."""
        raise NotImplementedError

    @property
    def is_settling(self) -> bool:
        """Whether it is done with a question, and not ready for the next."""
        raise NotImplementedError

    @property
    def is_gone(self) -> bool:
        """Whether it is of no more use."""
        raise NotImplementedError

    @property
    def has_told(self) -> bool:
        """Whether anything of the last question's answer has been told.

        While not, a failure with `WorkerLost` is none of the question's: another
        worker may be asked. An `UpstreamRetry` is nothing of the answer.
        """
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process's id."""
        raise NotImplementedError

    @property
    def resident_bytes(self) -> int:
        """How much memory the process takes; 0 where the system does not tell."""
        raise NotImplementedError

    async def open(self) -> InitializeAnswer:
        """Initialize the CLI; then it is ready.

        Raises:
            CCProxyError: it is too old, died, does not answer, or refuses.
        """
        raise NotImplementedError

    async def warm_up(self) -> None:
        """Have a CLI that is ready load what its first question will need."""
        raise NotImplementedError

    def can_ask(self, system: str) -> bool:
        """Whether it can be asked a question with this system prompt, now.

        An empty one needs a worker that never had one. One that is starting can be
        asked, too; one that was stopped (SIGSTOP) cannot.
        """
        raise NotImplementedError

    def ask(self, body: ComposedBody, listener: TurnListener) -> None:
        """Put a question; the listener is told everything, but not from within."""
        raise NotImplementedError

    def on_ready(self, ready: Callable[[], None]) -> None:
        """Have ``ready`` called each time when it is ready again after a question."""
        raise NotImplementedError

    def watch(self, lost: Callable[[], None]) -> None:
        """Have ``lost`` called once if it ends, or has to be ended, by itself.

        It comes before the listener's end, if there is one to come.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """Break the question off: its listener hears no more.

        Within 3 s it is ready again (``on_ready``), or lost (``watch``).
        """
        raise NotImplementedError

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read on."""
        raise NotImplementedError

    def check(self) -> "Deferred[bool]":
        """Whether the process lives and answers, within a second.

        One that does not is ended, and lost.
        """
        raise NotImplementedError

    def close(self) -> "Deferred[None]":
        """Stop the CLI; nobody hears anything more of it. Fires when it is gone."""
        raise NotImplementedError

    def kill(self) -> None:
        """Stop the CLI now; `close` tells when it is gone."""
        raise NotImplementedError
