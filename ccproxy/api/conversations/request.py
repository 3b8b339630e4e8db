"""``/conversations``: requests, and what a conversation looks like. Pure.

Source: ``CreateConversationBody``, ``UpdateConversationBody``,
``ConversationResource`` in OpenAI's document.
"""

from collections.abc import Mapping

import msgspec

from ccproxy.api.common.decoding import decode_json
from ccproxy.api.responses.items import DecodedItem, decode_items
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import InvalidRequest

# What one request may bring.
_MOST_ITEMS = 20
_MOST_METADATA = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


class NewConversation(msgspec.Struct):
    """What a new conversation begins with."""

    metadata: dict[str, str] | None = None
    items: list[msgspec.Raw] | None = None


class ConversationUpdate(msgspec.Struct):
    """What takes the place of the metadata that there was."""

    metadata: dict[str, str] | None


class NewItems(msgspec.Struct):
    """What is added to a conversation."""

    items: list[msgspec.Raw]


_create = msgspec.json.Decoder(NewConversation)
_update = msgspec.json.Decoder(ConversationUpdate)
_items = msgspec.json.Decoder(NewItems)


def decode_conversation(
    body: bytes,
) -> tuple[Mapping[str, str], tuple[DecodedItem, ...]]:
    """What a new conversation is to hold: metadata and first items.

    Raises:
        ClientError: with the path of the offending field.
    """
    # OpenAI takes a conversation without anything, and its SDKs send no body then.
    request = decode_json(_create, body) if body.strip() else NewConversation()
    items = [bytes(raw) for raw in request.items or ()]
    return checked_metadata(request.metadata), _bounded(items)


def decode_metadata(body: bytes) -> Mapping[str, str]:
    """The metadata that a conversation is to have from now on.

    Raises:
        ClientError: with the path of the offending field.
    """
    return checked_metadata(decode_json(_update, body).metadata)


def decode_new_items(body: bytes) -> tuple[DecodedItem, ...]:
    """The items that are to be added.

    Raises:
        ClientError: with the path of the offending field.
    """
    return _bounded([bytes(raw) for raw in decode_json(_items, body).items])


def _bounded(items: list[bytes]) -> tuple[DecodedItem, ...]:
    if len(items) > _MOST_ITEMS:
        raise InvalidRequest(
            f"`items` has {len(items)} items; send at most {_MOST_ITEMS} at a time",
            param="items",
        )
    return decode_items(items, "items")


def checked_metadata(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """Metadata within OpenAI's bounds.

    Raises:
        InvalidRequest: it is more than that.
    """
    metadata = given or {}
    if len(metadata) > _MOST_METADATA:
        raise InvalidRequest(
            f"`metadata` may have {_MOST_METADATA} entries at most", param="metadata"
        )
    for key, value in metadata.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise InvalidRequest(
                f"`metadata`: keys are at most {_LONGEST_KEY} characters long, values "
                f"{_LONGEST_VALUE}",
                param="metadata",
            )
    return metadata


def conversation_document(
    identifier: str, created_seconds: int, metadata: Mapping[str, str]
) -> bytes:
    """A conversation, without its items."""
    return encode_json(
        {
            "id": identifier,
            "object": "conversation",
            "created_at": created_seconds,
            "metadata": metadata,
        }
    )
