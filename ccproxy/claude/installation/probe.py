"""Lets a CLI send two test questions, and checks what arrives at a scripted API.

One process sends both, because the second request must contain nothing of the first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.installation.conformance import ProbeResult
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.errors import Cause, ClaudeFailed
from ccproxy.core.stream import Event, Failed, Finished

# An examination takes 0.7 s.
_TIMEOUT_SECONDS = 20.0


class ScriptedUpstream(Protocol):
    """A Messages API on loopback that answers every request and keeps the body."""

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all requests so far."""

    def listen(self) -> str:
        """Listen; returns the base URL."""

    async def close(self) -> None:
        """Stop listening."""


def _question(number: int, model: str) -> ComposedBody:
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": f"first {number}"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "second"}]},
            {"role": "user", "content": [{"type": "text", "text": f"third {number}"}]},
        ],
        "tools": [
            {
                "name": f"tool_{number}",
                "description": "Is never called.",
                "input_schema": {"anyOf": [{"type": "object"}]},
            }
        ],
        "tool_choice": {"type": "none"},
        "max_tokens": 1000 + number,
        "stop_sequences": [f"stop {number}"],
        "thinking": {"type": "disabled"},
    }
    return ComposedBody(
        model=model,
        system=f"This is question {number} of a check of the CLI.",
        effort=None,
        first_text=f"first {number}",
        json=msgspec.json.encode(body),
    )


QUESTIONS = (_question(1, "claude-opus-4-6"), _question(2, "claude-sonnet-4-5"))


def difference(bodies: Sequence[Mapping[str, Any]]) -> str:
    """The difference between `QUESTIONS` and received bodies, one clause; empty: none.

    Args:
        bodies: the bodies that the scripted API has received.
    """
    if len(bodies) != len(QUESTIONS):
        return f"{len(QUESTIONS)} questions became {len(bodies)} requests"
    for question, body in zip(QUESTIONS, bodies, strict=True):
        if body.get("model") != question.model:
            return "the model differs"
        wanted = msgspec.json.decode(question.json)
        for name, value in wanted.items():
            if body.get(name) != value:
                return f"`{name}` differs"
        system = body.get("system")
        texts = _texts(system if isinstance(system, list) else [])
        # The CLI puts its own blocks before the question's system prompt.
        if not texts or texts[-1] != question.system:
            return "the system prompt differs"
        if any(other.system in text for other in QUESTIONS for text in texts[:-1]):
            return "a system prompt arrives twice"
    return ""


def _texts(blocks: Sequence[Any]) -> Sequence[str]:
    return [str(b.get("text", "")) if isinstance(b, dict) else "" for b in blocks]


class CLIProber:
    """Examines a CLI in a separate process; implements `Prober`.

    Args:
        context: the context of the process, without callbacks.
        upstream: makes the scripted API.
        isolated: maps a launch and a base URL to a launch with that URL, with a dummy
            key and without the user's login.
        sends_questions: whether the questions are sent; if not, only the version is
            checked.
    """

    def __init__(
        self,
        context: CLIContext,
        upstream: Callable[[], ScriptedUpstream],
        isolated: Callable[[LaunchSpec, str], LaunchSpec],
        *,
        sends_questions: bool,
    ) -> None:
        self._context = context
        self._upstream = upstream
        self._isolated = isolated
        self._asks = sends_questions

    async def probe(self, launch: LaunchSpec) -> ProbeResult:
        """Start a CLI and send the questions; see `Prober`."""
        probed = Deferred.fromCoroutine(self._probe(launch))
        probed.addTimeout(_TIMEOUT_SECONDS, self._context.clock)
        try:
            return await probed
        except DeferredTimeoutError:
            raise ClaudeFailed(
                f"it did not answer two questions within {_TIMEOUT_SECONDS:g} s",
                cause=Cause.NO_REPLY,
            ) from None

    async def _probe(self, launch: LaunchSpec) -> ProbeResult:
        upstream = self._upstream()
        url = upstream.listen()
        try:
            worker = Worker(self._isolated(launch, url), self._context)
            try:
                answer = await worker.open()
                for question in QUESTIONS if self._asks else ():
                    await _ask(worker, question)
            finally:
                worker.kill()
                await worker.close()
            why = difference(upstream.bodies) if self._asks else ""
            return ProbeResult(answer.claude_code_version, why)
        finally:
            await upstream.close()


async def _ask(worker: Worker, question: ComposedBody) -> None:
    """Send a question, and wait until the worker is ready again.

    Raises:
        CCProxyError: the answer failed.
    """
    listener = _Listener()
    ready: Deferred[None] = Deferred()

    def settled() -> None:
        if not ready.called:
            ready.callback(None)

    worker.on_ready(settled)
    worker.ask(question, listener)
    end = await listener.over
    if isinstance(end, Failed):
        raise end.error
    if not worker.is_ready:
        worker.watch(
            lambda: ready.errback(
                ClaudeFailed("it did not settle", cause=Cause.TURN_DOES_NOT_END)
            )
        )
        await ready


class _Listener:
    """Waits for the end of an answer."""

    def __init__(self) -> None:
        self.over: Deferred[Finished | Failed] = Deferred()

    def receive(self, events: Sequence[Event]) -> None:
        end = events[-1]
        if isinstance(end, Finished | Failed):
            self.over.callback(end)
