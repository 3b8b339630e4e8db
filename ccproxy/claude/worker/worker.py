"""One CLI process that answers questions of all clients, one at a time.

`ccproxy.claude.worker.state` explains the states of a worker.

A question is written only after the CLI has acknowledged all settings of the question.
A process that ignores a command, or sends a request of its own, is killed, because the
question of one client must never be sent with the settings of another client.

Source: docs/claude-cli-protocol.md, "Body mode" and "One question".
"""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude.body.options import CACHE_TTL
from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.process.owner import ProcessExit
from ccproxy.claude.process.process import ClaudeProcess
from ccproxy.claude.protocol import codec, records, requests
from ccproxy.claude.protocol.control import ControlChannel, LineWriter
from ccproxy.claude.protocol.stream import is_message
from ccproxy.claude.worker.commands import (
    BYTES_A_SECOND,
    Commands,
    Initialization,
    WorkerLost,
    error_of_command,
)
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.heartbeat import Heartbeat
from ccproxy.claude.worker.state import HasWorkerState, WorkerState
from ccproxy.claude.worker.turn_reader import TurnReader
from ccproxy.core.backend import Listener
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed, InternalError

_INITIALIZE_SECONDS = 120.0  # a booting machine may need a minute
_SETTLE_SECONDS = 3.0  # to end the turn and to rewind
# The last body is removed after this time, if no question replaces it.
_FORGET_SECONDS = 0.25
_REFUSAL = "ccproxy does not do this"


