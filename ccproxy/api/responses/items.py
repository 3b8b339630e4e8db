"""The items that a conversation consists of in Responses. Pure.

An item is kept as it came, completed to what a listing of items has to show; what
is kept is read again by the same decoder, so an item means the same to the model
whether a client sends it or the store.

============================  ================================================
``message``                   text, images and files of one role
``reasoning``                 thinking; native if its seal is there
``function_call``,            a call of a tool; the model knows all of them as
``custom_tool_call``,         calls with JSON arguments
``local_shell_call``,
``shell_call``
``…_output`` of these         its result
``web_search_call``           a search of the model's own; left out
``compaction``                a conversation's summary, sealed
``item_reference``            an item that is kept, by its id
any other                     a hosted tool of another provider; left out, named
============================  ================================================

Source: ``ItemParam`` and ``ItemField`` of Open Responses; ``InputItem`` and
``ItemResource`` of OpenAI.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from attrs import evolve, frozen

from ccproxy.api.common.adjustments import Adjustments
from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.custom_tools import custom_call
from ccproxy.api.common.decoding import decode_json, required
from ccproxy.api.common.prompt import InputMessage, PastThinking
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable, function_call
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import (
    InvalidEncryptedContent,
    InvalidRequest,
    RequestTooLarge,
)
from ccproxy.core.messages import (
    Block,
    redacted_thinking_block,
    thinking_block,
    tool_use_block,
)

# What a client includes to be shown what it carries for us.
SHOW_SEALS = "reasoning.encrypted_content"
_REFERENCE = "item_reference"
# The Messages API takes 32 MB in a request.
_MOST_RESOLVED_BYTES = 32 * 2**20
_SHELLS: Mapping[str, ToolKind] = {
    "local_shell_call": ToolKind.LOCAL_SHELL,
    "shell_call": ToolKind.SHELL,
}
_CALLS = ("function_call", "custom_tool_call", *_SHELLS)
_OUTPUTS = (
    *("function_call_output", "custom_tool_call_output"),
    *("local_shell_call_output", "shell_call_output"),
)
# Those that are left out without a word: what they say is said elsewhere.
_SILENT = ("web_search_call", "reasoning")
# What the model is told where a conversation was compacted.
_SUMMARY = "The conversation before this point was summarized:\n\n{}"


class Unsealer(Protocol):
    """Who opens what clients carry for us."""

    def open(self, sealed: str, at: str) -> Mapping[str, str]:
        """What was sealed; raises `InvalidEncryptedContent`."""


class _ShellOutput(msgspec.Struct):
    """What one command wrote, and how it ended."""

    stdout: str
    stderr: str
    outcome: dict[str, Any]


class ItemFields(msgspec.Struct):
    """What is read of an item, of whatever type."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[ContentPart] | None = None
    # Of calls and their outputs.
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    # A text of JSON; some clients send the object itself, or nothing.
    arguments: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b'""'))
    input: str | None = None
    action: dict[str, Any] | None = None
    output: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    # Of reasoning and compaction.
    encrypted_content: str | None = None
    status: str | None = None

    @property
    def called_id(self) -> str | None:
        """The id of the call: OpenAI's local shell has it in another place."""
        if self.call_id is None and self.kind == "local_shell_call_output":
            return self.id
        return self.call_id

    @property
    def kind(self) -> str:
        """The type; messages and references may come without."""
        if self.type is not None:
            return self.type
        is_reference = self.id is not None and self.role is None
        return _REFERENCE if is_reference else "message"


# Reasoning has contents of its own, which are not what the model takes back.
_decoder = msgspec.json.Decoder(ItemFields)
_result = msgspec.json.Decoder(str | list[ContentPart] | None)
_shell_result = msgspec.json.Decoder(list[_ShellOutput])
_anything = msgspec.json.Decoder(dict[str, Any])


