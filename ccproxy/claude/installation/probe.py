"""Two questions to a CLI in front of a scripted API, and what has to arrive there.

The second one is put to the same process: it must bring nothing of the first one.
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
from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.stream import Event, Failed, Finished

# It takes 0.7 s; who needs so long has other troubles.
_PATIENCE_SECONDS = 20.0


class ScriptedUpstream(Protocol):
    """A Messages API on loopback that answers anything, and keeps what it is sent."""

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all questions so far."""

    def listen(self) -> str:
        """Open it; the URL to reach it by."""

    async def close(self) -> None:
        """Close it."""


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
    """What has not arrived as `QUESTIONS` had it, one clause; empty: all has.

    Args:
        bodies: what the scripted API was sent.
    """
    if len(bodies) != len(QUESTIONS):
        return f"{len(QUESTIONS)} questions became {len(bodies)} requests"
    for question, body in zip(QUESTIONS, bodies, strict=True):
        if body.get("model") != question.model:
            return "the model is another one"
        wanted = msgspec.json.decode(question.json)
        for name, value in wanted.items():
            if body.get(name) != value:
                return f"`{name}` is another one"
        system = body.get("system")
        texts = _texts(system if isinstance(system, list) else [])
        # In front stands what the CLI says of itself.
        if not texts or texts[-1] != question.system:
            return "the system prompt is another one"
        if any(other.system in text for other in QUESTIONS for text in texts[:-1]):
            return "a system prompt arrives twice"
    return ""


def _texts(blocks: Sequence[Any]) -> Sequence[str]:
    return [str(b.get("text", "")) if isinstance(b, dict) else "" for b in blocks]


class CLIProber:
    """Looks at a CLI by a process of its own; implements `Prober`.

    Args:
        context: for the process; it must tell nobody of what it learns.
        upstream: makes what the process is put in front of.
        isolated: from how a CLI is started to how it is started in front of a URL,
            with a dummy key and without any login of the user's.
        asks: whether the questions are put; if not, only its age is found out.
    """

    def __init__(
        self,
        context: CLIContext,
        upstream: Callable[[], ScriptedUpstream],
        isolated: Callable[[LaunchSpec, str], LaunchSpec],
        *,
        asks: bool,
    ) -> None:
        self._context = context
        self._upstream = upstream
        self._isolated = isolated
        self._asks = asks

    async def probe(self, launch: LaunchSpec) -> ProbeResult:
        """Start a CLI, and put the questions; see `Prober`."""
        probed = Deferred.fromCoroutine(self._probe(launch))
        probed.addTimeout(_PATIENCE_SECONDS, self._context.clock)
        try:
            return await probed
        except DeferredTimeoutError:
            raise ClaudeFailed(
                f"it did not answer two questions within {_PATIENCE_SECONDS:g} s"
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
    """Put a question, and wait until the next one can be put.

    Raises:
        CCProxyError: it failed.
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
        worker.watch(lambda: ready.errback(ClaudeFailed("it did not settle")))
        await ready


class _Listener:
    """Waits for the end."""

    def __init__(self) -> None:
        self.over: Deferred[Finished | Failed] = Deferred()

    def receive(self, events: Sequence[Event]) -> None:
        end = events[-1]
        if isinstance(end, Finished | Failed):
            self.over.callback(end)
