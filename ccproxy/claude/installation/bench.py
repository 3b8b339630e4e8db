"""A CLI under examination: a worker's process in front of a scripted Messages API."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.launch import ERROR_LOG, LaunchSpec
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.stream import Event, Failed, Finished, TextDelta


class ScriptedAnswer(Enum):
    """The scripted API's answer to the next request; all others get `TEXT`.

    ===========  ==================================================================
    TEXT         one word
    CALL         a call of the tool ``tool_1``
    MAX_TOKENS   some words that end at ``max_tokens``, after a moment
    REFUSAL      some words that end with a refusal, after a moment
    EMPTY        no block, after a moment
    HELD         one word, and no end until the connection is closed
    OVERLOADED   status 529
    TOO_LONG     status 400, with the message `TOO_LONG_MESSAGE`
    SCHEMA       a call of the CLI's tool ``StructuredOutput``
    ===========  ==================================================================
    """

    TEXT = auto()
    CALL = auto()
    MAX_TOKENS = auto()
    REFUSAL = auto()
    EMPTY = auto()
    HELD = auto()
    OVERLOADED = auto()
    TOO_LONG = auto()
    SCHEMA = auto()


# The CLI replaces this message of the provider with its own text, without the numbers.
TOO_LONG_MESSAGE = "prompt is too long: 222222 tokens > 200000 maximum"
# The CLI answers a ping within 2 ms.
_PING_SECONDS = 3.0
# A beta that no provider knows. The scripted API accepts every beta.
CHECK_BETA = "ccproxy-check-2026-01-01"


class ScriptedUpstream(Protocol):
    """A Messages API on loopback that keeps the body of every request."""

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all requests so far."""

    @property
    def client_version(self) -> str | None:
        """The CLI's version, as in its last request; None: the request has none."""

    @property
    def betas(self) -> Collection[str]:
        """The betas in the header of the last request."""

    def listen(self) -> str:
        """Listen; returns the base URL."""

    def answer_next(self, answer: ScriptedAnswer) -> None:
        """Choose the answer to the next request."""

    async def close(self) -> None:
        """Stop listening."""


@frozen
class Exchange:
    """One question, the requests that it caused, and the answer.

    Attributes:
        bodies: the requests that arrived at the API.
        events: the events of the answer.
        end: the last event.
        is_ready: whether the process can be asked again.
    """

    bodies: Sequence[Mapping[str, Any]]
    events: Sequence[Event]
    end: Finished | Failed
    is_ready: bool

    @property
    def finished(self) -> Finished:
        """The end of a whole answer; raises the `CCProxyError` of a failed one."""
        if isinstance(self.end, Failed):
            raise self.end.error
        return self.end


class Bench:
    """Asks a CLI; if its process is lost, starts another process for the next question.

    Args:
        launch: how the CLI is started, with the scripted API's URL and no login.
        context: the context of its processes, without callbacks.
        upstream: the scripted API, which is listening.

    Attributes:
        launch: as given, or without the error log if the CLI does not know its option.
    """

    def __init__(
        self, launch: LaunchSpec, context: CLIContext, upstream: ScriptedUpstream
    ) -> None:
        betas = {"ANTHROPIC_BETAS": CHECK_BETA}
        self.launch = evolve(launch, environment={**launch.environment, **betas})
        self.context = context
        self.upstream = upstream
        self._worker: Worker | None = None
        self._kept: dict[str, Exchange] = {}

    async def open(self) -> InitializeAnswer:
        """Start the CLI, without the error log if the CLI does not know its option.

        Raises:
            ClaudeUnavailable: the binary is too old, or not the CLI.
            CCProxyError: the CLI does not start.
        """
        try:
            return await self._start().open()
        except ClaudeFailed as error:
            if not (self.launch.has_error_log and ERROR_LOG in error.message):
                raise
            await self.close()
            self.launch = evolve(self.launch, has_error_log=False)
            return await self._start().open()

    async def ask(
        self, body: ComposedBody, answer: ScriptedAnswer = ScriptedAnswer.TEXT
    ) -> Exchange:
        """Ask a question; returns when the process can be asked again, or is lost."""
        worker, settled = await self._ready()
        self.upstream.answer_next(answer)
        before = len(self.upstream.bodies)
        listener = _Listener()
        worker.ask(body, listener)
        end = await listener.over
        is_ready = worker.is_ready or (not worker.is_gone and await settled)
        bodies = list(self.upstream.bodies[before:])
        return Exchange(bodies, listener.events, end, is_ready)

    async def ask_once(self, key: str, body: ComposedBody) -> Exchange:
        """Ask once for each key; later calls return the first call's result."""
        if key not in self._kept:
            self._kept[key] = await self.ask(body)
        return self._kept[key]

    async def abandon(self, body: ComposedBody) -> bool:
        """Ask, and abandon the answer at its first word.

        Returns:
            Whether the process can be asked again.
        """
        worker, settled = await self._ready()
        self.upstream.answer_next(ScriptedAnswer.HELD)
        listener = _Listener()
        worker.ask(body, listener)
        await listener.begun
        worker.abandon()
        return worker.is_ready or (not worker.is_gone and await settled)

    async def answers_ping(self) -> bool:
        """Whether the process answers a control request that it does not know."""
        worker, _ = await self._ready()
        return await worker.answers(_PING_SECONDS)

    async def close(self) -> None:
        """Kill the process; returns when it is gone."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            await worker.close()

    def _start(self) -> Worker:
        self._worker = Worker(self.launch, self.context)
        return self._worker

    async def _ready(self) -> "tuple[Worker, Deferred[bool]]":
        """A ready worker, and a Deferred that tells whether it becomes ready again.

        The Deferred fires after the next question.
        """
        worker = self._worker
        if worker is None or not worker.is_ready:
            await self.close()
            worker = self._start()
            await worker.open()
        settled: Deferred[bool] = Deferred()

        def tell(is_ready: bool) -> None:
            if not settled.called:
                settled.callback(is_ready)

        worker.on_ready(lambda: tell(True))
        worker.watch(lambda: tell(False))
        return worker, settled


class _Listener:
    """Collects the events of an answer.

    Attributes:
        begun: fires at the first text, or at the end of an answer without text.
        over: fires with the last event.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.begun: Deferred[None] = Deferred()
        self.over: Deferred[Finished | Failed] = Deferred()

    def receive(self, events: Sequence[Event]) -> None:
        self.events += events
        end = events[-1]
        has_text = any(isinstance(event, TextDelta) for event in events)
        if not self.begun.called and (has_text or isinstance(end, Finished | Failed)):
            self.begun.callback(None)
        if isinstance(end, Finished | Failed):
            self.over.callback(end)
