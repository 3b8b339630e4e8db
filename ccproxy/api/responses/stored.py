"""Encodes stored responses and items for clients, and events for the store. Pure.

Source: ``Response``, ``ResponseItemList``, ``ConversationItemList`` and what the
delete routes answer in OpenAI's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ccproxy.api.responses.event_encoder import EventEncoder
from ccproxy.api.responses.output import without_encrypted_content
from ccproxy.api.responses.resource import failed
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError, ShuttingDown
from ccproxy.web.sse import WireEvent

_STOPPED = "the proxy stopped before the response was complete; ask again"


def kept_response(response: Mapping[str, Any], output: Sequence[Any]) -> bytes:
    """The document to store: with encrypted content, which not all clients get."""
    return encode_json({**response, "output": output})


def shown_response(document: bytes, status: str, *, shows_encrypted: bool) -> bytes:
    """A stored response as clients see it.

    Args:
        document: the stored document.
        status: the current status, which may differ from the document's.
        shows_encrypted: whether to show encrypted content.
    """
    response: dict[str, Any] = msgspec.json.decode(document)
    if status != response["status"]:
        # Its server has stopped without storing the end.
        response["status"] = status
        if status == "failed":
            response = dict(failed(response, ShuttingDown(_STOPPED)))
    if not shows_encrypted:
        response["output"] = [
            without_encrypted_content(item) for item in response["output"]
        ]
    return encode_json(response)


class _Kind(msgspec.Struct):
    type: str


_decode_kind = msgspec.json.Decoder(_Kind).decode


def encode_events(events: Sequence[WireEvent]) -> bytes:
    """A stream's events as they are stored: one line of JSON each."""
    return b"\n".join([event.data for event in events])


def decode_events(kept: bytes) -> list[WireEvent]:
    """The events of a stored stream."""
    return [WireEvent(_decode_kind(line).type, line) for line in kept.splitlines()]


def end_of_stream(
    response: bytes, after: int, error: CCProxyError | None = None
) -> list[WireEvent]:
    """The end of the stream of a response whose events are not stored.

    Args:
        response: as `shown_response` returns it.
        after: the number of the last event that the client has; -1: none.
        error: why the real end is not known.
    """
    document: Mapping[str, Any] = msgspec.json.decode(response)
    encoder = EventEncoder(after + 1)
    told = []
    if after < 0:
        created = {**document, "status": "in_progress", "error": None}
        told.append(encoder.event("response.created", response=created))
    if error is not None:
        document = failed(document, error)
    # The documents have no event for a cancelled response.
    told.append(encoder.event("response.failed", response=document))
    return told


def item_list(
    items: Sequence[tuple[str, bytes]], *, has_more: bool, shows_encrypted: bool
) -> bytes:
    """A page of items, each with its id."""
    identifiers = [identifier for identifier, _ in items]
    return encode_json(
        {
            "object": "list",
            "data": [
                shown_item(raw, shows_encrypted=shows_encrypted) for _, raw in items
            ],
            "has_more": has_more,
            "first_id": identifiers[0] if items else "",
            "last_id": identifiers[-1] if items else "",
        }
    )


def shown_item(document: bytes, *, shows_encrypted: bool) -> dict[str, Any]:
    """One stored item as clients see it."""
    item: dict[str, Any] = msgspec.json.decode(document)
    return item if shows_encrypted else without_encrypted_content(item)


def deleted(identifier: str, kind: str) -> bytes:
    """The answer to a deletion.

    Args:
        identifier: its id.
        kind: ``response``, or ``conversation.deleted``.
    """
    return encode_json({"id": identifier, "object": kind, "deleted": True})
