"""The fields of items in Responses, and the fields that each type of item uses. Pure.

Source: ``InputItem`` and ``ItemResource`` in OpenAI's document.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec

from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.fates import ignored, kept
from ccproxy.api.common.past_calls import ToolCallParam
from ccproxy.api.common.tools import ToolKind

REFERENCE = "item_reference"
ADDITIONAL_TOOLS = "additional_tools"
SHELLS: Mapping[str, ToolKind] = {
    "local_shell_call": ToolKind.LOCAL_SHELL,
    "shell_call": ToolKind.SHELL,
}
CALLS = ("function_call", "custom_tool_call", *SHELLS)
OUTPUTS = tuple(f"{kind}_output" for kind in CALLS)
_CALLED = ("call_id", "name", "namespace")
# The fields that each type of item uses. Items of other types are not decoded, because
# each provider has its own types.
USED: Mapping[str, Collection[str]] = {
    # A message of chat completions may have calls, or be the result of a call.
    "message": ("role", "content", "tool_calls", "tool_call_id"),
    "function_call": (*_CALLED, "arguments"),
    "custom_tool_call": (*_CALLED, "input"),
    **dict.fromkeys(SHELLS, ("call_id", "action")),
    **dict.fromkeys(OUTPUTS, ("call_id", "output")),
    # `encrypted_content` also contains the text of `content` and `summary`.
    "reasoning": ("encrypted_content", "content", "summary"),
    "compaction": ("encrypted_content",),
    REFERENCE: (),
    # `role` is always `developer`, because only developers may add tools.
    ADDITIONAL_TOOLS: ("role", "tools"),
}


class ItemFields(msgspec.Struct):
    """The fields that are decoded, for all types of items."""

    type: str | None = None
    id: Annotated[str | None, kept("the model knows items by their order")] = None
    role: str | None = None
    content: str | list[ContentPart] | None = None
    # Fields of calls and their results.
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    # A string with the JSON of an object; some clients send the object, or nothing.
    arguments: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b'""'))
    input: str | None = None
    action: dict[str, Any] | None = None
    output: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    # Fields of messages of chat completions.
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: str | None = None
    # A field of reasoning and compaction.
    encrypted_content: str | None = None
    summary: Annotated[object, kept("`encrypted_content` has the thinking")] = None
    status: Annotated[str | None, kept("the model sees whole items only")] = None
    phase: Annotated[object, ignored("the provider has no such label")] = None
    caller: Annotated[object, ignored("only the model calls tools")] = None
    is_async: Annotated[object, ignored("the provider has no such label")] = (
        msgspec.field(default=None, name="async")
    )
    environment: Annotated[object, ignored("your client knows its shell")] = None
    max_output_length: Annotated[object, ignored("outputs are not cut")] = None
    # A field of `additional_tools`.
    tools: list[msgspec.Raw] | None = None

    @property
    def called_id(self) -> str | None:
        """The id of the call; a result of the local shell may have it in ``id``."""
        if self.call_id is None and self.kind == "local_shell_call_output":
            return self.id
        return self.call_id

    @property
    def kind(self) -> str:
        """The item's type; a message or a reference may omit it."""
        if self.type is not None:
            return self.type
        is_reference = self.id is not None and self.role is None
        return REFERENCE if is_reference else "message"
