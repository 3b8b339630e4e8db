"""Decodes the items of a conversation in Responses. Pure.

Items of a request and stored items are decoded in the same way.

Source: ``ItemParam`` and ``ItemField`` of Open Responses; ``InputItem`` and
``ItemResource`` of OpenAI.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import evolve, frozen

from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.decoding import decode_json, required
from ccproxy.api.responses.input.item_fields import (
    ADDITIONAL_TOOLS,
    OUTPUTS,
    REFERENCE,
    USED,
    ItemFields,
)
from ccproxy.core.encoding import encode_json, exact_decoder
from ccproxy.core.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestTooLarge,
)

# The most items of a conversation. An item takes many objects in memory, and Python's
# garbage collector blocks the reactor while it visits them.
MOST_ITEMS = 15_000
# The value of `include` with which a client asks for encrypted content.
INCLUDE_ENCRYPTED = "reasoning.encrypted_content"
# The value of `include` with which a client asks for the pages that a search has found.
INCLUDE_SOURCES = "web_search_call.action.sources"
# The limit of a request of the Messages API.
_MOST_RESOLVED_BYTES = 32 * 2**20
# Items of these types may have other shapes, because other providers use them, too.
_SEALED = ("reasoning", "compaction")


class _ShellOutput(msgspec.Struct):
    """The output of one command."""

    stdout: str
    stderr: str
    outcome: dict[str, Any]


class _Kind(msgspec.Struct):
    """Fields that are decoded before all others."""

    type: str | None = None
    id: object = None


_kind_decoder = msgspec.json.Decoder(_Kind)
_decoder = exact_decoder(ItemFields)
_result = msgspec.json.Decoder(str | list[ContentPart] | None)
_shell_result = exact_decoder(list[_ShellOutput])
_anything = exact_decoder(dict[str, Any])


@frozen
class DecodedItem:
    """A decoded item.

    Attributes:
        at: the path of the item, or of the field that refers to it, in the request.
        raw: the item's JSON.
        fields: the decoded fields.
        is_own: whether the request contains the item; False: it was stored.
    """

    at: str
    raw: bytes
    fields: ItemFields
    is_own: bool = True

    @property
    def referenced_id(self) -> str | None:
        """The id of a stored item that replaces this item; None: there is none.

        Reasoning without encrypted content is replaced, too.
        """
        match self.fields:
            case ItemFields(kind="item_reference", id=str(identifier)):
                return identifier
            case ItemFields(
                kind="reasoning", id=str(identifier), encrypted_content=None
            ):
                return identifier
        return None


def check_number(count: int, param: str) -> None:
    """Check the number of items of a conversation.

    Raises:
        ContextLengthExceeded: there are more than `MOST_ITEMS`.
    """
    if count > MOST_ITEMS:
        raise ContextLengthExceeded(
            f"the conversation has {count:,} items, more than {MOST_ITEMS:,}; begin a "
            "new conversation, or compact this one",
            param=param,
        )


def decode_items(given: str | Sequence[bytes], param: str) -> tuple[DecodedItem, ...]:
    """Decode the items of a request.

    Args:
        given: the text of a message of the user, or the JSON of each item.
        param: the request's field with the items.

    Raises:
        ClientError: an item lacks a field, or a field has a wrong type.
    """
    if isinstance(given, str):
        raw = encode_json({"type": "message", "role": "user", "content": given})
        return (
            DecodedItem(param, raw, ItemFields("message", role="user", content=given)),
        )
    return tuple(_decode(raw, f"{param}[{n}]") for n, raw in enumerate(given))


def additional_tools(items: Sequence[DecodedItem]) -> Mapping[str, bytes]:
    """The JSON of the tools that items of a request add, by the paths of the tools."""
    return {
        f"{item.at}.tools[{n}]": bytes(raw)
        for item in items
        if item.fields.kind == ADDITIONAL_TOOLS
        for n, raw in enumerate(item.fields.tools or ())
    }


def kept_items(documents: Sequence[bytes], param: str) -> tuple[DecodedItem, ...]:
    """Decode stored items.

    Args:
        documents: the JSON of each item.
        param: the request's field that refers to them.
    """
    return tuple(
        DecodedItem(param, raw, _fields(raw, param), is_own=False) for raw in documents
    )


def _fields(raw: bytes, at: str) -> ItemFields:
    about = decode_json(_kind_decoder, raw, at=at)
    if about.type is not None and about.type not in USED:
        return ItemFields(about.type, about.id if isinstance(about.id, str) else None)
    if about.type in _SEALED:
        try:
            return _decoder.decode(raw)
        except msgspec.ValidationError:
            return ItemFields(about.type)
    return decode_json(_decoder, raw, at=at)


def _decode(raw: bytes, at: str) -> DecodedItem:
    item = DecodedItem(at, raw, _fields(raw, at))
    # All fields are stored, so those that are not decoded must be valid JSON, too.
    decode_json(_anything, raw, at=at)
    match item.fields.kind:
        case "message":
            required(item.fields.role, f"{at}.role")
        case "function_call" | "custom_tool_call":
            required(item.fields.name, f"{at}.name")
        case "local_shell_call" | "shell_call":
            required(item.fields.action, f"{at}.action")
        case kind if kind in OUTPUTS:
            output_of(item)
        case "item_reference":
            required(item.fields.id, f"{at}.id")
        case "additional_tools":
            required(item.fields.tools, f"{at}.tools")
    return item


def resolve(
    items: Sequence[DecodedItem], kept: Mapping[str, bytes]
) -> tuple[DecodedItem, ...]:
    """Replace references by the stored items.

    Args:
        items: the items of the request.
        kept: the JSON of the stored items by their ids.

    Raises:
        InvalidRequest: an item is not stored.
        RequestTooLarge: the result exceeds the limit of the Messages API.
    """
    resolved = tuple(_resolved(item, kept) for item in items)
    # A small request can refer to large items, and to an item many times.
    if sum(len(item.raw) for item in resolved) > _MOST_RESOLVED_BYTES:
        raise RequestTooLarge(
            "the input, with the stored items that it refers to, has more than "
            f"{_MOST_RESOLVED_BYTES} bytes; send less"
        )
    return resolved


def _resolved(item: DecodedItem, kept: Mapping[str, bytes]) -> DecodedItem:
    found = kept.get(item.referenced_id) if item.referenced_id is not None else None
    if found is not None:
        return evolve(item, raw=found, fields=_fields(found, item.at), is_own=False)
    if item.fields.kind == REFERENCE:
        raise InvalidRequest(
            f"`{item.at}`: there is no item {item.fields.id!r} here; it was not stored "
            "(`store: false`), was deleted, or belongs to another server: send the "
            "item itself",
            param=f"{item.at}.id",
        )
    return item


def output_of(item: DecodedItem) -> str | list[ContentPart] | None:
    """The output of a call; the outputs of several commands are one text."""
    raw, at = bytes(item.fields.output), f"{item.at}.output"
    if item.fields.kind != "shell_call_output":
        result: str | list[ContentPart] | None = decode_json(_result, raw, at=at)
        return result
    results = decode_json(_shell_result, raw, at=at)
    return encode_json(results).decode()


def has_encrypted_content(items: Sequence[DecodedItem]) -> bool:
    """Whether any item has encrypted content."""
    return any(item.fields.encrypted_content for item in items)
