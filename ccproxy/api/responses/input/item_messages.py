"""Translates the items of a conversation in Responses to messages. Pure.

Items of a request and stored items are translated in the same way, so an item means the
same to the model in both cases.

============================  ================================================
``message``                   a message with text, images and files
``reasoning``                 thinking; left out without encrypted content
``function_call``,            a tool call
``custom_tool_call``,
``local_shell_call``,
``shell_call``
``…_output`` of these         the result of a tool call
``compaction``                the encrypted summary of a conversation; left out
                              if it cannot be decrypted
``item_reference``            the stored item with its id
``additional_tools``          tools of the request, if the request contains the
                              item; a stored item of this type is left out
``web_search_call``           replaced by what the proxy remembers of the
                              search, or left out
``configuration_update``      left out; refused if it changes the format
any other                     left out; such items belong to hosted tools
============================  ================================================

If an item of the request is left out, its path is reported.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.api.common.content import ContentPart, as_users_results
from ccproxy.api.common.custom_tools import custom_call
from ccproxy.api.common.fates import name_unread, name_unused
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.past_calls import decode_call
from ccproxy.api.common.prompt import InputMessage, PastThinking
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable, function_call
from ccproxy.api.responses.encryption import Encryptor
from ccproxy.api.responses.input.item_fields import (
    ADDITIONAL_TOOLS,
    CALLS,
    OUTPUTS,
    SHELLS,
    USED,
    ItemFields,
)
from ccproxy.api.responses.input.items import DecodedItem, output_of
from ccproxy.core.blocks import (
    Block,
    redacted_thinking_block,
    search_copy,
    thinking_block,
    tool_use_block,
)
from ccproxy.core.encoding import exact_decoder
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import Adjustments

# Changes the effort and the format of all later answers.
_UPDATE = "configuration_update"
# Types of items in the proxy's own responses that are left out without a report.
_OURS = ("reasoning",)
# The user's message that replaces a compacted conversation.
_SUMMARY = "The conversation before this point was summarized:\n\n{}"

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_anything = exact_decoder(dict[str, Any])


def input_messages(
    items: Sequence[DecodedItem],
    encryptor: Encryptor | None,
    tools: ToolTable,
    adjustments: Adjustments,
) -> list[InputMessage]:
    """Translate items to messages.

    Args:
        items: the items in the order of the conversation.
        encryptor: may be None if no item has encrypted content.
        tools: the tools of the request.
        adjustments: records the paths of items and fields that are omitted or changed.

    Raises:
        ClientError: an item has no counterpart in the Messages API.
    """
    reader = _Reader(encryptor, tools, adjustments)
    messages = [reader.read(item) for item in items]
    return [message for message in messages if message is not None]


@frozen
class _Reader:
    """Translates single items."""

    encryptor: Encryptor | None
    tools: ToolTable
    adjustments: Adjustments

    def read(self, item: DecodedItem) -> InputMessage | None:
        """Translate an item; None: the item is left out."""
        at, fields = item.at, item.fields
        if fields.kind in USED and item.is_own:
            name_unread(item.raw, ItemFields, self.adjustments, at=at)
            used = ("type", *USED[fields.kind])
            if fields.role == "tool":
                used = (*used, "call_id")
            name_unused(fields, used, self.adjustments, at)
        match fields.kind:
            case "message":
                return self._message(item)
            case kind if kind in CALLS:
                unfinished = (at,) if fields.status == "incomplete" else ()
                calls = (self._call(item),)
                return InputMessage(at, "assistant", None, calls, unfinished=unfinished)
            case kind if kind in OUTPUTS:
                result = output_of(item)
                if isinstance(result, list) and item.is_own:
                    for index, part in enumerate(_parts.decode(fields.output)):
                        where = f"{at}.output[{index}]"
                        about = (bytes(part), ContentPart, self.adjustments)
                        name_unread(*about, at=where)
                called = fields.called_id
                return InputMessage(
                    at, "tool", result, result_of=called, field="output"
                )
            case "compaction" if fields.encrypted_content:
                summary = self._decrypt(fields.encrypted_content).get("summary")
                if summary is not None:
                    return InputMessage(at, "user", _SUMMARY.format(summary))
                self.adjustments.ignore(at)
                return None
            case "web_search_call":
                copy = search_copy(at if item.is_own else "")
                return InputMessage(at, "assistant", None, (copy,))
            case "reasoning" if fields.encrypted_content:
                thinking = self._thinking(fields.encrypted_content, at)
                if thinking is None:
                    self.adjustments.ignore(at)
                    return None
                return InputMessage(at, "assistant", None, thinking=(thinking,))
        if fields.kind == ADDITIONAL_TOOLS and item.is_own:
            # `items.additional_tools` has added the item's tools to the request.
            return None
        if fields.kind == _UPDATE and item.is_own:
            _refuse_format(item)
        # Reasoning without encrypted content: the Messages API requires a signature.
        if item.is_own or fields.kind not in _OURS:
            self.adjustments.ignore(at)
        return None

    def _message(self, item: DecodedItem) -> InputMessage:
        fields, at = item.fields, item.at
        # If `input` is a string, `at` is also the path of the content.
        field = "content" if at.endswith("]") else ""
        role = fields.role or ""
        if role == "tool":
            own = fields.tool_call_id
            called = fields.call_id if own is None else own
            parts = as_users_results(fields.content, called or NO_ID, is_error=False)
            if parts is not None:
                return InputMessage(at, "user", parts, field=field)
            return InputMessage(at, role, fields.content, result_of=called, field=field)
        calls = tuple(
            decode_call(call, f"{at}.tool_calls[{n}]", self.tools, self.adjustments)
            for n, call in enumerate(fields.tool_calls or ())
        )
        return InputMessage(at, role, fields.content, calls, field=field)

    def _call(self, item: DecodedItem) -> Block:
        fields, at = item.fields, item.at
        identifier = NO_ID if fields.call_id is None else fields.call_id
        match fields.kind:
            case "local_shell_call" | "shell_call":
                kind = SHELLS[fields.kind]
                given = (fields.action or {}).items()
                # In an item, absent fields are null, and the type is not an argument.
                action = {k: v for k, v in given if v is not None and k != "type"}
                name = self.tools.api_name(ToolIdentity(kind.value, kind))
                renamed = {"id": "call_id", "input": "action"}
                return tool_use_block(identifier, name, action, at, renamed)
            case "custom_tool_call":
                identity = ToolIdentity(
                    fields.name or "", ToolKind.CUSTOM, fields.namespace
                )
                name = self._name(identity, at)
                renamed = {"id": "call_id"}
                return custom_call(identifier, name, fields.input or "", at, renamed)
        name = self._name(
            ToolIdentity(fields.name or "", namespace=fields.namespace), at
        )
        about = (identifier, name, fields.arguments, at, self.adjustments)
        return function_call(*about, {"id": "call_id", "input": "arguments"})

    def _name(self, identity: ToolIdentity, at: str) -> str:
        return self.tools.called_name(identity, f"{at}.name", self.adjustments)

    def _decrypt(self, encrypted: str) -> Mapping[str, str]:
        """Decrypt texts; empty: another provider or another key encrypted them."""
        if self.encryptor is None:
            # The caller passes an encryptor if `has_encrypted_content` is true.
            raise AssertionError(encrypted)
        return self.encryptor.decrypt(encrypted) or {}

    def _thinking(self, encrypted: str, at: str) -> PastThinking | None:
        opened = self._decrypt(encrypted)
        if not {"data", "signature"} & opened.keys():
            return None
        about = opened.get("model", ""), opened.get("prefix", "")
        if "data" in opened:
            return PastThinking(redacted_thinking_block(opened["data"], at), *about)
        thinking, signature = opened.get("thinking", ""), opened.get("signature", "")
        return PastThinking(thinking_block(thinking, signature, at), *about)


def _refuse_format(item: DecodedItem) -> None:
    """Refuse an update of the answer's format; an update of the effort is left out.

    Raises:
        UnsupportedValue: the client could not read the answer without the update.
    """
    if _anything.decode(item.raw).get("text") is not None:
        unsupported(f"{item.at}.text", "send the format as `text` of the request")
