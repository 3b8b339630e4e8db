"""Responses: events to one document, or to a stream of events. Pure.

==========  ==========================  ======================================
phase       entered by                  what has been told
==========  ==========================  ======================================
BEFORE      the question                nothing
BETWEEN     the model begins            ``created``, ``in_progress``, whole items
MESSAGE     text                        an item and its part are open
REASONING   thinking                    an item and its part are open
CALL        a call of a tool            an item is open
OVER        the end                     the terminal event, ``[DONE]``
==========  ==========================  ======================================

Invariants: what is added is done before anything else is added, and says then what
its deltas said; one terminal event, the last; each snapshot holds what was told.

Source: the ``Response…StreamingEvent`` and ``ResponseResource`` components of Open
Responses, ``ResponseStreamEvent`` and ``Response`` of OpenAI.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from ccproxy.dialects.encoding import encode_json
from ccproxy.dialects.replay import Replay
from ccproxy.dialects.responses_request import Echo
from ccproxy.dialects.responses_resource import error_code, resource, usage_of
from ccproxy.errors import CCProxyError
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)

_DONE = b"data: [DONE]\n\n"
# No JSON text has a NUL in it, so it marks where a delta's text goes.
_MARK = "\0"
_INCOMPLETE: Mapping[FinishReason, str] = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.REFUSAL: "content_filter",
}


class _Phase(Enum):
    BEFORE = auto()
    BETWEEN = auto()
    MESSAGE = auto()
    REASONING = auto()
    CALL = auto()
    OVER = auto()


class ResponseStream:
    """Encodes one streamed response, as server-sent events.

    Args:
        identifier: makes the ids of the response and of its items.
        wall_seconds: Unix time.
    """

    def __init__(
        self, identifier: str, echo: Echo, wall_seconds: Callable[[], float]
    ) -> None:
        self._identifier = identifier
        self._echo = echo
        self._wall_seconds = wall_seconds
        self._created_at = int(wall_seconds())
        self._phase = _Phase.BEFORE
        self._replay = Replay()
        self._sequence_number = 0
        self._output: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._call: ToolCallStarted | None = None
        self._delta_head = self._delta_tail = b""
        self.error: CCProxyError | None = None
        self.model = ""
        self.usage = Usage()
        self.response: Mapping[str, Any] = {}

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self._phase is _Phase.OVER

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The bytes that events mean to the client; maybe none.

        A failure sets ``error``: whoever has not sent anything yet can still tell it
        by an HTTP status instead of the bytes.
        """
        frames: list[bytes] = []
        for event in self._replay.filter(events):
            if self.is_over:
                break
            match event:
                case TextDelta(text):
                    frames += self._enter(_Phase.MESSAGE)
                    frames.append(self._delta(text))
                case ThinkingDelta(text):
                    frames += self._enter(_Phase.REASONING)
                    frames.append(self._delta(text))
                case ToolCallStarted():
                    frames += self._enter(_Phase.BETWEEN)
                    frames += self._open_call(event)
                case ToolCallDelta(json) if self._call is not None:
                    frames.append(self._delta(json))
                case MessageStarted(model):
                    self.model = model
                    frames += self._enter(_Phase.BETWEEN)
                case Finished():
                    frames += self._finish(event)
                case Failed(error):
                    frames += self._fail(error)
        return b"".join(frames)

    def _enter(self, phase: _Phase) -> Sequence[bytes]:
        if phase is self._phase:
            return ()
        frames: list[bytes] = []
        if self._phase is _Phase.BEFORE:
            frames += self._begin()
        else:
            frames += self._close("completed")
        self._phase = phase
        if phase in _PARTS:
            frames += self._open()
        return frames

    def _begin(self) -> list[bytes]:
        self.response = self._snapshot("in_progress")
        return [
            self._event("response.created", response=self.response),
            self._event("response.in_progress", response=self.response),
        ]

    def _open(self) -> list[bytes]:
        part = _PARTS[self._phase]
        item = part.item(self._item_id(part), "in_progress", None)
        place = self._place(part)
        self._prepare(part.delta, {**place, **part.extra})
        added = self._event(
            "response.output_item.added", output_index=len(self._output), item=item
        )
        return [added, self._event(part.added, **place, part=part.content(""))]

    def _prepare(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Encode what all deltas of an item repeat around their texts."""
        head, _, tail = encode_json({"type": kind, "delta": _MARK, **fields}).partition(
            encode_json(_MARK)
        )
        self._delta_head = f"event: {kind}\ndata: ".encode() + head
        self._delta_tail = tail[:-1] + b',"sequence_number":'

    def _open_call(self, call: ToolCallStarted) -> list[bytes]:
        self._phase = _Phase.CALL
        self._call = call
        place = {"item_id": self._call_id, "output_index": len(self._output)}
        self._prepare("response.function_call_arguments.delta", place)
        item = self._call_item(call, "in_progress", "")
        index = len(self._output)
        return [
            self._event("response.output_item.added", output_index=index, item=item)
        ]

    @property
    def _call_id(self) -> str:
        return f"fc_{self._identifier}{len(self._output):04x}"

    def _call_item(
        self, call: ToolCallStarted, status: str, arguments: str
    ) -> dict[str, Any]:
        return {
            "type": "function_call",
            "id": self._call_id,
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments,
            "status": status,
        }

    def _close_call(self, call: ToolCallStarted, status: str) -> list[bytes]:
        # A call without arguments has none to stream, and is still one of an object;
        # one that was cut off is not.
        is_bare = status == "completed" and not self._text
        frames = [self._delta("{}")] if is_bare else []
        arguments = "".join(self._text)
        self._text.clear()
        self._call = None
        index = len(self._output)
        place = {"item_id": self._call_id, "output_index": index}
        item = self._call_item(call, status, arguments)
        about = {**place, "name": call.name, "arguments": arguments}
        frames.append(self._event("response.function_call_arguments.done", **about))
        self._output.append(item)
        self._phase = _Phase.BETWEEN
        frames.append(
            self._event("response.output_item.done", output_index=index, item=item)
        )
        return frames

    def _delta(self, text: str) -> bytes:
        self._text.append(text)
        number = b"%d}\n\n" % self._sequence_number
        self._sequence_number += 1
        return self._delta_head + encode_json(text) + self._delta_tail + number

    def _close(self, status: str) -> list[bytes]:
        """Finish whatever item is open."""
        if self._call is not None:
            return self._close_call(self._call, status)
        if self._phase not in _PARTS:
            return []
        part = _PARTS[self._phase]
        text = "".join(self._text)
        self._text.clear()
        place = self._place(part)
        content = part.content(text)
        item = part.item(place["item_id"], status, content)
        index = len(self._output)
        self._output.append(item)
        self._phase = _Phase.BETWEEN
        return [
            self._event(part.text_done, **place, text=text, **part.extra),
            self._event(part.done, **place, part=content),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def _finish(self, end: Finished) -> list[bytes]:
        reason = _INCOMPLETE.get(end.reason)
        status = "completed" if reason is None else "incomplete"
        frames = self._begin() if self._phase is _Phase.BEFORE else []
        frames += self._close(status)
        self.usage = end.usage
        self._phase = _Phase.OVER
        self.response = {
            **self._snapshot(status),
            "usage": usage_of(end.usage),
            "completed_at": int(self._wall_seconds()) if reason is None else None,
            "incomplete_details": None if reason is None else {"reason": reason},
        }
        frames.append(self._event(f"response.{status}", response=self.response))
        return [*frames, _DONE]

    def _fail(self, error: CCProxyError) -> list[bytes]:
        self.error = error
        frames = self._begin() if self._phase is _Phase.BEFORE else []
        frames += self._close("incomplete")
        self._phase = _Phase.OVER
        self.response = {
            **self._snapshot("failed"),
            "error": {"code": error_code(error), "message": error.message},
        }
        frames.append(self._event("response.failed", response=self.response))
        return [*frames, _DONE]

    def _event(self, kind: str, **fields: object) -> bytes:
        data = {"type": kind, **fields, "sequence_number": self._sequence_number}
        self._sequence_number += 1
        return f"event: {kind}\ndata: ".encode() + encode_json(data) + b"\n\n"

    def _item_id(self, part: "_Part") -> str:
        return f"{part.prefix}_{self._identifier}{len(self._output):04x}"

    def _place(self, part: "_Part") -> dict[str, Any]:
        index = len(self._output)
        return {"item_id": self._item_id(part), "output_index": index, part.index: 0}

    def _snapshot(self, status: str) -> dict[str, Any]:
        return resource(
            identifier=self._identifier,
            created_at=self._created_at,
            status=status,
            model=self.model,
            output=self._output,
            echo=self._echo,
        )


class ResponseDocument:
    """Collects the answer to one request that is not streamed."""

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream
        self._events: list[Event] = []
        self._message_begins = 0
        self.error: CCProxyError | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self.error is not None or self._stream.is_over

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it has."""
        return self._stream.model

    @property
    def usage(self) -> Usage:
        """The answer's, once it is over."""
        return self._stream.usage

    def receive(self, choice: int, events: Sequence[Event]) -> None:
        """Take events."""
        for event in events:
            match event:
                case MessageStarted():
                    self._message_begins = len(self._events)
                case Restarted():
                    del self._events[self._message_begins :]
                    continue
                case Failed(error):
                    self.error = error
            self._events.append(event)
            if isinstance(event, Finished):
                self._stream.encode(choice, self._events)

    def encode(self) -> bytes:
        """The response; only without an error, once over."""
        return encode_json(self._stream.response)


class _Part:
    """What is told of one kind of output item, and by which events."""

    def __init__(
        self, *, prefix: str, index: str, events: str, part: str, extra: dict[str, Any]
    ) -> None:
        self.prefix = prefix
        self.index = index
        self.delta = f"response.{events}.delta"
        self.text_done = f"response.{events}.done"
        self.added = f"response.{part}.added"
        self.done = f"response.{part}.done"
        self.extra = extra

    def content(self, text: str) -> dict[str, Any]:
        """The item's only part."""
        if self.prefix == "msg":
            kind = {"type": "output_text", "text": text}
            return {**kind, "annotations": [], "logprobs": []}
        return {"type": "summary_text", "text": text}

    def item(
        self, identifier: str, status: str, content: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The item, with or without its part."""
        parts = [] if content is None else [content]
        about = {"id": identifier, "status": status}
        if self.prefix == "msg":
            return {"type": "message", **about, "role": "assistant", "content": parts}
        return {"type": "reasoning", **about, "summary": parts}


_PARTS: Mapping[_Phase, _Part] = {
    _Phase.MESSAGE: _Part(
        prefix="msg",
        index="content_index",
        events="output_text",
        part="content_part",
        extra={"logprobs": []},
    ),
    _Phase.REASONING: _Part(
        prefix="rs",
        index="summary_index",
        events="reasoning_summary_text",
        part="reasoning_summary_part",
        extra={},
    ),
}
