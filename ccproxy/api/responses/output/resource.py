"""The documents of a response and of its items, and the events about them. Pure.

A response always has all of its fields. `ccproxy.api.responses.output.tool_calls`
encodes calls. An event's ``event:`` equals its ``type``, and its ``sequence_number`` is
its index in the list of all events (Open Responses, "Streaming").

Source: ``ResponseResource``, ``Message`` and ``ReasoningBody`` of Open Responses;
``Response``, ``OutputMessage`` and ``ReasoningItem`` of OpenAI.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from attrs import frozen

from ccproxy.api.responses.input.echo import Echo
from ccproxy.core.encoding import TEXT, WireEvent, encode_json, halves_around_text
from ccproxy.core.errors import (
    CCProxyError,
    ClientError,
    InsufficientQuota,
    RateLimited,
)
from ccproxy.core.stream import Finished, FinishReason, Usage

_INCOMPLETE: Mapping[FinishReason, str] = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.REFUSAL: "content_filter",
}
_NO_REASONING = {"effort": None, "summary": None}


@frozen
class Resource:
    """A response.

    Attributes:
        fields: its fields, except for those that repeat the request.
        echo: the JSON of the fields that repeat the request, without braces.
    """

    fields: Mapping[str, Any]
    echo: bytes

    @property
    def status(self) -> str:
        """The status of the response."""
        return str(self.fields["status"])

    @property
    def end_event(self) -> str:
        """The name of the event that ends the response, without ``response.``."""
        # OpenAI's document has no event for a cancelled response.
        return self.status.replace("cancelled", "failed")

    def changed(self, fields: Mapping[str, Any]) -> "Resource":
        """The response with other values of some fields."""
        return Resource({**self.fields, **fields}, self.echo)

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The JSON of the response, in pieces."""
        # The echo can have megabytes. Encoding or copying it blocks the reactor.
        return (encode_json(self.fields)[:-1], b",", self.echo, b"}")

    def encode(self) -> bytes:
        """Encode the response."""
        return b"".join(self.pieces)


def resource(
    *,
    identifier: str,
    created_at: int,
    status: str,
    model: str,
    output: Sequence[dict[str, Any]],
    echo: Echo,
) -> Resource:
    """Make a response whose answer has not ended.

    Args:
        identifier: a part of the response's id.
        created_at: the Unix time, in seconds.
        status: the status.
        model: the full id of the model.
        output: the items so far.
        echo: the fields of the request that the response repeats.
    """
    reasoning = {"effort": echo.effort, "summary": echo.summary}
    conversation = echo.conversation_id
    fields = {
        "id": response_id(identifier),
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": status,
        "incomplete_details": None,
        "model": model,
        "previous_response_id": echo.previous_response_id,
        "output": list(output),
        "error": None,
        "usage": None,
        "store": echo.store,
        "background": echo.background,
        "reasoning": None if reasoning == _NO_REASONING else reasoning,
        **({} if conversation is None else {"conversation": {"id": conversation}}),
    }
    return Resource(fields, echo.json)


class InputTokens(msgspec.Struct):
    """The answer to ``POST /responses/input_tokens``."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


def response_id(identifier: str) -> str:
    """The id of a response: ``resp_`` and the identifier."""
    return f"resp_{identifier}"


def status_of(end: Finished) -> str:
    """The status of a response after the end of its answer."""
    return "incomplete" if end.reason in _INCOMPLETE else "completed"


def end_fields(end: Finished, now_seconds: int) -> Mapping[str, Any]:
    """The fields of a response that change at its end, except for its status."""
    reason = _INCOMPLETE.get(end.reason)
    return {
        "usage": usage_of(end.usage),
        "completed_at": now_seconds if reason is None else None,
        "incomplete_details": None if reason is None else {"reason": reason},
    }


def failure_fields(error: CCProxyError) -> Mapping[str, Any]:
    """The fields of a response that change when it fails."""
    return {
        "status": "failed",
        "completed_at": None,
        "incomplete_details": None,
        "error": {"code": error_code(error), "message": error.message},
    }


def error_code(error: CCProxyError) -> str:
    """The code for an error, from OpenAI's list ``ResponseErrorCode``."""
    match error:
        case RateLimited() | InsufficientQuota():
            return "rate_limit_exceeded"
        case ClientError():
            return "invalid_prompt"
    return "server_error"


