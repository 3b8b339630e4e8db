"""The three forms that a call has in chat completions. Pure.

=============  ==============================================================
function       an entry of ``tool_calls``; its arguments are JSON
custom         an entry of ``tool_calls``; its input is free text
old function   ``function_call`` of the message, without an id; one only
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
from ccproxy.core.messages import ToolUse

# A call without arguments has none to stream, and is still one of an object. A call
# that was cut off is not: nobody may take it for whole.
NO_ARGUMENTS = "{}"


@frozen(kw_only=True)
class ToolCallFormat:
    """In which form the client wants its calls.

    Attributes:
        tools: its tools, by the names that the model calls them by.
        is_old: whether it offered ``functions``, and knows no ``tool_calls``.
    """

    tools: ToolTable = Factory(ToolTable)
    is_old: bool = False

    @property
    def finish(self) -> Finish:
        """The reason to finish with a call."""
        return "function_call" if self.is_old else "tool_calls"

    def message(
        self, text: str, calls: Sequence[tuple[ToolUse, str]], *, is_whole: bool
    ) -> ChatMessage:
        """The message that makes some calls.

        Args:
            text: what it says beside them.
            calls: each with the JSON of its arguments.
            is_whole: whether they are all there, and not cut off.
        """
        if not calls:
            return ChatMessage(content=text)
        otherwise = NO_ARGUMENTS if is_whole else ""
        if self.is_old:
            call, arguments = calls[0]
            name = self.tools.identity(call.name).name
            function = CalledFunction(arguments or otherwise, name)
            return ChatMessage(content=text or None, function_call=function)
        return ChatMessage(
            content=text or None,
            tool_calls=[self._whole(c, json or otherwise) for c, json in calls],
        )

    def _whole(self, call: ToolUse, arguments: str) -> ToolCall:
        tool = self.tools.identity(call.name)
        if is_custom(tool):
            custom = CalledCustom(free_text(arguments), tool.name)
            return ToolCall(id=call.id, type="custom", custom=custom)
        function = CalledFunction(arguments, tool.name)
        return ToolCall(id=call.id, type="function", function=function)


def is_custom(tool: ToolIdentity) -> bool:
    """Whether the client has its calls as free text."""
    return tool.kind is ToolKind.CUSTOM


class StreamedCall:
    """One call, told in deltas.

    Args:
        index: the call's place among the answer's calls.
    """

    def __init__(self, call: ToolUse, index: int, forms: ToolCallFormat) -> None:
        self._id = call.id
        self._tool = forms.tools.identity(call.name)
        self._index = index
        self._is_old = forms.is_old
        self._text = CustomInputDecoder() if is_custom(self._tool) else None
        self._has_arguments = False

    def first(self) -> ChunkDelta:
        """The beginning: the only delta with the call's id and name."""
        name = self._tool.name
        if self._is_old:
            return ChunkDelta(function_call=CalledFunction("", name))
        call = ToolCall(index=self._index, id=self._id, type="function")
        if self._text is None:
            call.function = CalledFunction("", name)
        else:
            call.type, call.custom = "custom", CalledCustom("", name)
        return ChunkDelta(tool_calls=[call])

    def more(self, arguments: str) -> ChunkDelta | None:
        """What a piece of the arguments adds; None: nothing to show yet."""
        self._has_arguments = True
        if self._text is None:
            return self._function(arguments)
        return self._custom(self._text.feed(arguments))

    def end(self, *, is_whole: bool) -> ChunkDelta | None:
        """What is left to tell at the call's end."""
        if self._text is not None:
            return self._custom(self._text.end())
        if is_whole and not self._has_arguments:
            return self._function(NO_ARGUMENTS)
        return None

    def _function(self, arguments: str) -> ChunkDelta:
        function = CalledFunction(arguments)
        if self._is_old:
            return ChunkDelta(function_call=function)
        return ChunkDelta(tool_calls=[ToolCall(index=self._index, function=function)])

    def _custom(self, text: str) -> ChunkDelta | None:
        if not text:
            return None
        custom = CalledCustom(text)
        return ChunkDelta(tool_calls=[ToolCall(index=self._index, custom=custom)])
