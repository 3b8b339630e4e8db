"""The commands of a worker to its CLI; the CLI acknowledges each command.

A command is done when the CLI has acknowledged it. It fails with `ClaudeFailed` if the
CLI refuses it, and with `WorkerLost` if the CLI does not answer in time, or reports
that it has not done what the command asks for.

`RequestGuard` keeps a CLI from sending requests of its own once an answer has begun. It
sets a limit in the CLI:

=======  =====================================================================
OPEN     the CLI can send requests; the timer for the limit may run
CLOSING  the limit is written
CLOSED   the limit is acknowledged: the turn has no further request
=======  =====================================================================

A retry of the current request is sent in any state.

The limit takes the CLI 10 ms of processor time, so an answer that ends before the timer
has no limit. If the CLI would send a request of its own after such an answer, its
process is killed instead, and a new process has to start. On a loaded machine, one
further request may be sent before the signal arrives; its answer is dropped.

Source: docs/claude-cli-protocol.md, "Body mode", "One question" and "Sizes and times";
and "Requests of its own": the limit, written 10 ms before the end of the answer or
earlier, was in time in 108 of 108 runs.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.binary import check_version, too_old
from ccproxy.claude.protocol import codec, records, requests
from ccproxy.claude.protocol.control import ControlChannel, LineWriter, in_pieces
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed

# A CLI carries out a command in 15 ms, plus 1 s for each 20 MB of a body. A loaded
# machine takes several times as long. After this time, a new process is faster.
_TIMEOUT_SECONDS = 3.0
BYTES_A_SECOND = 4_000_000
# Shorter bodies are written in one piece, in some milliseconds.
_WHOLE_BYTES = 2**18
# The CLI refuses this question without a request; older versions ignore shorter texts.
_WARM_UP = "This is not to be asked of anybody."

# The time limit of a count. If the provider refuses to count, the CLI asks again for a
# while.
_COUNT_SECONDS = 15.0

_T = TypeVar("_T")
# A function that makes a command from a text, and the text.
_TextCommand: TypeAlias = tuple[Callable[[str], Mapping[str, object]], bytes]
# Every answer of the provider takes longer, even an answer of a few words.
_SHORT_SECONDS = 0.05


class WorkerLost(ClaudeFailed):
    """The process failed, not the request: another process may get the request."""


def error_of_command(error: BaseException | None) -> CCProxyError:
    """The error of a worker whose command failed."""
    if isinstance(error, codec.WireError):
        return WorkerLost(f"the claude CLI sent {error}", cause=Cause.INVALID_OUTPUT)
    if type(error) is ClaudeFailed:
        return WorkerLost(error.message, cause=error.cause)
    if isinstance(error, CCProxyError):
        return error
    return WorkerLost("a command to the claude CLI failed", cause=Cause.COMMAND_FAILED)


def _guess(text: str) -> int:
    """The CLI's own guess of a text's tokens: a third of the UTF-16 code units."""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    return (2 * units + 3) // 6


class Commands:
    """Sends commands to one CLI.

    Attributes:
        system: the system prompt of the CLI; None: the CLI never had one.
        has_body: whether the CLI may still have the body of a question.

    Args:
        controls: sends control requests to the CLI.
        writer: writes lines to the CLI.
        clock: for time limits.
        cache_ttl: lifetime of cached prompts if the question does not set it; None:
            the CLI's default.
    """

    def __init__(
        self,
        controls: ControlChannel,
        writer: LineWriter,
        clock: IReactorTime,
        cache_ttl: str | None,
    ) -> None:
        self._controls = controls
        self._writer = writer
        self._clock = clock
        self._cache_ttl = cache_ttl
        self.system: str | None = None
        self.has_body = False
        # Id of the question in the CLI's conversation; empty: there is no question.
        self._uuid = ""

    async def initialize(self, seconds: float) -> records.InitializeAnswer:
        """Initialize the CLI without a system prompt.

        Many versions do not report their number. A version that is too old accepts an
        empty system prompt, which all other versions refuse.

        Raises:
            ClaudeUnavailable: the CLI is too old.
            ClaudeFailed: the CLI refuses.
            WorkerLost: the CLI takes longer than ``seconds``.
        """
        reply = await self._within(self._controls.ask(requests.initialize("")), seconds)
        answer = codec.decode_initialize(reply.response.response)
        if answer.claude_code_version is not None:
            check_version(answer.claude_code_version)
        empty = self._controls.ask(requests.set_system_prompt(""))
        try:
            await self._within(empty, seconds)
        except WorkerLost:
            raise
        except ClaudeFailed:
            return answer
        raise too_old("")

    async def prepare(self, body: ComposedBody) -> None:
        """Set system prompt, model and body of a question."""
        self.has_body = True
        settings = partial(
            requests.body_settings,
            model=body.model,
            effort=body.effort,
            cache_ttl=body.cache_ttl or self._cache_ttl,
        )
        commands = self._set_system(body.system)
        commands.append((lambda text: settings(body=text), body.json))
        await self._send_texts(commands)

    async def count(self, text: str, model: str) -> int | None:
        """Let the provider count the tokens of a text, as one message of the user.

        If the provider does not count, the CLI answers with a guess of its own, which
        is not used.

        Returns:
            The number of tokens; None: the provider did not count.
        """
        self.has_body = False
        commands = self._set_system(text)
        commands.append((lambda _: requests.count_settings(model), b""))
        await self._send_texts(commands)
        seconds = _COUNT_SECONDS + len(text) / BYTES_A_SECOND
        asked = self._controls.ask(requests.context_usage())
        try:
            reply = await self._within(asked, seconds)
        except ClaudeFailed as error:
            if error.cause is not Cause.COMMAND_REFUSED:
                raise
            return None
        tokens = codec.decode_context_usage(reply.response.response).system_tokens
        return None if tokens == _guess(text) else tokens

    def _set_system(self, system: str) -> "list[_TextCommand]":
        """The command that sets a system prompt, if there is one to set."""
        if not system or system == self.system:
            return []
        self.system = system
        return [(requests.set_system_prompt, system.encode())]

    async def _send_texts(self, commands: "Sequence[_TextCommand]") -> None:
        """Send commands with long texts; returns when all are acknowledged."""
        size_bytes = sum(len(text) for _, text in commands)
        if size_bytes <= _WHOLE_BYTES:
            await self._send_all([of(text.decode()) for of, text in commands])
            return
        waiters: list[Deferred[records.ControlResponse]] = []
        for request_of, text in commands:
            pieces, waiter = self._controls.ask_in_pieces(request_of, text)
            waiters.append(waiter)
            await self._writer.send_pieces(pieces)
        await self._done(waiters, _TIMEOUT_SECONDS + size_bytes / BYTES_A_SECOND)

    async def prepare_warm_up(self, model: str) -> None:
        """Make the CLI refuse the next question by itself, without a request."""
        self.has_body = True
        settings = requests.body_settings(model=model, effort=None, body="{}")
        await self._send_all((settings, requests.limit_to_one_request()))

    async def ask(self, text: str = _WARM_UP) -> None:
        """Write the question; returns when it is written."""
        self._uuid = uuid = str(uuid4())
        if len(text) <= _WHOLE_BYTES:
            self._writer.send(requests.question(text, uuid))
            return
        pieces = in_pieces(lambda text: requests.question(text, uuid), text.encode())
        await self._writer.send_pieces(pieces)

    async def interrupt(self) -> None:
        """Interrupt the current turn; its ``result`` follows."""
        reply = await self._controls.ask(requests.interrupt())
        if codec.decode_interrupted(reply.response.response).still_queued:
            raise WorkerLost(
                "the claude CLI still has the interrupted question in its queue",
                cause=Cause.TURN_DOES_NOT_END,
            )

    async def rewind(self) -> None:
        """Remove the question from the CLI's conversation, after the turn."""
        uuid, self._uuid = self._uuid, ""
        reply = await self._controls.ask(requests.rewind_conversation(uuid, uuid))
        answer = codec.decode_rewound(reply.response.response)
        if not answer.rewound or answer.preceding_uuid is not None:
            raise WorkerLost(
                f"the claude CLI keeps a question: {answer.reason}",
                cause=Cause.COMMAND_REFUSED,
            )

    @property
    def has_question(self) -> bool:
        """Whether the CLI's conversation has a question."""
        return bool(self._uuid)

    async def forget(self) -> None:
        """Remove the body of the last question."""
        self.has_body = False
        await self._send_all((requests.without_body(),))

    async def _send_all(self, commands: Sequence[Mapping[str, object]]) -> None:
        """Send commands in one write; returns when all are acknowledged."""
        await self._done(self._controls.ask_all(commands), _TIMEOUT_SECONDS)

    async def _done(
        self, waiters: "Sequence[Deferred[records.ControlResponse]]", seconds: float
    ) -> None:
        if len(waiters) == 1:
            # Nearly every question has one command.
            await self._within(waiters[0], seconds)
            return
        limited = [Deferred.fromCoroutine(self._within(w, seconds)) for w in waiters]
        try:
            await gatherResults(limited, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    async def _within(self, waiter: "Deferred[_T]", seconds: float) -> _T:
        waiter.addTimeout(seconds, self._clock)
        try:
            return await waiter
        except DeferredTimeoutError:
            raise WorkerLost(
                "the claude CLI does not acknowledge a command in time",
                cause=Cause.NO_REPLY,
            ) from None


class Initialization:
    """The initialization of one CLI, for which several callers can wait.

    Attributes:
        answer: the CLI's answer; None: the CLI is not initialized yet.

    Args:
        initialize: initializes the CLI.
        opened: called after the initialization, before the callers of `wait` continue.
        failed: called if the initialization fails; has to call `fail`.
    """

    def __init__(
        self,
        initialize: Callable[[], Coroutine[Any, Any, InitializeAnswer]],
        opened: Callable[[], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._initialize = initialize
        self._tell_opened = opened
        self._tell_failed = failed
        self._has_begun = False
        self._waiters: list[Deferred[InitializeAnswer]] = []
        self._error: Exception | None = None
        self.answer: InitializeAnswer | None = None

    async def wait(self) -> InitializeAnswer:
        """Wait for the initialization; the first call starts it.

        Raises:
            CCProxyError: the initialization failed.
        """
        if self.answer is not None:
            return self.answer
        if self._error is not None:
            raise self._error
        waiter: Deferred[InitializeAnswer] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if not self._has_begun:
            self._has_begun = True
            done = Deferred.fromCoroutine(self._initialize())
            done.addCallbacks(self._opened, self._tell_failed)
        return await waiter

    def fail(self, error: Exception) -> None:
        """Make all calls of `wait` fail, later calls too."""
        self._error = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(error)

    def _opened(self, answer: InitializeAnswer) -> None:
        self.answer = answer
        self._tell_opened()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(answer)


class _State(Enum):
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class RequestGuard:
    """Limits one CLI to one request for each turn.

    Args:
        controls: sends control requests to the CLI.
        clock: for the timer.
        failed: called if the CLI does not accept the limit.
    """

    def __init__(
        self,
        controls: ControlChannel,
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        self._controls = controls
        self._clock = clock
        self._failed = failed
        self._state = _State.OPEN
        self._timer: IDelayedCall | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the CLI cannot send a request of its own."""
        return self._state is _State.CLOSED

    def answer_begun(self, *, is_short: bool) -> None:
        """Set the limit: at once for a short answer, otherwise after a moment."""
        if self._state is not _State.OPEN or self._timer is not None:
            return
        if is_short:
            self._close()
        else:
            self._timer = self._clock.callLater(_SHORT_SECONDS, self._close)

    def stop(self) -> None:
        """Cancel the timer: the answer is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self, *, is_closed: bool = False) -> None:
        """Note that the settings of the next question have removed the limit.

        Args:
            is_closed: whether these settings have set the limit again, and the CLI has
                acknowledged them.
        """
        self.stop()
        self._state = _State.CLOSED if is_closed else _State.OPEN

    def _close(self) -> None:
        self._timer = None
        self._state = _State.CLOSING
        asked = self._controls.ask(requests.limit_to_one_request())
        asked.addCallbacks(self._closed, self._failed)

    def _closed(self, _: object) -> None:
        if self._state is _State.CLOSING:
            self._state = _State.CLOSED