def usage_of(usage: Usage) -> dict[str, Any]:
    """Convert token counts to the ``usage`` of Responses."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


@frozen(kw_only=True)
class OutputPart:
    """A kind of output item that has one part with text, and the names of its events.

    Attributes:
        prefix: the prefix of the item's id.
        kind: the type of the part.
        field: the name of the part's field with the text.
        index: the field of an event that has the position of the part in its item.
        events: ``output_text`` in ``response.output_text.delta``: the events about the
            text.
        part: ``content_part`` in ``response.content_part.added``: the events about the
            part.
        extra: other fields of the delta events.
    """

    prefix: str
    kind: str
    field: str = "text"
    index: str
    events: str
    part: str
    extra: dict[str, Any]

    @property
    def delta(self) -> str:
        """The name of the event for a piece of the text."""
        return f"response.{self.events}.delta"

    @property
    def text_done(self) -> str:
        """The name of the event for the whole text."""
        return f"response.{self.events}.done"

    @property
    def added(self) -> str:
        """The name of the event that begins the part."""
        return f"response.{self.part}.added"

    @property
    def done(self) -> str:
        """The name of the event that ends the part."""
        return f"response.{self.part}.done"

    def content(self, text: str) -> dict[str, Any]:
        """The item's part with a text."""
        part = {"type": self.kind, self.field: text}
        return {**part, "annotations": [], "logprobs": []} if self is MESSAGE else part

    def ended(
        self,
        encoder: "EventEncoder",
        place: Mapping[str, Any],
        content: Mapping[str, Any],
    ) -> list[WireEvent]:
        """Encode the end of the part, before its item is done.

        Args:
            encoder: numbers and encodes the events.
            place: the id and the index of the item, and the position of the part.
            content: the whole part.
        """
        text = {self.field: content[self.field]}
        return [
            encoder.event(self.text_done, **place, **text, **self.extra),
            encoder.event(self.done, **place, part=content),
        ]

    def item(
        self, identifier: str, status: str, content: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The item.

        Args:
            identifier: the item's id.
            status: the item's status.
            content: the item's part; None: the part has not begun.
        """
        parts = [] if content is None else [content]
        about = {"id": identifier, "status": status}
        if self.prefix == MESSAGE.prefix:
            return {"type": "message", **about, "role": "assistant", "content": parts}
        return {"type": "reasoning", **about, "summary": parts}


MESSAGE = OutputPart(
    prefix="msg",
    kind="output_text",
    index="content_index",
    events="output_text",
    part="content_part",
    extra={"logprobs": []},
)
REFUSAL = OutputPart(
    prefix="msg",
    kind="refusal",
    field="refusal",
    index="content_index",
    events="refusal",
    part="content_part",
    extra={},
)
REASONING = OutputPart(
    prefix="rs",
    kind="summary_text",
    index="summary_index",
    events="reasoning_summary_text",
    part="reasoning_summary_part",
    extra={},
)


def search_item(identifier: str, query: str) -> dict[str, Any]:
    """The item of a web search by Claude Code's own tool."""
    return {
        "type": "web_search_call",
        "id": identifier,
        "status": "completed",
        "action": {"type": "search", "query": query},
    }


def without_encrypted_content(item: dict[str, Any]) -> dict[str, Any]:
    """Remove encrypted content from an item, for clients that did not ask for it."""
    if item["type"] != "reasoning" or "encrypted_content" not in item:
        return item
    return {name: value for name, value in item.items() if name != "encrypted_content"}


class EventEncoder:
    """Numbers and encodes events.

    Args:
        first: the number of the first event.
    """

    def __init__(self, first: int = 0) -> None:
        self._number = first
        self._delta_kind = ""
        self._delta_head = self._delta_tail = b""

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self._number

    def go_back(self, number: int) -> None:
        """Continue with an earlier number, because later events were not sent."""
        self._number = number

    def event(self, kind: str, **fields: object) -> WireEvent:
        """Encode an event with the next number."""
        data = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return WireEvent(kind, encode_json(data))

    def status_events(self, response: Sequence[bytes], *kinds: str) -> list[WireEvent]:
        """Encode events that have the response: its `Resource.pieces`."""
        return [self._status_event(f"response.{kind}", response) for kind in kinds]

    def _status_event(self, kind: str, response: Sequence[bytes]) -> WireEvent:
        around = self.event(kind, response=TEXT).data
        head, _, tail = around.partition(bytes(TEXT))
        return WireEvent(kind, b"".join((head, *response, tail)))

    def error(self, error: CCProxyError) -> WireEvent:
        """Encode an error. Some clients read its fields only if they are not nested."""
        about = {"code": error.code, "message": error.message, "param": error.param}
        return self.event("error", **about)

    def prepare(self, kind: str, fields: Mapping[str, object]) -> None:
        """Prepare `delta`: encode the JSON around the text of an item's deltas."""
        head, tail = halves_around_text({"type": kind, "delta": TEXT, **fields})
        self._delta_kind = kind
        self._delta_head = head
        self._delta_tail = tail[:-1] + b',"sequence_number":'

    def deltas(self, text: str) -> list[WireEvent]:
        """Encode a delta event of the prepared item, if there is text."""
        return [self.delta(text)] if text else []

    def delta(self, text: str) -> WireEvent:
        """Encode a delta event of the prepared item."""
        number = b"%d}" % self._number
        self._number += 1
        data = self._delta_head + encode_json(text) + self._delta_tail + number
        return WireEvent(self._delta_kind, data)


def output_text(output: Sequence[Mapping[str, Any]]) -> str:
    """The text of the messages among items."""
    parts = [
        part.get("text", "")
        for item in output
        if item["type"] == "message"
        for part in item["content"]
    ]
    return "".join(parts)
