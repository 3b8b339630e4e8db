"""Decodes requests to ``/conversations``, and encodes conversations. Pure.

Source: ``CreateConversationBody``, ``UpdateConversationBody``,
``ConversationResource`` in OpenAI's document.
"""

from collections.abc import Mapping

import msgspec

from ccproxy.api.common.decoding import decode_json
from ccproxy.api.common.metadata import checked_metadata
from ccproxy.api.responses.input.items import DecodedItem, decode_items
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import InvalidRequest

# The limit of OpenAI's document.
_MOST_ITEMS = 20


class NewConversation(msgspec.Struct):
    """The body of a request that creates a conversation."""

    metadata: dict[str, str] | None = None
    items: list[msgspec.Raw] | None = None


class ConversationUpdate(msgspec.Struct):
    """The body of a request that replaces the metadata."""

    metadata: dict[str, str] | None


class NewItems(msgspec.Struct):
    """The body of a request that adds items."""

    items: list[msgspec.Raw]


_create = msgspec.json.Decoder(NewConversation)
_update = msgspec.json.Decoder(ConversationUpdate)
_items = msgspec.json.Decoder(NewItems)


def decode_conversation(
    body: bytes,
) -> tuple[Mapping[str, str], tuple[DecodedItem, ...]]:
    """Decode the metadata and the items of a new conversation.

    Raises:
        ClientError: a field is invalid; ``param`` is its path.
    """
    # OpenAI's SDKs send no body for an empty conversation.
    request = decode_json(_create, body) if body.strip() else NewConversation()
    items = [bytes(raw) for raw in request.items or ()]
    return checked_metadata(request.metadata), _bounded(items)


def decode_metadata(body: bytes) -> Mapping[str, str]:
    """Decode new metadata.

    Raises:
        ClientError: a field is invalid; ``param`` is its path.
    """
    return checked_metadata(decode_json(_update, body).metadata)


def decode_new_items(body: bytes) -> tuple[DecodedItem, ...]:
    """Decode new items.

    Raises:
        ClientError: a field is invalid; ``param`` is its path.
    """
    return _bounded([bytes(raw) for raw in decode_json(_items, body).items])


def _bounded(items: list[bytes]) -> tuple[DecodedItem, ...]:
    if len(items) > _MOST_ITEMS:
        raise InvalidRequest(
            f"`items` has {len(items)} items; send at most {_MOST_ITEMS} at a time",
            param="items",
        )
    return decode_items(items, "items")


def conversation_document(
    identifier: str, created_seconds: int, metadata: Mapping[str, str]
) -> bytes:
    """Encode a conversation without its items."""
    return encode_json(
        {
            "id": identifier,
            "object": "conversation",
            "created_at": created_seconds,
            "metadata": metadata,
        }
    )
