"""The checks of native mode: one function for each behaviour of the contract.

A check returns the difference that it found as one clause, or an empty text if there is
none. Each check starts its own process, as each request of native mode does.

Source: docs/claude-cli-protocol.md, "History" and "Tools".
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred

from ccproxy.claude.installation.bench import ScriptedAnswer, ScriptedUpstream
from ccproxy.claude.native.prompt import (
    Prompt,
    PromptMessage,
    PromptTool,
    Role,
    TextBlock,
)
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.structured_output import TOOL
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.core.blocks import ToolUse
from ccproxy.core.stream import ContentBlockStart, Event, Failed, Finished

NativeCheck: TypeAlias = Callable[["NativeBench"], Coroutine[Any, Any, str]]

_MODEL = "claude-sonnet-4-5"
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
_TOOL = PromptTool("tool_1", "Is called once.", _SCHEMA)


def _said(role: Role, text: str) -> PromptMessage:
    return PromptMessage(role, (TextBlock(text),))


_QUESTION = _said(Role.USER, "third")
_TURNS = (_said(Role.USER, "first"), _said(Role.ASSISTANT, "second"), _QUESTION)


@frozen
class NativeBench:
    """How a process of native mode is started, in front of the scripted API."""

    launch: LaunchSpec
    context: CLIContext
    settings: NativeSettings
    upstream: ScriptedUpstream


@frozen
class _Exchange:
    bodies: Sequence[Mapping[str, Any]]
    events: Sequence[Event]
    needs_no_handshake: bool

    @property
    def error(self) -> str:
        end = self.events[-1]
        return f"it failed: {end.error.message}" if isinstance(end, Failed) else ""

    @property
    def tools(self) -> Sequence[str]:
        """The names of the tools that the model was offered."""
        return [tool["name"] for body in self.bodies for tool in body.get("tools", ())]

    @property
    def calls(self) -> Sequence[str]:
        """The names of the called tools."""
        return [
            event.block.value.name
            for event in self.events
            if isinstance(event, ContentBlockStart)
            and isinstance(event.block.value, ToolUse)
        ]


class _Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.over: Deferred[None] = Deferred()

    def receive(self, events: Sequence[Event]) -> None:
        self.events += events
        if isinstance(events[-1], Finished | Failed):
            self.over.callback(None)


async def _ask(bench: NativeBench, prompt: Prompt, answer: ScriptedAnswer) -> _Exchange:
    bench.upstream.answer_next(answer)
    before = len(bench.upstream.bodies)
    listener = _Listener()
    session = Session(bench.launch, bench.context, bench.settings)
    try:
        session.ask(prompt, listener)
        await listener.over
    finally:
        session.kill()
        await session.close()
    bodies = list(bench.upstream.bodies[before:])
    return _Exchange(bodies, listener.events, session.needs_no_handshake)


async def _call(bench: NativeBench) -> _Exchange:
    prompt = Prompt(model=_MODEL, messages=(_QUESTION,), tools=(_TOOL,))
    return await _ask(bench, prompt, ScriptedAnswer.CALL)


async def native_history(bench: NativeBench) -> str:
    """The turns of a conversation arrive in order, as one request."""
    prompt = Prompt(model=_MODEL, messages=_TURNS)
    exchange = await _ask(bench, prompt, ScriptedAnswer.TEXT)
    if exchange.error:
        return exchange.error
    if len(exchange.bodies) != 1:
        return f"one question became {len(exchange.bodies)} requests"
    messages = exchange.bodies[0].get("messages", ())
    # The CLI adds notes to the turns.
    wanted = iter([("user", "first"), ("assistant", "second"), ("user", "third")])
    role, text = next(wanted)
    for message in messages:
        if message["role"] == role and text in repr(message["content"]):
            role, text = next(wanted, ("", ""))
    return f"the turn {text!r} did not arrive in its place" if role else ""


async def native_tools(bench: NativeBench) -> str:
    """The client's tool is offered under its name, and a call to it arrives."""
    exchange = await _call(bench)
    if exchange.error:
        return exchange.error
    if _TOOL.name not in exchange.tools:
        return "the tool was not offered under its name"
    return "" if exchange.calls == [_TOOL.name] else "the call did not arrive"


async def native_manifest(bench: NativeBench) -> str:
    """The CLI does not ask for the tools of the manifest."""
    exchange = await _call(bench)
    return "" if exchange.needs_no_handshake else "it asks for the tools"


async def native_schema(bench: NativeBench) -> str:
    """The schema becomes a tool of the CLI, whose arguments are the answer."""
    prompt = Prompt(model=_MODEL, messages=(_QUESTION,), schema=_SCHEMA)
    exchange = await _ask(bench, prompt, ScriptedAnswer.SCHEMA)
    if exchange.error:
        return exchange.error
    return "" if TOOL in exchange.tools else "there is no tool for the schema"


NATIVE_CHECKS: Mapping[str, NativeCheck] = {
    check.__name__: check
    for check in (native_history, native_tools, native_manifest, native_schema)
}
