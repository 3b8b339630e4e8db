"""Encodes responses and items for the store, and stored ones for clients. Pure.

Fields that a client may omit, but that OpenAI's document requires in responses, are
added to items before they are stored.

Source: ``Response``, ``ResponseItemList``, ``ConversationItemList``, ``ItemResource``,
``ItemField`` and the answers to deletions in OpenAI's document and Open Responses.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.api.common.tools import text_of
from ccproxy.api.responses.input.items import DecodedItem
from ccproxy.api.responses.output.resource import (
    EventEncoder,
    Resource,
    failure_fields,
    without_encrypted_content,
)
from ccproxy.core.encoding import WireEvent, decode_json_exactly, encode_json
from ccproxy.core.errors import CCProxyError, ShuttingDown

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "web_search_call": "ws",
    "compaction": "cmp",
}
# The id prefix of items whose type is not in `_PREFIXES`.
_OTHER_PREFIX = "item"
_STOPPED = "the proxy stopped before the response was complete; try again"


class _Kind(msgspec.Struct):
    type: str


_decode_kind = msgspec.json.Decoder(_Kind).decode


@frozen
class EncodedItems:
    """Items for the store.

    Attributes:
        pairs: each item's id and its JSON.
        renamed: the paths of the request's ids that were replaced.
    """

    pairs: tuple[tuple[str, bytes], ...] = ()
    renamed: tuple[str, ...] = ()


def documents(
    items: Sequence[DecodedItem], identifier: str, taken: Iterable[str] = ()
) -> EncodedItems:
    """Encode items for the store.

    Args:
        items: the items; references must be resolved.
        identifier: a part of the new ids of items without a valid id.
        taken: the ids of earlier items of the conversation, which are not reused.
    """
    kept: list[tuple[str, bytes]] = []
    renamed: list[str] = []
    seen = set(taken)
    for index, item in enumerate(items):
        own = item.fields.id or ""
        prefix = _PREFIXES.get(item.fields.kind, _OTHER_PREFIX)
        if own in seen or not _ID.fullmatch(own):
            if item.is_own and item.fields.id is not None:
                renamed.append(f"{item.at}.id")
            own = f"{prefix}_{identifier}i{index:04x}"
        seen.add(own)
        kept.append((own, encode_json(_completed(item, own))))
    return EncodedItems(tuple(kept), tuple(renamed))


def _completed(item: DecodedItem, identifier: str) -> dict[str, Any]:
    kind = item.fields.kind
    # For clients, null means absent. OpenAI's document forbids null in some fields.
    given = {k: v for k, v in decode_json_exactly(item.raw).items() if v is not None}
    given |= {"type": kind, "id": identifier}
    if kind not in ("reasoning", "compaction"):
        given.setdefault("status", "completed")
    match kind:
        case "message":
            is_assistant = given["role"] == "assistant"
            given["content"] = _parts(given.get("content"), is_assistant)
        case "function_call":
            has_some = "arguments" in given
            given["arguments"] = text_of(item.fields.arguments) if has_some else ""
        case "custom_tool_call":
            given.setdefault("input", "")
        case "local_shell_call":
            given["action"] = {"type": "exec", "env": {}, **given["action"]}
        case "shell_call":
            limits = {"timeout_ms": None, "max_output_length": None}
            given["action"] = {**limits, **given["action"]}
            given.setdefault("environment", {"type": "local"})
        case "shell_call_output":
            given.setdefault("max_output_length", None)
        case "function_call_output" | "custom_tool_call_output":
            given["output"] = _result(given.get("output"))
        case "local_shell_call_output":
            given["call_id"] = item.fields.called_id
            given.setdefault("output", "")
        case "reasoning":
            given["summary"] = given.get("summary") or []
    return given


def _result(output: str | list[dict[str, Any]] | None) -> str | list[dict[str, Any]]:
    if output is None or isinstance(output, str):
        return output or ""
    return [_part(part, is_assistant=False) for part in output]


def _parts(
    content: str | list[dict[str, Any]] | None, is_assistant: bool
) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return [_part(part, is_assistant=is_assistant) for part in content]


def _part(part: dict[str, Any], *, is_assistant: bool) -> dict[str, Any]:
    part = {name: value for name, value in part.items() if value is not None}
    match part["type"]:
        case "text" | "input_text" | "output_text" if is_assistant:
            extra: dict[str, Any] = {"annotations": [], "logprobs": []}
            return {**extra, **part, "type": "output_text"}
        case "text" | "output_text":
            return {"text": "", **part, "type": "input_text"}
        case "input_image":
            return {"detail": "auto", **part}
    return part


def kept_response(response: Resource, output: Sequence[Any]) -> bytes:
    """Encode a response for the store; ``output`` has the encrypted content."""
    return response.changed({"output": output}).encode()


def shown_response(document: bytes, status: str, *, shows_encrypted: bool) -> bytes:
    """Encode a stored response for a client.

    Args:
        document: the stored document.
        status: the current status, which may differ from the document's.
        shows_encrypted: whether to show encrypted content.
    """
    response: dict[str, Any] = decode_json_exactly(document)
    if status != response["status"]:
        # The server that ran the response stopped before it stored the end.
        response["status"] = status
        if status == "failed":
            response |= failure_fields(ShuttingDown(_STOPPED))
    if not shows_encrypted:
        response["output"] = [
            without_encrypted_content(item) for item in response["output"]
        ]
    return encode_json(response)


def decode_events(kept: bytes) -> list[WireEvent]:
    """Decode the events of a stored stream, which are lines of JSON."""
    return [WireEvent(_decode_kind(line).type, line) for line in kept.splitlines()]


def end_of_stream(
    response: bytes, after: int, error: CCProxyError | None = None
) -> list[WireEvent]:
    """Make the end of the stream of a response whose events are not stored.

    Args:
        response: the result of `shown_response`.
        after: the number of the last event that the client has; -1: none.
        error: the error of the store; None: the response itself has the reason.
    """
    document: Mapping[str, Any] = decode_json_exactly(response)
    encoder = EventEncoder(after + 1)
    events: list[WireEvent] = []
    if after < 0:
        created = {**document, "status": "in_progress", "error": None}
        events += encoder.status_events([encode_json(created)], "created")
    if error is not None:
        document = {**document, **failure_fields(error)}
    # OpenAI's document has no event for a cancelled response.
    return [*events, *encoder.status_events([encode_json(document)], "failed")]


def item_list(
    items: Sequence[tuple[str, bytes]], *, has_more: bool, shows_encrypted: bool
) -> bytes:
    """Encode a page of stored items for a client.

    Args:
        items: pairs of an item's id and its JSON.
        has_more: whether there are items after the page.
        shows_encrypted: whether to show encrypted content.
    """
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
    """Decode a stored item for a client."""
    item: dict[str, Any] = decode_json_exactly(document)
    return item if shows_encrypted else without_encrypted_content(item)


def deleted(identifier: str, kind: str) -> bytes:
    """Encode the result of a deletion.

    Args:
        identifier: the id of the deleted object.
        kind: the result's ``object``: ``response``, or ``conversation.deleted``.
    """
    return encode_json({"id": identifier, "object": kind, "deleted": True})
