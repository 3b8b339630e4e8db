"""Encodes the tool calls of an answer as items. Pure.

====================  ==========================================================
``function_call``     JSON arguments, which are streamed
``custom_tool_call``  free text, which is streamed
``local_shell_call``  one command, which is not streamed
``shell_call``        several commands, which are not streamed
====================  ==========================================================

Source: ``FunctionToolCall``, ``CustomToolCall``, ``LocalShellToolCall`` and
``FunctionShellCall`` in OpenAI's document.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ccproxy.api.common.custom_tools import CustomInputDecoder
from ccproxy.api.common.tools import ToolIdentity, ToolKind
from ccproxy.api.responses.output.resource import EventEncoder
from ccproxy.core.blocks import ToolUse
from ccproxy.core.encoding import WireEvent

_NO_ARGUMENTS = "{}"


_PREFIXES: Mapping[ToolKind, str] = {
    ToolKind.FUNCTION: "fc",
    ToolKind.CUSTOM: "ctc",
    ToolKind.LOCAL_SHELL: "lsh",
    ToolKind.SHELL: "sh",
}


class LocalShellAction(msgspec.Struct):
    """The arguments of the model's call of the local shell."""

    command: list[str]
    timeout_ms: int | None = None
    working_directory: str | None = None
    env: dict[str, str] = {}
    user: str | None = None


class ShellAction(msgspec.Struct):
    """The arguments of the model's call of the shell."""

    commands: list[str]
    timeout_ms: int | None = None
    max_output_length: int | None = None


_local_shell = msgspec.json.Decoder(LocalShellAction).decode
_shell = msgspec.json.Decoder(ShellAction).decode


class OpenCall:
    """A call whose arguments are still being received.

    Args:
        call: the call, without its arguments.
        tool: the called tool of the client.
    """

    def __init__(self, call: ToolUse, tool: ToolIdentity) -> None:
        self._id = call.id
        self._tool = tool
        self._arguments: list[str] = []
        self._streamed: list[str] = []
        self._text = CustomInputDecoder()

    @property
    def prefix(self) -> str:
        """The prefix of the item's id."""
        return _PREFIXES[self._tool.kind]

    @property
    def delta_event(self) -> str | None:
        """The name of the delta event; None: the call is not streamed."""
        match self._tool.kind:
            case ToolKind.FUNCTION:
                return "response.function_call_arguments.delta"
            case ToolKind.CUSTOM:
                return "response.custom_tool_call_input.delta"
        return None

    def feed(self, arguments: str) -> str:
        """Add a piece of the arguments' JSON; returns the text for a delta event."""
        self._arguments.append(arguments)
        match self._tool.kind:
            case ToolKind.FUNCTION:
                return self._add(arguments)
            case ToolKind.CUSTOM:
                return self._add(self._text.feed(arguments))
        return ""

    def _end(self, *, is_whole: bool) -> str:
        """End the arguments; returns the text for the last delta event."""
        match self._tool.kind:
            case ToolKind.FUNCTION if is_whole and not self._arguments:
                return self._add(_NO_ARGUMENTS)
            case ToolKind.CUSTOM:
                return self._add(self._text.end())
        return ""

    def _add(self, text: str) -> str:
        self._streamed.append(text)
        return text

    def ended(
        self, encoder: EventEncoder, place: Mapping[str, Any], *, is_whole: bool
    ) -> list[WireEvent]:
        """End the arguments; returns the events before the item is done.

        Args:
            encoder: numbers and encodes the events.
            place: the id and the index of the item.
            is_whole: whether the call is complete.
        """
        wire = encoder.deltas(self._end(is_whole=is_whole))
        done = self._done()
        if done is None:
            return wire
        kind, about = done
        return [*wire, encoder.event(kind, **place, **about)]

    def _done(self) -> tuple[str, Mapping[str, str]] | None:
        """The name and the fields of the event after the last delta.

        None: the call is not streamed.
        """
        text = "".join(self._streamed)
        match self._tool.kind:
            case ToolKind.FUNCTION:
                about = {"name": self._tool.name, "arguments": text}
                return "response.function_call_arguments.done", about
            case ToolKind.CUSTOM:
                return "response.custom_tool_call_input.done", {"input": text}
        return None

    def item(self, identifier: str, status: str) -> dict[str, Any]:
        """The call as an item, with the arguments so far.

        Args:
            identifier: the item's id.
            status: the item's status; a shell call without a command is ``incomplete``.
        """
        return {
            "id": identifier,
            "call_id": self._id,
            "status": status if self._is_sound(status) else "incomplete",
            **self._about(),
        }

    def _about(self) -> dict[str, Any]:
        text = "".join(self._streamed)
        name = {"name": self._tool.name, **self._namespace}
        match self._tool.kind:
            case ToolKind.FUNCTION:
                return {"type": "function_call", **name, "arguments": text}
            case ToolKind.CUSTOM:
                return {"type": "custom_tool_call", **name, "input": text}
            case ToolKind.LOCAL_SHELL:
                return {"type": "local_shell_call", "action": self._local_shell()}
            case ToolKind.SHELL:
                about = {"type": "shell_call", "environment": {"type": "local"}}
                return {**about, "action": self._shell()}

    @property
    def _namespace(self) -> Mapping[str, str]:
        namespace = self._tool.namespace
        return {} if namespace is None else {"namespace": namespace}

    def _is_sound(self, status: str) -> bool:
        """Whether the call may have a status: a completed shell call has a command."""
        if status != "completed":
            return True
        match self._tool.kind:
            case ToolKind.LOCAL_SHELL:
                return bool(self._local_shell()["command"])
            case ToolKind.SHELL:
                return bool(self._shell()["commands"])
        return True

    def _local_shell(self) -> dict[str, Any]:
        try:
            action = _local_shell("".join(self._arguments))
        except msgspec.DecodeError:
            action = LocalShellAction([])
        fields = {k: v for k, v in msgspec.to_builtins(action).items() if v is not None}
        return {"type": "exec", **fields}

    def _shell(self) -> dict[str, Any]:
        try:
            action = _shell("".join(self._arguments))
        except msgspec.DecodeError:
            action = ShellAction([])
        fields: dict[str, Any] = msgspec.to_builtins(action)
        return fields
