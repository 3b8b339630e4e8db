"""Starts workers for a test, and listens to their answers."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet import reactor

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.process.launch import LaunchSpec, child_environment, exec_prefix
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.blocks import ToolUse
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    Restarted,
    TextDelta,
    ThinkingDelta,
)
from tests.support.waiting import until

_REACTOR: Any = reactor
LIMITS = TurnTimeouts(first_token_timeout=30, silence_timeout=30, turn_timeout=60)


@define(eq=False)
class Heard:
    """A listener that records events, and checks that there is one end."""

    events: list[Event] = field(factory=list)
    worker: Worker | None = None
    # Whether the worker was of no more use when the end was told.
    was_gone: bool | None = None

    def receive(self, events: Sequence[Event]) -> None:
        assert events
        assert not self.is_over
        self.events += events
        assert not any(isinstance(e, Finished | Failed) for e in events[:-1])
        if self.is_over and self.worker is not None:
            self.was_gone = self.worker.is_gone

    @property
    def is_over(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Finished | Failed)

    @property
    def has_begun(self) -> bool:
        """Whether a message of the model was sent."""
        return any(isinstance(event, MessageStart) for event in self.events)

    @property
    def finished(self) -> Finished:
        end = self.events[-1]
        assert isinstance(end, Finished), end
        return end

    @property
    def error(self) -> CCProxyError:
        end = self.events[-1]
        assert isinstance(end, Failed), end
        return end.error

    @property
    def said(self) -> str:
        """Text, thinking and arguments that are not void, in order."""
        pieces: list[str] = []
        for event in self.events:
            match event:
                case Restarted():
                    pieces.clear()
                case TextDelta(text) | ThinkingDelta(text) | InputJSONDelta(text):
                    pieces.append(text)
        return "".join(pieces)

    @property
    def calls(self) -> list[str]:
        """The names of the called tools."""
        return [
            event.block.value.name
            for event in self.events
            if isinstance(event, ContentBlockStart)
            and isinstance(event.block.value, ToolUse)
        ]

    def count(self, kind: type[Event] = MessageStart) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def composed(
    text: str = "hello",
    system: str = "",
    *,
    model: str = "sonnet",
    effort: str | None = None,
    **fields: Any,
) -> ComposedBody:
    """Compose a question with one message of the user."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 1000}
    return ComposedBody(
        model=model,
        system=system,
        effort=effort,
        first_text=text,
        json=msgspec.json.encode({**body, **fields}),
    )


@define(eq=False)
class Workers:
    """Starts workers, and stops them."""

    binary: Path
    folder: Path
    upstream: str = ""
    environment: Mapping[str, str] = field(factory=dict)
    started: list[Worker] = field(factory=list)
    learned: list[InitializeAnswer] = field(factory=list)
    unheard: list[CCProxyError] = field(factory=list)
    lost: list[Worker] = field(factory=list)
    ready: list[Worker] = field(factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def launch(self) -> LaunchSpec:
        cwd = self.folder / "cwd"
        path = os.environ["PATH"]
        self.home.mkdir(exist_ok=True)
        environment = child_environment(
            {"PATH": path, "HOME": str(self.home), **self.environment}
        )
        if self.upstream:
            environment |= {
                "ANTHROPIC_BASE_URL": self.upstream,
                "ANTHROPIC_API_KEY": "test-key",
            }
        return LaunchSpec(
            binary=self.binary,
            prefix=exec_prefix(cwd, path),
            cwd=cwd,
            scratch=self.folder / "scratch",
            environment=environment,
            model="sonnet",
        ).for_body_mode()

    def start(self, limits: TurnTimeouts = LIMITS, **context: Any) -> Worker:
        worker = Worker(
            self.launch,
            CLIContext(
                **{
                    "spawner": _REACTOR,
                    "clock": _REACTOR,
                    "wall_seconds": lambda: 1.7e9,
                    "limits": limits,
                    "on_initialized": lambda answer, _: self.learned.append(answer),
                    "on_start_failed": self.unheard.append,
                    **context,
                }
            ),
        )
        self.started.append(worker)
        worker.watch(lambda: self.lost.append(worker))
        worker.on_ready(lambda: self.ready.append(worker))
        return worker

    async def stop(self) -> None:
        for worker in self.started:
            await worker.close()


async def heard(worker: Worker, body: ComposedBody) -> Heard:
    """Ask, and wait for the end; then the worker is ready again, or gone."""
    listener = Heard(worker=worker)
    worker.ask(body, listener)
    assert listener.events == []
    await until(lambda: listener.is_over)
    await until(lambda: worker.is_ready or worker.is_gone)
    return listener
