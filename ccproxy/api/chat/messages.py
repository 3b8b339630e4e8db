"""Decodes the messages of chat completions. Pure.

Some clients send the body of a response: it has ``input`` instead of ``messages``, and
its items are read as in Responses:

==============================  =====================================================
``type``                        what it is
==============================  =====================================================
absent, ``message``             a message with a ``role``
``function_call``,              a call, in a message of the assistant
``custom_tool_call``
``function_call_output``,       the result of a call
``custom_tool_call_output``
any other                       left out; the path of the item is reported
==============================  =====================================================

Source: ``ChatCompletionRequestMessage`` in OpenAI's document; requests of Cursor.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Raw

from ccproxy.api.chat.reasoning import thinking_of
from ccproxy.api.chat.tools import LegacyFunctionCalls
from ccproxy.api.common.content import ContentPart, as_users_results
from ccproxy.api.common.custom_tools import custom_call
from ccproxy.api.common.decoding import decode_json, required
from ccproxy.api.common.fates import ignored, name_unread, name_unused
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.past_calls import (
    FunctionCallParam,
    ToolCallParam,
    decode_call,
)
from ccproxy.api.common.prompt import InputMessage
from ccproxy.api.common.tools import (
    ToolIdentity,
    ToolKind,
    ToolTable,
    function_call,
)
from ccproxy.core.blocks import Block, search_copy
from ccproxy.core.messages import Adjustments

# The fields that a message with a given role uses.
_TOLD = ("content", "refusal", "reasoning_details", "reasoning_content")
_USED: Mapping[str, Collection[str]] = {
    "assistant": (*_TOLD, "tool_calls", "function_call", "annotations"),
    "tool": ("content", "tool_call_id", "call_id", "is_error"),
    "function": ("content", "is_error"),
}
# The fields that an item of a given type uses.
_ITEMS: Mapping[str, Collection[str]] = {
    "function_call": ("call_id", "name", "arguments"),
    "custom_tool_call": ("call_id", "name", "input"),
    **dict.fromkeys(
        ("function_call_output", "custom_tool_call_output"), ("call_id", "output")
    ),
}


class ChatMessageParam(msgspec.Struct):
    """A message with a ``role``."""

    role: str
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCallParam | None = None
    name: Annotated[object, ignored("the provider's messages have no names")] = None
    audio: Annotated[object, ignored("audio is not stored")] = None
    # The citations of an answer. They are sent if the proxy remembers the answer.
    annotations: list[object] | None = None
    # Not in OpenAI's document: two fields for thinking (`ccproxy.api.chat.reasoning`),
    # `is_error` of the Messages API, and fields of Responses.
    reasoning_details: object = None
    reasoning_content: object = None
    is_error: bool | None = None
    type: str | None = None
    call_id: str | None = None


class _Item(msgspec.Struct):
    """A call or a result of Responses."""

    type: str
    call_id: str | None = None
    name: str | None = None
    arguments: Raw = msgspec.field(default_factory=lambda: Raw(b'""'))
    input: str | None = None
    output: str | list[ContentPart] | None = None
    id: object = None
    status: object = None


class _Kind(msgspec.Struct):
    type: str | None = None


_kind_decoder = msgspec.json.Decoder(_Kind)
_item_decoder = msgspec.json.Decoder(_Item)
_message_decoder = msgspec.json.Decoder(ChatMessageParam)


class MessageReader:
    """Reads the messages of a request, in their order.

    Args:
        tools: the tools of the request.
        adjustments: records the paths of everything that is omitted or changed.
    """

    def __init__(self, tools: ToolTable, adjustments: Adjustments) -> None:
        self._tools = tools
        self._adjustments = adjustments
        self._legacy_calls = LegacyFunctionCalls(tools, adjustments)

    def messages(
        self, given: Sequence[ChatMessageParam], param: str
    ) -> list[InputMessage]:
        """Read messages.

        Args:
            given: the messages.
            param: the name of the field with the messages.

        Raises:
            ClientError: a message is invalid; ``param`` is its path.
        """
        return [self._message(m, f"{param}[{n}]") for n, m in enumerate(given)]

    def items(self, given: Sequence[Raw], param: str) -> list[InputMessage]:
        """Read messages and items of Responses.

        Args:
            given: the JSON of each item.
            param: the name of the field with the items.

        Raises:
            ClientError: an item is invalid; ``param`` is its path.
        """
        read = (self._any(bytes(r), f"{param}[{n}]") for n, r in enumerate(given))
        return [message for message in read if message is not None]

    def _any(self, raw: bytes, at: str) -> InputMessage | None:
        kind = decode_json(_kind_decoder, raw, at=at).type
        if kind in (None, "message"):
            message = decode_json(_message_decoder, raw, at=at)
            name_unread(raw, ChatMessageParam, self._adjustments, at=at)
            return self._message(message, at)
        if kind not in _ITEMS:
            self._adjustments.ignore(at)
            return None
        item = decode_json(_item_decoder, raw, at=at)
        name_unread(raw, _Item, self._adjustments, at=at)
        used = ("type", "id", "status", *_ITEMS[item.type])
        name_unused(item, used, self._adjustments, at)
        if "output" in used:
            result_of = NO_ID if item.call_id is None else item.call_id
            return InputMessage(
                at, "tool", item.output, result_of=result_of, field="output"
            )
        call = self._item_call(item, at)
        return InputMessage(
            at, "assistant", None, (call,), unfinished=self._unfinished([call])
        )

    def _item_call(self, item: _Item, at: str) -> Block:
        identifier = NO_ID if item.call_id is None else item.call_id
        kind = ToolKind.FUNCTION if item.type == "function_call" else ToolKind.CUSTOM
        identity = ToolIdentity(required(item.name, f"{at}.name"), kind)
        name = self._tools.called_name(identity, f"{at}.name", self._adjustments)
        renamed = {"id": "call_id", "input": "arguments"}
        if kind is ToolKind.CUSTOM:
            del renamed["input"]
            return custom_call(identifier, name, item.input or "", at, renamed)
        about = (identifier, name, item.arguments, at, self._adjustments)
        return function_call(*about, renamed)

    def _message(self, message: ChatMessageParam, at: str) -> InputMessage:
        used = ("role", "type", *_USED.get(message.role, _TOLD))
        name_unused(message, used, self._adjustments, at)
        if message.role in ("tool", "function"):
            called, is_error = self._result_of(message, at), message.is_error or False
            parts = as_users_results(message.content, called, is_error=is_error)
            if parts is not None:
                return InputMessage(at, "user", parts)
            return InputMessage(
                at, "tool", message.content, result_of=called, is_error=is_error
            )
        if message.reasoning_content and not message.reasoning_details:
            # `reasoning_content` has no signature, and the provider refuses thinking
            # without a signature.
            self._adjustments.ignore(f"{at}.reasoning_content")
        content, field = message.content, "content"
        if message.refusal and not content:
            content, field = message.refusal, "refusal"
        elif message.refusal:
            parts = content if isinstance(content, list) else [_text(content)]
            content = [*parts, ContentPart("refusal", refusal=message.refusal)]
        calls = self._calls(message, at) if message.role == "assistant" else []
        cites = message.role == "assistant" and message.annotations
        copies = [search_copy(f"{at}.annotations")] if cites else []
        return InputMessage(
            at,
            message.role,
            content,
            (*calls, *copies),
            thinking_of(
                message.reasoning_details, f"{at}.reasoning_details", self._adjustments
            ),
            field=field,
            unfinished=self._unfinished(calls),
        )

    def _calls(self, message: ChatMessageParam, at: str) -> list[Block]:
        calls: list[Block] = []
        parts = message.content if isinstance(message.content, list) else ()
        told = {part.id for part in parts if part.type == "tool_use"}
        for index, call in enumerate(message.tool_calls or ()):
            where = f"{at}.tool_calls[{index}]"
            if call.identifier in told:
                # The content has the call, too, as a block of the Messages API.
                self._adjustments.ignore(where)
                continue
            calls.append(decode_call(call, where, self._tools, self._adjustments))
        if message.function_call is not None:
            where = f"{at}.function_call"
            legacy = self._legacy_calls.decode_call(message.function_call, where)
            calls.append(legacy)
        return calls

    def _unfinished(self, calls: Sequence[Block]) -> tuple[str, ...]:
        return tuple(
            call.at
            for call in calls
            if self._adjustments.is_adjusted(call.path_of("input"))
        )

    def _result_of(self, message: ChatMessageParam, at: str) -> str:
        if message.role == "function":
            return self._legacy_calls.result_of(at)
        own = message.tool_call_id
        given = message.call_id if own is None else own
        return NO_ID if given is None else given


def _text(text: str | None) -> ContentPart:
    return ContentPart("text", text)