class Worker(HasWorkerState):
    """A CLI process that answers one question at a time.

    Attributes:
        launch: how the process was started.
        questions: the number of questions that the worker has taken.

    Raises:
        CCProxyError: the process cannot be started.
    """

    _log = Logger()

    def __init__(self, launch: LaunchSpec, context: CLIContext) -> None:
        self.launch, self.questions = launch, 0
        self._context = context
        clock = self._clock = context.clock
        self._writer = LineWriter(lambda data: self._process.send(data), clock)
        self._controls = ControlChannel(self._writer.send)
        # A question's settings replace this variable; they repeat the operator's value.
        cache_ttl = launch.environment.get(CACHE_TTL)
        self._commands = Commands(self._controls, self._writer, self._clock, cache_ttl)
        self._reader = TurnReader(
            context,
            self._controls,
            failed=self._failed,
            timed_out=self._timed_out,
            error_log=lambda: self._process.read_errors(),
            ended=self._ended,
        )
        self._opening = Initialization(self._initialize, self._opened, self._failed)
        # In READY, it removes the last body. In SETTLING, it gives up the CLI.
        self._timer: IDelayedCall | None = None
        self._on_ready: Callable[[], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._process = ClaudeProcess.spawn(
            launch, uuid4().hex, self, context.spawner, clock
        )
        self._heartbeat = Heartbeat(
            *(self._process, self._controls, clock),
            must_answer=lambda: self.is_ready or self.is_asking,
            lost=self._give_up,
        )

    @property
    def system(self) -> str | None:
        """The system prompt of the CLI; None: the CLI never had one."""
        return self._commands.system

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """The memory of the process; 0 if the system does not report it."""
        return self._process.resident_bytes

    async def open(self) -> records.InitializeAnswer:
        """Initialize the CLI; returns when the worker is ready.

        Raises:
            CCProxyError: the CLI is too old, ended, does not answer, or refuses.
        """
        return await self._opening.wait()

    async def warm_up(self) -> None:
        """Make a ready CLI load the code that its first question needs.

        The CLI gets a question that it refuses by itself, without a request. Meanwhile
        the worker is settling. Returns when the question is written.

        Raises:
            CCProxyError: the process is gone, or ignores a command.
        """
        if not self.is_ready:
            raise InternalError("a worker is warmed up before its first question only")
        self._settle_soon()
        self._reader.begin_none()
        try:
            await self._commands.prepare_warm_up(self.launch.model)
        except CCProxyError as error:
            self._failed(Failure(error))
            raise
        if self.is_settling:
            await self._commands.ask()

    def can_ask(self, system: str) -> bool:
        """Whether the worker can take a question with this system prompt now.

        A question without a system prompt needs a worker that never had one. A starting
        worker can take a question, too. A process stopped by SIGSTOP cannot.
        """
        return (
            self.is_free
            and (bool(system) or self.system is None)
            and not self._process.is_stopped
        )

    def ask(self, body: ComposedBody, listener: Listener) -> None:
        """Take a question; the listener is called only after this method returns.

        Raises:
            InternalError: the worker cannot take this question.
        """
        if not self.is_free or (self.system is not None and not body.system):
            raise InternalError("a worker was given a question that it cannot take")
        self._begin(len(body.json))
        self._reader.begin(body, listener)
        self._run(self._put(body))

    def _begin(self, size_bytes: int) -> None:
        self.questions += 1
        self._state = WorkerState.PREPARING
        self._stop_timer()
        self._heartbeat.patience_seconds = size_bytes / BYTES_A_SECOND
        self._heartbeat.start()
        self._process.forget_errors()

    async def count(self, text: str, model: str) -> int | None:
        """Have the provider count a text, as `Commands.count`; `abandon` ends it.

        The text becomes the system prompt. Raises `CCProxyError` if the CLI is lost.
        """
        if not self.is_free:
            raise InternalError("a worker that is not free was given a text")
        self._begin(len(text))
        try:
            if not await self._is_open():
                return None
            tokens = await self._commands.count(text, model)
        except CCProxyError as error:
            self._failed(Failure(error))
            raise
        self._become_ready()
        return tokens

    def on_ready(self, ready: Callable[[], None]) -> None:
        """Call ``ready`` when the worker is ready after a question or the warm-up."""
        self._on_ready = ready

    def watch(self, lost: Callable[[], None]) -> None:
        """Call ``lost`` once if the process ends by itself, or is killed for a failure.

        If there is a listener, ``lost`` is called before the listener's last event.
        """
        self._on_lost = lost

    def abandon(self) -> None:
        """Abort the question; its listener gets no more events.

        Within 3 s, the worker is ready again (`on_ready`) or lost (`watch`).
        """
        self._reader.delivery.leave()
        self._process.resume()
        if self.is_answering:
            self._break_off()

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        if self.is_answering:
            self._process.pause()
            self._reader.delivery.pause()

    def resume(self) -> None:
        """Continue reading."""
        self._process.resume()
        self._heartbeat.is_heard = True
        self._reader.delivery.resume()

    async def answers(self, seconds: float) -> bool:
        """Whether the CLI answers a ping within ``seconds``."""
        return await self._controls.answers(seconds, self._clock)

    def close(self) -> "Deferred[None]":
        """Stop the CLI, without further callbacks. Fires when the process is gone."""
        is_busy = not self.is_free
        self._on_lost = None
        self._reader.delivery.leave()
        self._retire(ClaudeFailed("the worker was closed", cause=Cause.PROCESS_ENDED))
        if is_busy:
            # After SIGTERM, the CLI could send requests for about 60 ms more.
            self._process.kill()
        return self._process.terminate()

    def kill(self) -> None:
        """Kill the CLI; the Deferred of `close` fires when it is gone."""
        self._process.kill()

    def lines_received(self, lines: list[bytes]) -> None:
        """Take lines of the CLI; called by the process."""
        self._heartbeat.is_heard = True
        try:
            for line in lines:
                record = codec.decode(line)
                # Nearly all records are deltas of the current answer.
                if record is not None and not self._reader.take_delta(record):
                    self._received(record)
        except codec.WireError as error:
            self.garbage_received(error)
        else:
            self._reader.deliver()

    def garbage_received(self, error: codec.WireError) -> None:
        """Give up a CLI whose output cannot be read; called by the process."""
        self._give_up(f"the claude CLI wrote {error}", Cause.INVALID_OUTPUT)

    def process_ended(self, end: ProcessExit) -> None:
        """Note that the CLI has ended; called by the process."""
        if not self.is_gone:
            self._log.warn("the claude CLI ended unexpectedly: {end}", end=str(end))
            self._give_up(
                f"the claude CLI ended unexpectedly ({end})", Cause.PROCESS_ENDED
            )

    # Before the question.

    async def _initialize(self) -> records.InitializeAnswer:
        limit = self._context.limits.first_token_timeout
        answer = await self._commands.initialize(min(limit, _INITIALIZE_SECONDS))
        self._context.on_initialized(answer, self.launch)
        return answer

    def _opened(self) -> None:
        if self.is_starting:
            self._become_ready()

    async def _put(self, body: ComposedBody) -> None:
        if not await self._is_open():
            return
        await self._commands.prepare(body)
        if self.is_settling:
            # The question was abandoned before it was written: nothing to rewind.
            self._become_ready()
        elif self.is_preparing:
            self._state = WorkerState.ASKING
            await self._commands.ask(body.first_text)

    async def _is_open(self) -> bool:
        """Wait for the initialization; returns whether the question still waits."""
        number = self.questions
        await self.open()
        return number == self.questions and self.is_preparing

    # The answer.

    def _received(self, record: codec.Record) -> None:
        if isinstance(record, records.ControlResponse):
            self._controls.receive(record)
        elif isinstance(record, records.ControlRequest):
            self._writer.send(requests.refusal(record.request_id, _REFUSAL))
        elif self.is_asking or self.is_settling:
            self._at_turn(record)
        elif not self.is_gone and is_message(record):
            self._report_own_request()

    def _at_turn(self, record: codec.Record) -> None:
        if self._reader.is_unexpected(record):
            self._report_own_request()
            return
        self._reader.receive(record)
        if self.is_settling and self._reader.would_send_own_request:
            what = "the claude CLI was about to send a request of its own"
            self._give_up(what, Cause.OWN_REQUEST)
        elif self.is_settling and self._reader.is_settled:
            self._run(self._rewind())

    def _report_own_request(self) -> None:
        what = "the claude CLI sent a request of its own to the model"
        self._log.error("{what} and is killed", what=what)
        self._give_up(what, Cause.OWN_REQUEST)

    def _ended(self) -> None:
        """Decide the CLI's next state; the listener gets the end afterwards."""
        self._process.resume()
        if not self.is_asking:
            return
        if self._reader.is_spoiled:
            what = "the claude CLI cannot be used again"
            self._give_up(what, Cause.TURN_DOES_NOT_END)
        elif self._reader.is_ending:
            # If the turn has ended already, `_at_turn` rewinds it.
            self._settle_soon()
        else:
            self._break_off()

    def _timed_out(self, error: CCProxyError) -> None:
        if self.is_asking:
            self._reader.fail(error)
        else:
            self._lose(error)

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
        self._start_timer(_SETTLE_SECONDS, self._settle_timed_out)

    def _settle_timed_out(self) -> None:
        self._give_up("the claude CLI does not end its turn", Cause.TURN_DOES_NOT_END)

    async def _rewind(self) -> None:
        if self._commands.has_question:
            self._reader.stop()
            await self._commands.rewind()
            if self.is_settling:
                self._become_ready()

    def _become_ready(self) -> None:
        # `on_ready` does not report the initialization alone.
        is_back, commands = self.is_settling or self.questions > 0, self._commands
        self._stop_timer()
        self._state = WorkerState.READY
        if commands.has_body:
            self._start_timer(_FORGET_SECONDS, lambda: self._run(commands.forget()))
        self._heartbeat.start()
        if is_back and self._on_ready is not None:
            self._on_ready()

    def _start_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(seconds, call)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # The end.

    def _run(self, command: Coroutine[Any, Any, object]) -> None:
        Deferred.fromCoroutine(command).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not self.is_gone and not isinstance(error, CCProxyError | codec.WireError):
            self._log.failure("a command to a CLI failed", failure)
        self._lose(error_of_command(error))

    def _give_up(self, why: str, cause: Cause) -> None:
        self._lose(WorkerLost(why, cause=cause))

    def _lose(self, error: CCProxyError) -> None:
        """Kill the CLI, and notify all who wait for it, the listener last."""
        if self.is_gone:
            return
        self._retire(error)
        self._process.kill()
        if self._controls.take_never_answered():
            self._context.on_start_failed(error)
        lost, self._on_lost = self._on_lost, None
        if lost is not None:
            lost()
        self._reader.fail(error)

    def _retire(self, error: CCProxyError) -> None:
        self._state = WorkerState.GONE
        self._stop_timer()
        self._heartbeat.stop()
        self._reader.stop()
        self._controls.abandon(error)
        self._opening.fail(error)
