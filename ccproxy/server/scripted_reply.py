"""The reply of the scripted Messages API to one request: its blocks and its faults.

Source: the Messages API's streaming format.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

HTTP_OK = 200


@frozen
class ScriptedBlock:
    """A content block, and the pieces in which it is streamed.

    Attributes:
        deltas: the pieces of the text, of the thinking, or of a call's JSON arguments.
        is_thinking: whether the block is thinking.
        signature: the signature of a thinking block; None: `FakeMessagesAPI.sign`
            makes it.
        tool_use: the id and the name of a tool call.
        redacted: the encrypted ``data`` of a block of redacted thinking.
        raw: any other block, as sent in ``content_block_start``.
        raw_deltas: the ``delta`` objects of a raw block.
        raw_document: the raw block as in a message that is not streamed; None: the same
            as ``raw``.
    """

    deltas: tuple[str, ...] = ()
    is_thinking: bool = False
    signature: str | None = None
    tool_use: tuple[str, str] | None = None
    redacted: str | None = None
    raw: Mapping[str, Any] | None = None
    raw_deltas: tuple[Mapping[str, Any], ...] = ()
    raw_document: Mapping[str, Any] | None = None

    def start(self) -> dict[str, Any]:
        """The block as sent in ``content_block_start``, without its content."""
        return self._built("", "") if self.raw is None else dict(self.raw)

    def stream(self, signature: str) -> Iterator[dict[str, Any]]:
        """The ``delta`` objects; a thinking block ends with ``signature``."""
        yield from (dict(delta) for delta in self.raw_deltas)
        for text in self.deltas:
            if self.is_thinking:
                yield {"type": "thinking_delta", "thinking": text}
            elif self.tool_use is not None:
                yield {"type": "input_json_delta", "partial_json": text}
            else:
                yield {"type": "text_delta", "text": text}
        if self.is_thinking and self.redacted is None:
            yield {"type": "signature_delta", "signature": signature}

    def document(self, signature: str) -> dict[str, Any]:
        """The whole block, as in a message that is not streamed."""
        if self.raw is not None:
            return dict(self.raw_document or self.raw)
        return self._built("".join(self.deltas), signature)

    def _built(self, text: str, signature: str) -> dict[str, Any]:
        if self.redacted is not None:
            return {"type": "redacted_thinking", "data": self.redacted}
        if self.is_thinking:
            return {"type": "thinking", "thinking": text, "signature": signature}
        if self.tool_use is not None:
            identifier, name = self.tool_use
            about = {"type": "tool_use", "id": identifier, "name": name}
            return {**about, "input": _arguments(text)}
        return {"type": "text", "text": text}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        # A script may stream incomplete arguments, which are not JSON.
        return {}


@frozen(kw_only=True)
class Reply:
    """The response to one request.

    Attributes whose names end with ``_after`` are numbers of deltas. The deltas of all
    blocks count, except signatures; 0 is right after ``message_start``.

    Attributes:
        stop_details: the API's details of a refusal.
        usage: the input's token counts, and other fields of ``usage``
            (``cache_creation``, ``server_tool_use``, ``service_tier``).
        final_usage: fields of the last ``usage`` besides ``output_tokens``.
        message: further fields of the message (``container``, ``diagnostics``).
        final_fields: further fields of ``message_delta`` (``context_management``).
        delay_seconds: the pause after each delta.
        status: the HTTP status; if it is not 200, the response is ``error``.
        error: the type and the message of an error.
        pings: send a ``ping`` event after ``message_start`` and each delta, and every
            second while the answer waits for ``held``.
        raw_events: further events, each with the number of deltas before it.
        cut_after: close the connection after this number.
        overload_after: send an ``overloaded_error`` event after this number, and end
            the response.
        hold_after: wait for ``held`` after this number.
        before: the whole response waits for this.
        stop_delay_seconds: the time between ``message_delta`` and ``message_stop``.
    """

    blocks: tuple[ScriptedBlock, ...] = ()
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] = field(
        factory=lambda: {
            "input_tokens": 11,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2,
        }
    )
    final_usage: Mapping[str, Any] = field(factory=dict)
    output_tokens: int = 20
    message: Mapping[str, Any] = field(factory=dict)
    final_fields: Mapping[str, Any] = field(factory=dict)
    delay_seconds: float = 0.0
    status: int = HTTP_OK
    error: tuple[str, str] = ("api_error", "")
    headers: Mapping[str, str] = field(factory=dict)
    pings: bool = False
    raw_events: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    cut_after: int | None = None
    overload_after: int | None = None
    hold_after: int | None = None
    held: "Deferred[None] | None" = None
    before: "Deferred[None] | None" = None
    stop_delay_seconds: float = 0.0

    def stop(self) -> dict[str, Any]:
        """The stop reason and its details, as in ``message_delta``."""
        fields = {"stop_reason": self.stop_reason, "stop_sequence": self.stop_sequence}
        return fields | ({"stop_details": d} if (d := self.stop_details) else {})


Script = Callable[[Mapping[str, Any]], Reply]


def words(text: str) -> ScriptedBlock:
    """A text block that is streamed word by word."""
    first, *rest = text.split(" ")
    return ScriptedBlock((first, *(f" {word}" for word in rest)))
