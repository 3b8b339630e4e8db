"""Encodes tool calls in the answers of chat completions. Pure.

A call is encoded in one of three forms:

=============  ==============================================================
function       an entry of ``tool_calls``; its arguments are JSON
custom         an entry of ``tool_calls``; its input is free text
legacy         ``function_call`` of the message, without an id; only one call
=============  ==============================================================

Source: ``ChatCompletionMessageToolCalls`` and ``ChatCompletionResponseMessage`` in
OpenAI's document.
"""

from collections.abc import Sequence

from attrs import Factory, frozen

from ccproxy.api.chat.schemas import (
    CalledCustom,
    CalledFunction,
    ChatMessage,
    ChunkDelta,
    Finish,
    ToolCall,
)
from ccproxy.api.common.custom_tools import CustomInputDecoder, free_text
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable
from ccproxy.core.blocks import ToolUse

# What is sent for a complete call without arguments. It is not sent for a call that was
# cut off, because a client would run that call.
NO_ARGUMENTS = "{}"


@frozen(kw_only=True)
class ToolCallFormat:
    """The form of the calls in an answer.

    Attributes:
        tools: the client's tools, by the API's names.
        is_legacy: whether the client sent ``functions``, and so expects
            ``function_call``.
    """

    tools: ToolTable = Factory(ToolTable)
    is_legacy: bool = False

    @property
    def finish(self) -> Finish:
        """The finish reason of an answer with calls."""
        return "function_call" if self.is_legacy else "tool_calls"

    def message(self, text: str, calls: Sequence[tuple[ToolUse, str]]) -> ChatMessage:
        """Make the assistant's message.

        Args:
            text: the message's text.
            calls: the calls, each with the JSON of its arguments.
        """
        if not calls:
            return ChatMessage(content=text)
        if self.is_legacy:
            call, arguments = calls[0]
            name = self.tools.identity(call.name).name
            function = CalledFunction(arguments, name)
            return ChatMessage(content=text or None, function_call=function)
        return ChatMessage(
            content=text or None,
            tool_calls=[self._whole(call, json) for call, json in calls],
        )

    def _whole(self, call: ToolUse, arguments: str) -> ToolCall:
        tool = self.tools.identity(call.name)
        if is_custom(tool):
            custom = CalledCustom(free_text(arguments), tool.name)
            return ToolCall(id=call.id, type="custom", custom=custom)
        function = CalledFunction(arguments, tool.name)
        return ToolCall(id=call.id, type="function", function=function)


def is_custom(tool: ToolIdentity) -> bool:
    """Whether a tool is a custom tool, whose input is free text."""
    return tool.kind is ToolKind.CUSTOM


class StreamedCall:
    """Encodes one call as deltas of a stream.

    Args:
        call: the call, without its arguments.
        index: the call's index among the answer's calls.
        call_format: the form of the call.
    """

    def __init__(self, call: ToolUse, index: int, call_format: ToolCallFormat) -> None:
        self._id = call.id
        self._tool = call_format.tools.identity(call.name)
        self._index = index
        self._is_legacy = call_format.is_legacy
        self._text = CustomInputDecoder() if is_custom(self._tool) else None
        self._has_arguments = False

    def first(self) -> ChunkDelta:
        """The first delta, the only one with the call's id and name."""
        name = self._tool.name
        if self._is_legacy:
            return ChunkDelta(function_call=CalledFunction("", name))
        call = ToolCall(index=self._index, id=self._id, type="function")
        if self._text is None:
            call.function = CalledFunction("", name)
        else:
            call.type, call.custom = "custom", CalledCustom("", name)
        return ChunkDelta(tool_calls=[call])

    def more(self, arguments: str) -> ChunkDelta | None:
        """The delta for a piece of the arguments; None: the piece adds no text."""
        self._has_arguments = True
        if self._text is None:
            return self._function(arguments)
        return self._custom(self._text.feed(arguments))

    def end(self, *, is_whole: bool) -> ChunkDelta | None:
        """The last delta; None: there is nothing more to send.

        Args:
            is_whole: whether the call is complete.
        """
        if self._text is not None:
            return self._custom(self._text.end())
        if is_whole and not self._has_arguments:
            return self._function(NO_ARGUMENTS)
        return None

    def _function(self, arguments: str) -> ChunkDelta:
        function = CalledFunction(arguments)
        if self._is_legacy:
            return ChunkDelta(function_call=function)
        return ChunkDelta(tool_calls=[ToolCall(index=self._index, function=function)])

    def _custom(self, text: str) -> ChunkDelta | None:
        if not text:
            return None
        custom = CalledCustom(text)
        return ChunkDelta(tool_calls=[ToolCall(index=self._index, custom=custom)])