@frozen
class DecodedItem:
    """One item, decoded.

    Attributes:
        at: its path in the request.
        raw: its JSON as it came.
    """

    at: str
    raw: bytes
    fields: ItemFields

    @property
    def wanted_id(self) -> str | None:
        """The id of the kept item that is meant; None: this is the item."""
        match self.fields:
            case ItemFields(kind="item_reference", id=str(identifier)):
                return identifier
            case ItemFields(
                kind="reasoning", id=str(identifier), encrypted_content=None
            ):
                return identifier
        return None


def decode_items(given: str | Sequence[bytes], param: str) -> tuple[DecodedItem, ...]:
    """Decode what a request says.

    Args:
        given: the text of a message of the user, or the JSON of each item.
        param: the field that holds them.

    Raises:
        ClientError: an item that means nothing; with its path.
    """
    if isinstance(given, str):
        raw = encode_json({"type": "message", "role": "user", "content": given})
        return (
            DecodedItem(param, raw, ItemFields("message", role="user", content=given)),
        )
    return tuple(_decode(raw, f"{param}[{n}]") for n, raw in enumerate(given))


def kept_items(documents: Sequence[bytes], param: str) -> tuple[DecodedItem, ...]:
    """Decode what was kept; the field ``param`` is why they are here."""
    return tuple(DecodedItem(param, raw, _decoder.decode(raw)) for raw in documents)


def _decode(raw: bytes, at: str) -> DecodedItem:
    item = DecodedItem(at, raw, decode_json(_decoder, raw, at=at))
    # Fields that nobody reads are kept all the same, so they have to be sound.
    decode_json(_anything, raw, at=at)
    match item.fields.kind:
        case "message":
            required(item.fields.role, f"{at}.role")
        case "function_call" | "custom_tool_call":
            required(item.fields.name, f"{at}.name")
            required(item.fields.call_id, f"{at}.call_id")
        case "local_shell_call" | "shell_call":
            required(item.fields.call_id, f"{at}.call_id")
            required(item.fields.action, f"{at}.action")
        case kind if kind in _OUTPUTS:
            required(item.fields.called_id, f"{at}.call_id")
            _output(item)
        case "item_reference":
            required(item.fields.id, f"{at}.id")
        case "compaction":
            required(item.fields.encrypted_content, f"{at}.encrypted_content")
    return item


def resolve(
    items: Sequence[DecodedItem], kept: Mapping[str, bytes]
) -> tuple[DecodedItem, ...]:
    """Put what is kept in the place of what refers to it.

    Raises:
        InvalidRequest: a reference to what is not kept.
        RequestTooLarge: it comes to more than any model is sent.
    """
    resolved = tuple(_resolved(item, kept) for item in items)
    # A few bytes can refer to much, and again and again.
    if sum(len(item.raw) for item in resolved) > _MOST_RESOLVED_BYTES:
        raise RequestTooLarge(
            f"with what it refers to, the input is more than {_MOST_RESOLVED_BYTES} "
            "bytes; send less"
        )
    return resolved


def _resolved(item: DecodedItem, kept: Mapping[str, bytes]) -> DecodedItem:
    found = kept.get(item.wanted_id) if item.wanted_id is not None else None
    if found is not None:
        return evolve(item, raw=found, fields=_decoder.decode(found))
    if item.fields.kind == _REFERENCE:
        raise InvalidRequest(
            f"`{item.at}`: there is no item {item.fields.id!r} here; it was not kept "
            "(`store: false`), is deleted, or belongs to another server: send the item "
            "itself",
            param=f"{item.at}.id",
        )
    return item


def input_messages(
    items: Sequence[DecodedItem],
    unsealer: Unsealer,
    tools: ToolTable,
    adjustments: Adjustments,
) -> list[InputMessage]:
    """What the items say, in order.

    Args:
        items: all of them.
        unsealer: opens what is sealed.
        tools: the names that calls have for the API.
        adjustments: what cannot be told to the model is noted there.

    Raises:
        ClientError: an item that cannot be told to the model.
    """
    reader = _Reader(unsealer, tools, adjustments)
    told = [reader.read(item) for item in items]
    return [message for message in told if message is not None]


