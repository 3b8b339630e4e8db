"""One CLI process, asked one question at a time, any question after any other.

See `ccproxy.claude.worker.state` for its states.

The question is written when all that it depends on was acknowledged as done. A process
that does not do what it is told, or does what it is not, is killed: the question of one
client must never be asked with what belongs to another's.

Source: docs/claude-cli-protocol.md, "The body set whole" and "One question".
"""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.process.process import ClaudeProcess, ProcessExit
from ccproxy.claude.protocol import codec, records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.protocol.stream import is_message
from ccproxy.claude.protocol.writer import LineWriter
from ccproxy.claude.worker.commands import Commands, WorkerLost
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.idle_watch import IdleWatch
from ccproxy.claude.worker.initialization import Initialization
from ccproxy.claude.worker.state import HasWorkerState, WorkerState
from ccproxy.claude.worker.turn_reader import TurnOutcome, TurnReader
from ccproxy.core.errors import CCProxyError, ClaudeFailed, InternalError, TimedOut
from ccproxy.core.question import Listener

_SETTLE_SECONDS = 3.0  # to end a turn that is over for its client
_REFUSAL = "ccproxy does not do this"

__all__ = ["Worker", "WorkerLost"]


class Worker(HasWorkerState):
    """A CLI process that answers one question at a time.

    Attributes:
        launch: how it was started.
        questions: how many it has been asked.

    Raises:
        CCProxyError: the process cannot be started.
    """

    _log = Logger()

    def __init__(self, launch: LaunchSpec, context: CLIContext) -> None:
        self.launch = launch
        self.questions = 0
        self._context = context
        clock = self._clock = context.clock
        self._writer = LineWriter(lambda data: self._process.send(data), clock)
        self._controls = ControlChannel(self._writer.send)
        # A setting takes the operator's own variable away.
        cache_ttl = launch.environment.get("CLAUDE_CODE_PROMPT_CACHE_TTL")
        self._commands = Commands(self._controls, self._writer, self._clock, cache_ttl)
        self._answering = TurnReader(
            context,
            self._controls,
            failed=self._failed,
            timed_out=self._timed_out,
            ended=self._ended,
        )
        self._opening = Initialization(self._initialize, self._opened, self._failed)
        self._idle = IdleWatch(
            clock,
            forget=lambda: self._run(self._commands.forget()),
            look=lambda: self._run(self._check()),
        )
        self._settling: IDelayedCall | None = None
        self._on_ready: Callable[[], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._process = ClaudeProcess.spawn(
            launch, uuid4().hex, self, context.spawner, clock
        )

    @property
    def system(self) -> str | None:
        """The system prompt that it has; None: it never had one."""
        return self._commands.system

    @property
    def has_told(self) -> bool:
        """Whether anything of the last question's answer has been told.

        While not, a failure with `WorkerLost` is none of the question's: another
        worker may be asked. An `UpstreamRetry` is nothing of the answer.
        """
        return self._answering.has_told

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """How much memory the process takes; 0 where the system does not tell."""
        return self._process.resident_bytes

    async def open(self) -> records.InitializeAnswer:
        """Initialize the CLI; then it is ready.

        Raises:
            CCProxyError: it is too old, died, does not answer, or refuses.
        """
        return await self._opening.wait()

    async def warm_up(self) -> None:
        """Have a CLI that is ready load what its first question will need.

        It is asked something that it has to refuse by itself; nothing goes up. It is
        settling meanwhile; done when it was asked.

        Raises:
            CCProxyError: it is gone, or does not do what it is told.
        """
        if not self.is_ready:
            raise InternalError("a worker is warmed up before its first question")
        self._settle_soon()
        self._answering.begin_none()
        try:
            await self._commands.prepare_warm_up(self.launch.model)
        except CCProxyError as error:
            self._failed(Failure(error))
            raise
        if self.is_settling:
            await self._commands.ask()

    def can_ask(self, system: str) -> bool:
        """Whether it can be asked a question with this system prompt, now.

        An empty one needs a worker that never had one. One that is starting can be
        asked, too; one that was stopped (SIGSTOP) cannot.
        """
        return (
            self._state in (WorkerState.STARTING, WorkerState.READY)
            and (bool(system) or self.system is None)
            and not self._process.is_stopped
        )

    def ask(self, body: ComposedBody, listener: Listener) -> None:
        """Put a question; the listener is told everything, but not from within.

        Raises:
            Bug: it cannot be asked this.
        """
        if self._state not in (WorkerState.STARTING, WorkerState.READY) or (
            self.system is not None and not body.system
        ):
            raise InternalError("a worker was asked what it cannot be asked")
        self.questions += 1
        self._state = WorkerState.PREPARING
        # A process that is stopped (SIGSTOP) while it answers says nothing more.
        self._idle.start(has_body=False)
        self._answering.begin(body, listener)
        self._run(self._put(body))

    def on_ready(self, ready: Callable[[], None]) -> None:
        """Have ``ready`` called each time when it is ready again.

        That is after a question, or when it is warm.
        """
        self._on_ready = ready

    def watch(self, lost: Callable[[], None]) -> None:
        """Have ``lost`` called once if it ends, or has to be ended, by itself.

        It comes before the listener's end, if there is one to come.
        """
        self._on_lost = lost

    def abandon(self) -> None:
        """Break the question off: its listener hears no more.

        Within 3 s it is ready again (``on_ready``), or lost (``watch``).
        """
        self._answering.leave()
        self._process.resume()
        if self._state in (WorkerState.PREPARING, WorkerState.ASKING):
            self._break_off()

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        if self._state in (WorkerState.PREPARING, WorkerState.ASKING):
            self._process.pause()
            self._answering.pause()

    def resume(self) -> None:
        """Read on."""
        self._process.resume()
        self._answering.resume()

    def check(self) -> "Deferred[bool]":
        """Whether the process lives and, if nobody asks it, answers within 3 s.

        One that does not is ended, and lost.
        """
        return Deferred.fromCoroutine(self._check())

    async def _check(self) -> bool:
        if self._process.is_stopped:
            self._lose(WorkerLost("the claude CLI was stopped, or has ended"))
        elif self.is_ready and not await self._commands.answers() and self.is_ready:
            self._lose(WorkerLost("the claude CLI does not answer"))
        return not self.is_gone

    def close(self) -> "Deferred[None]":
        """Stop the CLI; nobody hears anything more of it. Fires when it is gone."""
        is_busy = self._state not in (WorkerState.STARTING, WorkerState.READY)
        self._on_lost = None
        self._answering.leave()
        self._retire(ClaudeFailed("the worker was closed"))
        if is_busy:
            # A gentle end would let it ask the model on for some 60 ms.
            self._process.kill()
        return self._process.terminate()

    def kill(self) -> None:
        """Stop the CLI now; `close` tells when it is gone."""
        self._process.kill()

    def lines_received(self, lines: list[bytes]) -> None:
        """Take lines of the CLI's; called by the process."""
        try:
            for line in lines:
                record = codec.decode(line)
                # Nearly all records are pieces of the answer that is under way.
                if record is not None and not self._answering.goes_on(record):
                    self._received(record)
        except codec.WireError as error:
            self.garbage_received(error)
        else:
            self._answering.tell()

    def garbage_received(self, error: codec.WireError) -> None:
        """Give up a CLI that cannot be understood; called by the process."""
        self._lose(WorkerLost(f"the claude CLI wrote {error}"))

    def process_ended(self, end: ProcessExit) -> None:
        """Learn that the CLI is gone; called by the process."""
        if not self.is_gone:
            self._log.warn("the claude CLI ended unexpectedly: {end}", end=str(end))
            self._lose(WorkerLost(f"the claude CLI ended unexpectedly ({end})"))

    # Before the question.

    async def _initialize(self) -> records.InitializeAnswer:
        seconds = self._context.limits.first_token_timeout
        answer = await self._commands.initialize(seconds)
        self._context.on_initialized(answer)
        return answer

    def _opened(self) -> None:
        if self.is_starting:
            self._become_ready()

    async def _put(self, body: ComposedBody) -> None:
        number = self.questions
        await self.open()
        if number != self.questions or not self.is_preparing:
            return  # abandoned
        await self._commands.prepare(body)
        if self.is_settling:
            # Abandoned, and not asked: there is nothing to take back.
            self._become_ready()
        elif self.is_preparing:
            self._state = WorkerState.ASKING
            await self._commands.ask(body.first_text)

    # The answer.

    def _received(self, record: codec.Record) -> None:
        if isinstance(record, records.ControlResponse):
            self._controls.receive(record)
        elif isinstance(record, records.ControlRequest):
            self._writer.send(requests.refusal(record.request_id, _REFUSAL))
        elif self.is_asking or self.is_settling:
            self._at_turn(record)
        elif not self.is_gone and is_message(record):
            self._ask_by_itself()

    def _at_turn(self, record: codec.Record) -> None:
        if self._answering.is_unexpected(record):
            self._ask_by_itself()
            return
        self._answering.receive(record)
        if self.is_settling and self._answering.would_ask_again:
            self._lose(WorkerLost("the claude CLI would have asked by itself"))
        elif self.is_settling and self._answering.is_settled:
            self._run(self._take_back())

    def _ask_by_itself(self) -> None:
        self._log.error("a claude CLI has asked the model by itself, and is killed")
        self._lose(WorkerLost("the claude CLI has asked the model by itself"))

    def _ended(self) -> None:
        """The listener is to hear the end; see what the CLI can be used for now."""
        self._process.resume()
        if not self.is_asking:
            return
        match self._answering.fate:
            case TurnOutcome.UNUSABLE:
                self._lose(WorkerLost("the claude CLI cannot be asked again"))
            case TurnOutcome.GOES_ON:
                self._break_off()
            case _:
                # `_at_turn` sees to the rest, if the turn is over already.
                self._settle_soon()

    def _timed_out(self, error: TimedOut) -> None:
        why = self._answering.why(error)
        if self.is_asking:
            self._answering.fail(why)
        else:
            self._lose(why)

    # After the answer.

    def _break_off(self) -> None:
        if self.is_preparing and self._opening.answer is None:
            self._state = WorkerState.STARTING
            return
        if self.is_asking:
            self._run(self._commands.interrupt())
        self._settle_soon()

    def _settle_soon(self) -> None:
        self._state = WorkerState.SETTLING
        self._stop_settling()
        self._settling = self._clock.callLater(_SETTLE_SECONDS, self._is_late)

    def _is_late(self) -> None:
        self._settling = None
        self._lose(WorkerLost("the claude CLI does not end its turn"))

    async def _take_back(self) -> None:
        if self._commands.has_question:
            self._answering.stop()
            await self._commands.rewind()
            if self.is_settling:
                self._become_ready()

    def _become_ready(self) -> None:
        # Not if it was only opened.
        is_back = self.is_settling or self.questions > 0
        self._stop_settling()
        self._state = WorkerState.READY
        self._idle.start(has_body=self._commands.has_body)
        if is_back and self._on_ready is not None:
            self._on_ready()

    # The end.

    def _run(self, command: Coroutine[Any, Any, object]) -> None:
        Deferred.fromCoroutine(command).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, codec.WireError):
            error = WorkerLost(f"the claude CLI sent {error}")
        elif type(error) is ClaudeFailed:
            error = WorkerLost(error.message)
        elif not isinstance(error, CCProxyError):
            if not self.is_gone:
                self._log.failure("while a CLI was spoken to", failure)
            error = WorkerLost("the claude CLI could not be spoken to")
        self._lose(error)

    def _lose(self, error: CCProxyError) -> None:
        """Kill the CLI, and tell all whom it concerns, the listener last."""
        if self.is_gone:
            return
        self._retire(error)
        self._process.kill()
        if self._controls.take_never_answered():
            self._context.on_start_failed(error)
        lost, self._on_lost = self._on_lost, None
        if lost is not None:
            lost()
        self._answering.fail(error)

    def _retire(self, error: CCProxyError) -> None:
        self._state = WorkerState.GONE
        self._idle.stop()
        self._stop_settling()
        self._answering.stop()
        self._controls.abandon(error)
        self._opening.fail(error)

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
