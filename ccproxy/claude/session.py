"""One live CLI and the turn it is at.

=============  ============================================================
NEW            started; nothing said. A spare stays here
OPENING        ``initialize`` is sent: the system prompt is fixed
OPEN           initialized, no turn under way
REPLAYING      a user's turn of the history waits to be acknowledged
ASKING         the question is sent, the answer comes
SUSPENDED      the answer was calls; the CLI waits for their results
CLOSED         the process is being stopped or gone
=============  ============================================================

The history is written turn by turn: an assistant's turn that came before the
acknowledgement of the user's would land in front of it.

Source: protocol notes, "Input".
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Protocol
from uuid import uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude import demand, records, wire
from ccproxy.claude.controls import Controls
from ccproxy.claude.deadlines import Deadlines
from ccproxy.claude.launch import Launch, check_version
from ccproxy.claude.process import ClaudeProcess, Exit
from ccproxy.claude.structured import AnswerForm, understood
from ccproxy.claude.surroundings import Surroundings
from ccproxy.claude.tools import SERVER, ToolServer
from ccproxy.claude.turn import Turn
from ccproxy.conversation import Message, Prompt, Role, ToolResultBlock
from ccproxy.errors import CCProxyError, ClaudeFailed, RateLimited, TimedOut
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    RedactedThinking,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Waiting,
)

_TOKENS = TextDelta | ThinkingDelta | RedactedThinking | ToolCallStarted | ToolCallDelta


class Listener(Protocol):
    """Who is told the answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take what arrived together, at least one event, in order.

        The last event of all is the only ``Finished`` or ``Failed``.
        """


class _State(Enum):
    NEW = auto()
    OPENING = auto()
    OPEN = auto()
    REPLAYING = auto()
    ASKING = auto()
    SUSPENDED = auto()
    CLOSED = auto()


class Session:
    """A CLI process, spoken to.

    Raises:
        CCProxyError: the process cannot be started.
    """

    _log = Logger()

    def __init__(self, launch: Launch, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._state = _State.NEW
        self._controls = Controls(self._send)
        self._unsent: deque[Message] = deque()
        self._model = launch.model
        self._prompt: Prompt | None = None
        self._tools = ToolServer(self._answer_tool)
        self._turn: Turn | None = None
        self._lost: Callable[[], None] | None = None
        self._listener: Listener | None = None
        self._deadlines = Deadlines(
            surroundings.limits, surroundings.clock, self._timed_out
        )
        self._process = ClaudeProcess.spawn(
            launch, uuid4().hex, self, surroundings.spawner, surroundings.clock
        )

    def open(
        self, prompt: Prompt | None = None
    ) -> "Deferred[records.InitializeAnswer]":
        """Initialize a new CLI with what a prompt says beside its turns, for good.

        Fires with what it says of itself. Fails with `CCProxyError`: it is too
        old, died, or speaks another language. On cancel: nothing is undone,
        close the session.
        """
        self._state = _State.OPENING
        request = wire.initialize("")
        if prompt is not None:
            self._tools.offer(prompt.tools)
            system = demand.system_prompt(prompt, native=self._forces_calls)
            schema = None if prompt.schema is None else understood(prompt.schema)
            request = wire.initialize(system, prompt.tools, schema)
        return self._controls.ask(request).addCallback(self._initialized)

    def ask(self, prompt: Prompt, listener: Listener) -> None:
        """Put a question; the listener is told everything, failures included.

        Only for a session that is new, or open with the same system prompt.
        """
        self._listener = listener
        self._turn = self._new_turn(prompt)
        self._deadlines.start()
        opened = succeed(None) if self._state is _State.OPEN else self.open(prompt)
        opened.addCallback(lambda _: self._configure(prompt))
        opened.addCallback(lambda _: self._begin(prompt))
        opened.addErrback(self._setup_failed)

    @property
    def is_suspended(self) -> bool:
        """Whether the CLI waits for results."""
        return self._state is _State.SUSPENDED

    def keep(self, lost: Callable[[], None]) -> None:
        """Keep a suspended session, and say if it cannot go on any more.

        Args:
            lost: called once, when the CLI is gone or has gone on by itself.
        """
        self._lost = lost

    def go_on(
        self, prompt: Prompt, results: Sequence[ToolResultBlock], listener: Listener
    ) -> None:
        """Give a suspended session what it waits for; the listener hears the rest.

        Args:
            prompt: the whole request, equal to the last but for its turns.
            results: one for each call, under the model's ids.
            listener: told everything, failures included.
        """
        self._lost = None
        self._listener = listener
        self._prompt = prompt
        after = None if self._turn is None else self._turn.message_id
        self._turn = self._new_turn(prompt, after)
        self._state = _State.ASKING
        self._deadlines.start()
        self._tools.give(results)

    def pause(self) -> None:
        """Stop reading from the CLI until `resume`."""
        self._process.pause()
        self._deadlines.pause()

    def resume(self) -> None:
        """Read on."""
        self._process.resume()
        self._deadlines.resume()

    def close(self) -> "Deferred[None]":
        """Stop the CLI; the listener hears nothing more. Fires when it is gone."""
        self._deadlines.stop()
        self._listener = self._lost = None
        if self._state is _State.SUSPENDED:
            # A gentle end would make it give up the calls, and ask the model again.
            self._process.kill()
        self._state = _State.CLOSED
        self._controls.abandon(ClaudeFailed("the session was closed"))
        return self._process.terminate()

    def lines_received(self, lines: list[bytes]) -> None:
        """Take lines of the CLI's; called by the process."""
        events: list[Event] = []
        try:
            for line in lines:
                record = wire.decode(line)
                if record is not None:
                    events += self._received(record)
                if events and isinstance(events[-1], Finished | Failed):
                    # What comes behind it finds us in another state.
                    self._tell(events)
                    events = []
        except wire.WireError as error:
            if events:
                self._tell(events)
            self.garbage_received(error)
        else:
            if events:
                self._tell(events)

    def garbage_received(self, error: wire.WireError) -> None:
        """Give up a CLI that cannot be understood; called by the process."""
        self._break_off(ClaudeFailed(f"the claude CLI wrote {error}"))

    def process_ended(self, end: Exit) -> None:
        """Learn that the CLI is gone; called by the process."""
        was_closed = self._state is _State.CLOSED
        self._state = _State.CLOSED
        if not was_closed:
            self._log.warn("the claude CLI ended unexpectedly: {end}", end=str(end))
            self._lose()
            self._break_off(ClaudeFailed(f"the claude CLI ended unexpectedly ({end})"))

    def _received(self, record: records.Record) -> list[Event]:
        match record:
            case records.ControlResponse():
                self._controls.receive(record)
            case records.ControlRequest():
                self._answer(record)
            case records.Result() if self._state is _State.REPLAYING:
                if record.is_error or record.num_turns:
                    raise wire.WireError("an answer to a turn of the history")
                self._replay()
            case _ if self._state is _State.ASKING and self._turn is not None:
                return self._asked(self._turn, record)
            case records.Init() | records.UserMessage() | records.Result() if (
                self._state is _State.SUSPENDED
            ):
                self._log.warn("a claude CLI did not wait for the results of its calls")
                self._lose()
        return []

    def _asked(self, turn: Turn, record: records.Record) -> list[Event]:
        events = turn.receive(record)
        if self._prompt is not None and turn.take_question():
            message = demand.reminder(self._prompt)
            self._send(wire.turn(message, str(uuid4()), model=self._model, ask=True))
        return events

    def _answer(self, asked: records.ControlRequest) -> None:
        message = asked.request.message
        if asked.request.server_name == SERVER and message is not None:
            self._tools.receive(asked, message)
        else:
            reason = "ccproxy does not do this"
            self._send(wire.refusal(asked.request_id, reason))

    def _answer_tool(self, request_id: str, answer: Mapping[str, object]) -> None:
        self._send(wire.mcp_answer(request_id, answer))

    def _lose(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    @property
    def _forces_calls(self) -> bool:
        return self._surroundings.forces_calls

    def _new_turn(self, prompt: Prompt, after: str | None = None) -> Turn:
        return Turn(
            self._surroundings.wall_seconds(),
            frozenset(tool.name for tool in prompt.tools),
            must_call=prompt.must_call and not self._forces_calls,
            form=None if prompt.schema is None else AnswerForm(prompt.schema),
            tells_own_calls=self._surroundings.tells_own_calls,
            after=after,
        )

    def _send(self, line: bytes) -> None:
        self._process.send(line)

    def _initialized(self, record: records.ControlResponse) -> records.InitializeAnswer:
        answer = wire.decode_initialize(record.response.response)
        if answer.claude_code_version is not None:
            check_version(answer.claude_code_version)
        self._surroundings.learned(answer)
        if self._state is _State.OPENING:
            self._state = _State.OPEN
        return answer

    def _configure(self, prompt: Prompt) -> None:
        body: dict[str, object] = dict(prompt.sampling)
        if prompt.stop:
            body["stop_sequences"] = list(prompt.stop)
        choice = demand.tool_choice(prompt, native=self._forces_calls)
        if choice is not None:
            body["tool_choice"] = choice
        configured = self._controls.ask(
            wire.apply_flag_settings(
                model=prompt.model,
                effort=prompt.effort.value if prompt.effort else None,
                max_tokens=prompt.max_tokens,
                extra_body=body,
            )
        )
        # The CLI works its input off in order, so the question need not wait.
        configured.addErrback(self._setup_failed)

    def _begin(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._model = self._surroundings.full_id(prompt.model)
        self._unsent.extend(prompt.messages)
        self._replay()

    def _replay(self) -> None:
        """Write turns, up to one that has to be acknowledged or answered."""
        while self._unsent:
            message = self._unsent.popleft()
            ask = not self._unsent
            self._send(wire.turn(message, str(uuid4()), model=self._model, ask=ask))
            if message.role is Role.USER:
                self._state = _State.ASKING if ask else _State.REPLAYING
                return

    def _setup_failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, wire.WireError):
            error = ClaudeFailed(f"the claude CLI sent {error}")
        if not isinstance(error, CCProxyError):
            self._log.failure("while a session was set up", failure)
            error = ClaudeFailed("the claude CLI could not be set up")
        self._fail(error)

    def _timed_out(self, error: TimedOut) -> None:
        self._fail(error if self._turn is None else self._turn.timed_out(error))

    def _break_off(self, error: CCProxyError) -> None:
        """Tell everyone who waits for this CLI, whatever for."""
        self._controls.abandon(error)
        self._fail(error)

    def _fail(self, error: CCProxyError) -> None:
        self._tell([Failed(error)])

    def _tell(self, events: list[Event]) -> None:
        if self._listener is None:
            return
        # A timer is set anew for each batch, not for each of its tokens.
        if any(isinstance(event, _TOKENS) for event in events):
            self._deadlines.token()
        for position, event in enumerate(events):
            match event:
                case Waiting() if not self._deadlines.can_wait(event.delay_seconds):
                    error = RateLimited(
                        "the model's provider asks to wait for longer than this "
                        "request may take",
                        retry_after_seconds=event.delay_seconds,
                    )
                    turn = self._turn
                    refused = error if turn is None else turn.timed_out(error)
                    events = [*events[:position], Failed(refused)]
                    break
                case Waiting():
                    self._deadlines.waiting()
                case Finished() | Failed():
                    events = events[: position + 1]
                    break
        listener = self._listener
        if isinstance(events[-1], Finished | Failed):
            self._deadlines.stop()
            self._listener = None
            if self._turn is not None and self._turn.goes_on:
                self._state = _State.CLOSED
                self._process.kill()
            elif isinstance(events[-1], Failed):
                # Who knows what the CLI is still at.
                self._state = _State.CLOSED
            elif self._turn is not None and self._turn.waits:
                self._state = _State.SUSPENDED
            elif self._state is not _State.CLOSED:
                self._state = _State.OPEN
        listener.receive(events)
