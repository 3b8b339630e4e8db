"""One CLI process that answers one request with the CLI's own loop.

=============  ============================================================
NEW            the process was started
PREPARING      settings and history are being sent
ASKING         the question is sent, the answer arrives
SUSPENDED      the turn has used Claude Code's own tools, and the answer
               ended with calls of the client's tools; the CLI waits for
               their results
CLOSED         the process is being stopped, or has ended
=============  ============================================================

Source: docs/claude-cli-protocol.md, "Input" and "History".
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude.native.mcp_server import MCPServer, check_offered
from ccproxy.claude.native.operator_servers import CONNECTED
from ccproxy.claude.native.prompt import Prompt, ToolResultBlock
from ccproxy.claude.native.session_setup import SessionSetup
from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.process.owner import ProcessExit
from ccproxy.claude.process.process import ClaudeProcess
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.protocol.error_log import last_logged_error
from ccproxy.claude.protocol.stream import StreamLine, UserLine
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.heartbeat import Heartbeat
from ccproxy.claude.worker.turn_reader import Delivery
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.config.mcp_names import CLIENT_SERVER
from ccproxy.core.backend import Listener
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed, TimedOut
from ccproxy.core.stream import Event, Failed, Finished


class SessionLost(ClaudeFailed):
    """The process failed, not the request: another process may get the request."""


class _State(Enum):
    NEW = auto()
    PREPARING = auto()
    ASKING = auto()
    SUSPENDED = auto()
    CLOSED = auto()


class Session:
    """A CLI process of native mode.

    Attributes:
        launch: how the process was started.

    Raises:
        CCProxyError: the process cannot be started.
    """

    _log = Logger()

    def __init__(
        self, launch: LaunchSpec, context: CLIContext, settings: NativeSettings
    ) -> None:
        self.launch = launch
        self._context = context
        self._settings = settings
        self._state = _State.NEW
        self._controls = ControlChannel(self._send)
        self._tools = MCPServer(self._answer_tool)
        self._preparation = SessionSetup(
            self._controls,
            self._send,
            self._tools,
            context,
            settings,
            launch,
            self._setup_failed,
        )
        self._costs = context.cost_tracker()
        self._prompt: Prompt | None = None
        self._turn: NativeTurnDecoder | None = None
        # Whether any turn of this session has used Claude Code's own tools.
        self._has_own_calls = False
        self._lost: Callable[[], None] | None = None
        self._delivery = Delivery(context.limits, context.clock, self._timed_out)
        self._process = ClaudeProcess.spawn(
            launch, uuid4().hex, self, context.spawner, context.clock
        )
        self._heartbeat = Heartbeat(
            self._process,
            self._controls,
            context.clock,
            must_answer=lambda: self._state is _State.ASKING,
            lost=self._process_lost,
        )

    @property
    def is_suspended(self) -> bool:
        """Whether the CLI waits for results."""
        return self._state is _State.SUSPENDED

    @property
    def needs_no_handshake(self) -> bool:
        """Whether the CLI has taken the tools from their manifest alone."""
        return not self._tools.was_listed

    def ask(self, prompt: Prompt, listener: Listener) -> None:
        """Send the request to the new CLI; the listener gets all events."""
        self._begin(prompt, listener)
        asked = Deferred.fromCoroutine(self._put(prompt))
        asked.addErrback(self._setup_failed)

    def watch(self, on_lost: Callable[[], None]) -> None:
        """Call ``on_lost`` once if the suspended session cannot be used any more."""
        self._lost = on_lost

    def resume_with_results(
        self,
        prompt: Prompt,
        results: Sequence[ToolResultBlock],
        listener: Listener,
    ) -> None:
        """Send results to the suspended session, which continues its turn.

        Args:
            prompt: the whole request; it differs from the last one in new turns only.
            results: one result for each call, with the model's ids.
            listener: gets all events, failures included.
        """
        self._begin(prompt, listener, self._turn.message_id if self._turn else None)
        self._state = _State.ASKING
        self._tools.give(results)

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        self._process.pause()
        self._delivery.pause()

    def resume(self) -> None:
        """Continue reading."""
        self._process.resume()
        self._heartbeat.is_heard = True
        self._delivery.resume()

    def close(self) -> "Deferred[None]":
        """Stop the CLI and send no more events. Fires when the process is gone."""
        self._delivery.leave()
        self._heartbeat.stop()
        self._lost = None
        if self._state is _State.SUSPENDED:
            # After SIGTERM, the CLI would give up the calls and send another request.
            self._process.kill()
        self._state = _State.CLOSED
        self._abandon(ClaudeFailed("the session was closed", cause=Cause.PROCESS_ENDED))
        return self._process.terminate()

    def kill(self) -> None:
        """Kill the CLI; the Deferred of `close` fires when it is gone."""
        self._process.kill()

    def lines_received(self, lines: list[bytes]) -> None:
        """Take lines of the CLI; called by the process."""
        self._heartbeat.is_heard = True
        events: list[Event] = []
        try:
            for line in lines:
                record = wire.decode(line)
                if record is not None:
                    events += self._received(record)
                if events and isinstance(events[-1], Finished | Failed):
                    # `_deliver` changes the session's state before the next record.
                    self._deliver(events)
                    events = []
        except wire.WireError as error:
            if events:
                self._deliver(events)
            self.garbage_received(error)
        else:
            if events:
                self._deliver(events)

    def garbage_received(self, error: wire.WireError) -> None:
        """Give up a CLI whose output cannot be read; called by the process."""
        self._break_off(
            SessionLost(f"the claude CLI wrote {error}", cause=Cause.INVALID_OUTPUT)
        )

    def process_ended(self, end: ProcessExit) -> None:
        """Note that the CLI has ended; called by the process."""
        state, self._state = self._state, _State.CLOSED
        if state is not _State.CLOSED:
            self._log.warn("the claude CLI ended unexpectedly: {end}", end=str(end))
            self._break_off(
                SessionLost(
                    f"the claude CLI ended unexpectedly ({end})",
                    cause=Cause.PROCESS_ENDED,
                )
            )

    def _begin(
        self, prompt: Prompt, listener: Listener, after: str | None = None
    ) -> None:
        self._lost = None
        self._process.forget_errors()
        self._prompt = prompt
        self._costs.model = self._context.full_id(prompt.model)
        self._turn = NativeTurnDecoder(
            self._context.wall_seconds(),
            frozenset(tool.name for tool in prompt.tools),
            must_call=prompt.must_call and not self._settings.forward_tool_choice,
            has_schema=prompt.schema is not None,
            reports_own_calls=self._settings.show_agent_tools,
            after=after,
            spent_usd=self._costs.total_dollars,
            before=self._turn.message_id if self._turn else None,
        )
        self._delivery.begin(listener)
        self._heartbeat.start()

    async def _put(self, prompt: Prompt) -> None:
        self._state = _State.PREPARING
        await self._preparation.open(prompt)
        await self._preparation.put(prompt)
        if self._state is _State.PREPARING:
            self._state = _State.ASKING

    def _received(self, record: wire.Record) -> list[Event]:
        turn = self._turn if self._state is _State.ASKING else None
        if isinstance(record, StreamLine):
            # Nearly all records are of this type.
            return [] if turn is None else self._receive_answer(turn, record)
        self._costs.receive(record)
        match record:
            case records.ControlResponse():
                self._controls.receive(record)
            case records.ControlRequest():
                self._answer(record)
            case records.Result() if self._state is _State.PREPARING:
                if record.is_error or record.num_turns:
                    raise wire.WireError("an answer to a turn of the history")
                self._preparation.acknowledge()
            case _ if turn is not None:
                return self._receive_answer(turn, record)
            case records.Init() | UserLine() | records.Result() if (
                self._state is _State.SUSPENDED
            ):
                self._log.warn("a claude CLI did not wait for the results of its calls")
                self._state = _State.CLOSED
                self._process.kill()
                self._lose()
        return []

    def _receive_answer(
        self, turn: NativeTurnDecoder, record: wire.Record
    ) -> list[Event]:
        if isinstance(record, records.Init) and self._prompt is not None:
            self._warn_of_servers(record)
            has_own = self.launch.spawns_children
            wrong = check_offered(record.tools, self._prompt.tools, has_own)
            if wrong is not None:
                # The question has not been sent upstream yet.
                self._process.kill()
                return [Failed(wrong)]
        if records.is_failure(record):
            turn.note_logged(last_logged_error(self._process.read_errors()))
        events = turn.receive(record)
        if self._prompt is not None and turn.take_reminder():
            self._preparation.remind(self._prompt)
        return events

    def _warn_of_servers(self, init: records.Init) -> None:
        for server in init.mcp_servers:
            if (
                server.name in self.launch.operator_servers
                and server.status != CONNECTED
            ):
                self._log.warn(
                    "the model does not have the tools of the MCP server {name}: the "
                    "claude CLI reports the server as {status}; run ccproxy doctor",
                    name=server.name,
                    status=server.status,
                )

    def _answer(self, asked: records.ControlRequest) -> None:
        message = asked.request.message
        if asked.request.server_name == CLIENT_SERVER and message is not None:
            self._tools.receive(asked, message)
        else:
            self._send(requests.refusal(asked.request_id, "ccproxy does not do this"))

    def _answer_tool(self, request_id: str, answer: Mapping[str, object]) -> None:
        self._send(requests.mcp_answer(request_id, answer))

    def _lose(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def _send(self, line: bytes) -> None:
        self._process.send(line)

    def _setup_failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, wire.WireError):
            error = SessionLost(
                f"the claude CLI sent {error}", cause=Cause.INVALID_OUTPUT
            )
        if not isinstance(error, CCProxyError):
            self._log.failure("the setup of a session failed", failure)
            error = ClaudeFailed(
                "the claude CLI could not be set up", cause=Cause.COMMAND_FAILED
            )
        self._fail(error)

    def _timed_out(self, error: TimedOut) -> None:
        self._fail(self._why(error))

    def _process_lost(self, what: str, cause: Cause) -> None:
        self._process.kill()
        self._break_off(SessionLost(what, cause=cause))

    def _break_off(self, error: CCProxyError) -> None:
        """Fail the answer and all control requests that wait for this CLI."""
        self._lose()
        self._abandon(error)
        self._fail(error)

    def _abandon(self, error: CCProxyError) -> None:
        self._controls.abandon(error)
        self._preparation.abandon(error)

    def _fail(self, error: CCProxyError) -> None:
        if self._controls.take_never_answered():
            self._context.on_start_failed(error)
        self._deliver([Failed(error)])

    def _deliver(self, events: list[Event]) -> None:
        listener = self._delivery.listener
        if listener is None:
            return
        delivered = self._delivery.filter_events(events, self._why)
        if isinstance(delivered[-1], Finished | Failed):
            self._end(delivered[-1])
        listener.receive(delivered)

    def _why(self, error: CCProxyError) -> CCProxyError:
        return error if self._turn is None else self._turn.timeout_error(error)

    def _end(self, end: Finished | Failed) -> None:
        """End the turn; suspend the session if the CLI waits for results."""
        self._delivery.leave()
        self._heartbeat.stop()
        turn = self._turn
        if turn is not None and turn.has_own_calls:
            self._has_own_calls = True
        waits = turn is not None and turn.waits_for_results and self._has_own_calls
        if isinstance(end, Finished) and self._state is _State.ASKING and waits:
            self._state = _State.SUSPENDED
            return
        self._state = _State.CLOSED
        if turn is not None and (turn.will_send_own_request or turn.waits_for_results):
            # After SIGTERM, the CLI would send another request.
            self._process.kill()