@frozen
class _Reader:
    """Reads items as messages."""

    unsealer: Unsealer
    tools: ToolTable
    adjustments: Adjustments

    def read(self, item: DecodedItem) -> InputMessage | None:
        """What an item says; None: nothing that the model could be told."""
        at, fields = item.at, item.fields
        match fields.kind:
            case "message":
                # A bare `input` is the text itself.
                field = "content" if at.endswith("]") else ""
                role = fields.role or ""
                return InputMessage(at, role, fields.content, field=field)
            case kind if kind in _CALLS:
                # Of one that was cut off nothing is there that could have a result.
                if fields.status == "incomplete":
                    self.adjustments.ignore(at)
                    return None
                return InputMessage(at, "assistant", None, (self._call(item),))
            case kind if kind in _OUTPUTS:
                told = _output(item)
                called = fields.called_id
                return InputMessage(at, "tool", told, result_of=called, field="output")
            case "compaction":
                where = f"{at}.encrypted_content"
                opened = self.unsealer.open(fields.encrypted_content or "", where)
                summary = _SUMMARY.format(opened.get("summary", ""))
                return InputMessage(at, "user", summary)
            case "reasoning" if fields.encrypted_content:
                thinking = self._thinking(fields.encrypted_content, at)
                if thinking is None:
                    return None
                return InputMessage(at, "assistant", None, thinking=(thinking,))
            case kind if kind not in _SILENT:
                self.adjustments.ignore(at)
        # Thinking without its signature cannot be given back.
        return None

    def _call(self, item: DecodedItem) -> Block:
        fields, at = item.fields, item.at
        identifier = fields.call_id or ""
        match fields.kind:
            case "local_shell_call" | "shell_call":
                kind = _SHELLS[fields.kind]
                given = (fields.action or {}).items()
                # What was never said is null there, and the type says nothing.
                action = {k: v for k, v in given if v is not None and k != "type"}
                name = self.tools.api_name(ToolIdentity(kind.value, kind))
                renamed = {"id": "call_id", "input": "action"}
                return tool_use_block(identifier, name, action, at, renamed)
            case "custom_tool_call":
                identity = ToolIdentity(
                    fields.name or "", ToolKind.CUSTOM, fields.namespace
                )
                name = self.tools.api_name(identity)
                renamed = {"id": "call_id"}
                return custom_call(identifier, name, fields.input or "", at, renamed)
        name = self.tools.api_name(
            ToolIdentity(fields.name or "", namespace=fields.namespace)
        )
        about = (identifier, name, fields.arguments, at, self.adjustments)
        return function_call(*about, {"id": "call_id", "input": "arguments"})

    def _thinking(self, sealed: str, at: str) -> PastThinking | None:
        where = f"{at}.encrypted_content"
        try:
            opened = self.unsealer.open(sealed, where)
        except InvalidEncryptedContent:
            # Another provider's, or of a proxy whose key is gone.
            self.adjustments.ignore(where)
            return None
        about = opened.get("model", ""), opened.get("prefix", "")
        if "data" in opened:
            return PastThinking(redacted_thinking_block(opened["data"], at), *about)
        thinking, signature = opened.get("thinking", ""), opened.get("signature", "")
        return PastThinking(thinking_block(thinking, signature, at), *about)


def _output(item: DecodedItem) -> str | list[ContentPart] | None:
    raw, at = bytes(item.fields.output), f"{item.at}.output"
    if item.fields.kind != "shell_call_output":
        result: str | list[ContentPart] | None = decode_json(_result, raw, at=at)
        return result
    told = decode_json(_shell_result, raw, at=at)
    return encode_json(told).decode()


def has_seals(items: Sequence[DecodedItem]) -> bool:
    """Whether any of them has to be opened."""
    return any(item.fields.encrypted_content for item in items)
