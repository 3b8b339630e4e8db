"""What a worker tells its CLI, and makes sure of.

Every command is done when the CLI has acknowledged it, and fails with `WorkerLost`
where it refuses, did something else, or takes too long.

Source: docs/claude-cli-protocol.md, "The body set whole", "One question" and
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
from ccproxy.core.errors import CCProxyError, ClaudeFailed

# A CLI that lives does what it is told in 15 ms, and in 1 s more for each 20 MB of a
# body; a loaded machine takes some times that. After it, a new process is faster.
_SOON_SECONDS = 3.0
_BYTES_A_SECOND = 4_000_000
# What is written at once; it takes some milliseconds.
_WHOLE_BYTES = 2**18
# Answered by the CLI itself; older ones take a short one for none.
_WARM_UP = "This is not to be asked of anybody."

_T = TypeVar("_T")


class WorkerLost(ClaudeFailed):
    """The process is at fault, not the question: another one may be asked."""


class Commands:
    """What one CLI is told.

    Attributes:
        system: the system prompt that it has; None: it never had one.
        has_body: whether it may still have the body of a question.

    Args:
        controls: its control requests.
        writer: writes lines to it.
        cache_ttl: how long prompts are cached whose question names no time; None: as
            long as the CLI has it.
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
        # Of the question that the CLI's conversation has; empty for none.
        self._uuid = ""

    async def initialize(self, seconds: float) -> records.InitializeAnswer:
        """Say that there is no system prompt, and learn what the CLI is.

        Many do not tell their version. Those that are too old are known by what they
        take for a system prompt: an empty one, which all others refuse.

        Raises:
            ClaudeUnavailable: it is too old.
            WorkerLost: it refuses, or takes longer than ``seconds``.
        """
        told = await self._within(self._controls.ask(requests.initialize("")), seconds)
        answer = codec.decode_initialize(told.response.response)
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
        """Set all that a question depends on."""
        self.has_body = True
        settings = partial(
            requests.body_settings,
            model=body.model,
            effort=body.effort,
            cache_ttl=body.cache_ttl or self._cache_ttl,
        )
        told: list[tuple[Callable[[str], Mapping[str, object]], bytes]] = []
        if body.system and body.system != self.system:
            told.append((requests.set_system_prompt, body.system.encode()))
            self.system = body.system
        told.append((lambda text: settings(body=text), body.json))
        size_bytes = sum(len(text) for _, text in told)
        if size_bytes <= _WHOLE_BYTES:
            await self._tell([of(text.decode()) for of, text in told])
            return
        waiters: list[Deferred[records.ControlResponse]] = []
        for request_of, text in told:
            pieces, waiter = self._controls.ask_in_pieces(request_of, text)
            waiters.append(waiter)
            await self._writer.send_pieces(pieces)
        await self._done(waiters, _SOON_SECONDS + size_bytes / _BYTES_A_SECOND)

    async def prepare_warm_up(self, model: str) -> None:
        """Set that the next question is answered by the CLI itself."""
        self.has_body = True
        settings = requests.body_settings(model=model, effort=None, body="{}")
        await self._tell((settings, requests.limit_to_one_request()))

    async def ask(self, text: str = _WARM_UP) -> None:
        """Ask; done when it is written."""
        self._uuid = uuid = str(uuid4())
        if len(text) <= _WHOLE_BYTES:
            self._writer.send(requests.question(text, uuid))
            return
        pieces = in_pieces(lambda text: requests.question(text, uuid), text.encode())
        await self._writer.send_pieces(pieces)

    async def interrupt(self) -> None:
        """Break off what the CLI is at; its ``result`` then says so."""
        told = await self._controls.ask(requests.interrupt())
        if codec.decode_interrupted(told.response.response).still_queued:
            raise WorkerLost("the claude CLI asks what it was to break off")

    async def rewind(self) -> None:
        """Take the question back, when its turn is over."""
        uuid, self._uuid = self._uuid, ""
        told = await self._controls.ask(requests.rewind_conversation(uuid, uuid))
        answer = codec.decode_rewound(told.response.response)
        if not answer.rewound or answer.preceding_uuid is not None:
            raise WorkerLost(f"the claude CLI keeps a question: {answer.reason}")

    @property
    def has_question(self) -> bool:
        """Whether the CLI has a question that was not taken back."""
        return bool(self._uuid)

    async def forget(self) -> None:
        """Have the CLI forget the body of its last question."""
        self.has_body = False
        await self._tell((requests.without_body(),))

    async def answers(self) -> bool:
        """Whether the CLI answers soon; what it says is no matter."""
        probe = self._controls.probe()
        probe.addTimeout(_SOON_SECONDS, self._clock)
        try:
            await probe
        except (DeferredTimeoutError, CCProxyError):
            return False
        return True

    async def _tell(self, told: Sequence[Mapping[str, object]]) -> None:
        """Tell the CLI things in one write; done when it has done them all."""
        await self._done(self._controls.ask_all(told), _SOON_SECONDS)

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
            raise WorkerLost("the claude CLI does not do what it is told") from None
