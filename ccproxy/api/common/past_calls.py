"""Decodes ``tool_calls`` in the history, in the form of chat completions. Pure.

Some clients send this form to Responses, too. Besides OpenAI's form, a call may have
its name and arguments without nesting, and its id in ``call_id``, as in Responses.

Source: ``ChatCompletionMessageToolCalls`` in OpenAI's document; requests of clients.
"""

import msgspec
from msgspec import Raw

from ccproxy.api.common.custom_tools import custom_call
from ccproxy.api.common.decoding import required
from ccproxy.api.common.fates import name_unused
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable, function_call
from ccproxy.core.blocks import Block
from ccproxy.core.messages import Adjustments

_EMPTY_TEXT = Raw(b'""')
_RENAMED_CALL = {"name": "function.name", "input": "function.arguments"}


class FunctionCallParam(msgspec.Struct):
    """A called function; ``arguments`` is an object, or a string with its JSON."""

    name: str
    # A factory, because msgspec cannot make a JSON Schema with a default of type Raw.
    arguments: Raw = msgspec.field(default_factory=lambda: _EMPTY_TEXT)


class _CalledCustom(msgspec.Struct):
    name: str
    input: str = ""


class ToolCallParam(msgspec.Struct):
    """An entry of a message's ``tool_calls``."""

    id: str | None = None
    function: FunctionCallParam | None = None
    custom: _CalledCustom | None = None
    type: str | None = None
    # Fields of the form without nesting.
    call_id: str | None = None
    name: str | None = None
    arguments: Raw = msgspec.field(default_factory=lambda: _EMPTY_TEXT)

    @property
    def identifier(self) -> str:
        """The client's id of the call, or `NO_ID`."""
        given = self.call_id if self.id is None else self.id
        return NO_ID if given is None else given


def decode_call(
    call: ToolCallParam, at: str, tools: ToolTable, adjustments: Adjustments
) -> Block:
    """Decode a call in the history.

    Args:
        call: the call in the request.
        at: the path of the call.
        tools: the tools of the request.
        adjustments: records the paths of a changed name or changed arguments.

    Raises:
        ClientError: the call is invalid; ``param`` is its path.
    """
    identifier = call.identifier
    own_id = "call_id" if call.id is None else "id"
    if call.custom is not None:
        name_unused(call, (own_id, "type", "custom"), adjustments, at)
        identity = ToolIdentity(call.custom.name, ToolKind.CUSTOM)
        name = tools.called_name(identity, f"{at}.custom.name", adjustments)
        renamed = {"name": "custom.name", "input": "custom.input"}
        return custom_call(identifier, name, call.custom.input, at, renamed)
    if call.function is None and call.name is not None:
        used = (own_id, "type", "name", "arguments")
        name_unused(call, used, adjustments, at)
        name = tools.called_name(ToolIdentity(call.name), f"{at}.name", adjustments)
        about = (identifier, name, call.arguments, at, adjustments)
        return function_call(*about)
    name_unused(call, (own_id, "type", "function"), adjustments, at)
    function = required(call.function, f"{at}.function")
    identity = ToolIdentity(function.name)
    name = tools.called_name(identity, f"{at}.function.name", adjustments)
    about = (identifier, name, function.arguments, at, adjustments)
    return function_call(*about, _RENAMED_CALL)
