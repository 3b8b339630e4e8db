"""The commands of a worker to its CLI, each of which is acknowledged.

A command is done when the CLI has acknowledged it. It fails with `WorkerLost` if the
CLI refuses it, does something else, or takes too long.

Source: docs/claude-cli-protocol.md, "Body mode", "One question" and
"Sizes and times".
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.launch import check_version, too_old
from ccproxy.claude.protocol import codec, records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.protocol.writer import LineWriter, in_pieces
from ccproxy.core.errors import Cause, ClaudeFailed

# A CLI carries out a command in 15 ms, and 1 s more for each 20 MB of a body; on a
# loaded machine some times that. After this time a new process is faster.
_SOON_SECONDS = 3.0
BYTES_A_SECOND = 4_000_000
# Written in one piece, which takes some milliseconds.
_WHOLE_BYTES = 2**18
# Answered by the CLI itself; older versions ignore a shorter text.
_WARM_UP = "This is not to be asked of anybody."

_T = TypeVar("_T")


class WorkerLost(ClaudeFailed):
    """The process failed, not the question: another process may be asked."""


class Commands:
    """Sends commands to one CLI.

    Attributes:
        system: the system prompt of the CLI; None: it never had one.
        has_body: whether the CLI may still hold the body of a question.

    Args:
        controls: control requests to the CLI.
        writer: writes lines to the CLI.
        clock: for time limits.
        cache_ttl: lifetime of cached prompts if the question names none; None: the
            CLI's default.
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
        # Id of the question in the CLI's conversation; empty: none.
        self._uuid = ""

    async def initialize(self, seconds: float) -> records.InitializeAnswer:
        """Initialize the CLI without a system prompt.

        Many versions do not report themselves. A version that is too old accepts an
        empty system prompt, which all others refuse.

        Raises:
            ClaudeUnavailable: the CLI is too old.
            WorkerLost: the CLI refuses, or takes longer than ``seconds``.
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
        commands: list[tuple[Callable[[str], Mapping[str, object]], bytes]] = []
        if body.system and body.system != self.system:
            commands.append((requests.set_system_prompt, body.system.encode()))
            self.system = body.system
        commands.append((lambda text: settings(body=text), body.json))
        size_bytes = sum(len(text) for _, text in commands)
        if size_bytes <= _WHOLE_BYTES:
            await self._send_all([of(text.decode()) for of, text in commands])
            return
        waiters: list[Deferred[records.ControlResponse]] = []
        for request_of, text in commands:
            pieces, waiter = self._controls.ask_in_pieces(request_of, text)
            waiters.append(waiter)
            await self._writer.send_pieces(pieces)
        await self._done(waiters, _SOON_SECONDS + size_bytes / BYTES_A_SECOND)

    async def prepare_warm_up(self, model: str) -> None:
        """Make the CLI answer the next question by itself."""
        self.has_body = True
        settings = requests.body_settings(model=model, effort=None, body="{}")
        await self._send_all((settings, requests.limit_to_one_request()))

    async def ask(self, text: str = _WARM_UP) -> None:
        """Write the question; done when it is written."""
        self._uuid = uuid = str(uuid4())
        if len(text) <= _WHOLE_BYTES:
            self._writer.send(requests.question(text, uuid))
            return
        pieces = in_pieces(lambda text: requests.question(text, uuid), text.encode())
        await self._writer.send_pieces(pieces)

    async def interrupt(self) -> None:
        """Break off the current turn; its ``result`` follows."""
        reply = await self._controls.ask(requests.interrupt())
        if codec.decode_interrupted(reply.response.response).still_queued:
            raise WorkerLost(
                "the claude CLI still sends what it had to break off",
                cause=Cause.TURN_DOES_NOT_END,
            )

    async def rewind(self) -> None:
        """Remove the question from the conversation, after its turn."""
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
        """Send commands in one write; done when all are acknowledged."""
        await self._done(self._controls.ask_all(commands), _SOON_SECONDS)

    async def _done(
        self, waiters: "Sequence[Deferred[records.ControlResponse]]", seconds: float
    ) -> None:
        if len(waiters) == 1:
            # As for nearly every question.
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
