"""What is kept, as clients are shown it. Pure.

Source: ``Response``, ``ResponseItemList``, ``ConversationItemList`` and what the
delete routes answer in OpenAI's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ccproxy.api.responses.event_encoder import EventEncoder
from ccproxy.api.responses.output import without_seal
from ccproxy.api.responses.resource import failed
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError, ShuttingDown
from ccproxy.web.sse import WireEvent

_STOPPED = "the proxy stopped before the response was complete; ask again"


def kept_response(response: Mapping[str, Any], output: Sequence[Any]) -> bytes:
    """A response to keep: with the seals that only some clients are shown."""
    return encode_json({**response, "output": output})


def shown_response(document: bytes, status: str, *, shows_seals: bool) -> bytes:
    """A kept response as it is now.

    Args:
        document: what was kept of it.
        status: how it is; it may have come to an end without its server.
        shows_seals: with the sealed thinking.
    """
    response: dict[str, Any] = msgspec.json.decode(document)
    if status != response["status"]:
        # Only its server could have written an end, and it had no time to.
        response["status"] = status
        if status == "failed":
            response = dict(failed(response, ShuttingDown(_STOPPED)))
    if not shows_seals:
        response["output"] = [without_seal(item) for item in response["output"]]
    return encode_json(response)


class _Kind(msgspec.Struct):
    type: str


_decode_kind = msgspec.json.Decoder(_Kind).decode


def encode_events(events: Sequence[WireEvent]) -> bytes:
    """A stream's events as they are kept: one line of JSON each."""
    return b"\n".join([event.data for event in events])


def decode_events(kept: bytes) -> list[WireEvent]:
    """The events of a stream that was kept."""
    return [WireEvent(_decode_kind(line).type, line) for line in kept.splitlines()]


def end_of_stream(
    response: bytes, after: int, error: CCProxyError | None = None
) -> list[WireEvent]:
    """The rest of the stream of a response that ended without one.

    Args:
        response: as `shown_response` has it.
        after: the last event that the client has; -1 for none.
        error: why it cannot be told how it ended.
    """
    document: Mapping[str, Any] = msgspec.json.decode(response)
    encoder = EventEncoder(after + 1)
    told = []
    if after < 0:
        created = {**document, "status": "in_progress", "error": None}
        told.append(encoder.event("response.created", response=created))
    if error is not None:
        document = failed(document, error)
    # There is no event of a cancelled response of its own.
    told.append(encoder.event("response.failed", response=document))
    return told


def item_list(
    items: Sequence[tuple[str, bytes]], *, has_more: bool, shows_seals: bool
) -> bytes:
    """A page of items, each with its id."""
    identifiers = [identifier for identifier, _ in items]
    return encode_json(
        {
            "object": "list",
            "data": [shown_item(raw, shows_seals=shows_seals) for _, raw in items],
            "has_more": has_more,
            "first_id": identifiers[0] if items else "",
            "last_id": identifiers[-1] if items else "",
        }
    )


def shown_item(document: bytes, *, shows_seals: bool) -> dict[str, Any]:
    """One kept item."""
    item: dict[str, Any] = msgspec.json.decode(document)
    return item if shows_seals else without_seal(item)


def deleted(identifier: str, kind: str) -> bytes:
    """That something is kept no longer.

    Args:
        identifier: its id.
        kind: ``response``, or ``conversation.deleted``.
    """
    return encode_json({"id": identifier, "object": kind, "deleted": True})
