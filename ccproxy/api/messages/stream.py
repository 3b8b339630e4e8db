"""Messages API: events to a stream of server-sent ones. Pure.

Order of a stream: ``message_start``, ``ping``; each block's ``content_block_start``,
deltas and ``content_block_stop``, counted from 0; ``message_delta`` with why the model
stopped and the usage; ``message_stop``. Or, at any place after the start, ``error`` as
the last thing.

Blocks and deltas are told as the provider told them, but for their numbers: some blocks
are not shown, and an answer may be made of several messages.

Source: "Streaming messages" in the Messages API's documentation; the accumulation of
anthropic-python 2.14.
"""

from collections.abc import Sequence

from msgspec import Raw

from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.api.messages.schemas import (
    MessageMeta,
    message_document,
    stop_fields,
    usage_document,
)
from ccproxy.api.messages.thinking import ThinkingFilter, ThinkingForm
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Block, Text
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from ccproxy.web.error_formats import anthropic_error

# No JSON text has a NUL in it, so it marks where a delta's text goes.
_MARK = b"\0"

_PLAIN = ThinkingForm()


class MessageStream:
    """Encodes an answer that is streamed, as server-sent events.

    Args:
        meta: has the message's id.
        thinking: what the client is shown of it.
    """

    def __init__(self, meta: MessageMeta, thinking: ThinkingForm = _PLAIN) -> None:
        self._meta = meta
        self._shown = ThinkingFilter(thinking)
        self._replay = RestartFilter()
        self._end: Finished | None = None
        self._has_begun = False
        self._resumes = False
        # From the provider's number of each open block to the client's.
        self._open: dict[int, int] = {}
        self._count = 0
        # The block of text that is told, and what is around each piece of it.
        self._text_index: int | None = None
        self._head = self._tail = b""
        self.error: CCProxyError | None = None
        self.model = ""

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self.error is not None or self._end is not None

    @property
    def usage(self) -> Usage:
        """What the answer cost, once it is over."""
        return Usage() if self._end is None else self._end.usage

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The bytes that events mean to the client; maybe none.

        An answer that failed sets ``error``: whoever has not sent anything yet can
        still tell it by an HTTP status instead of the bytes.
        """
        frames: list[bytes] = []
        for event in events:
            self._resumes = self._resumes or isinstance(event, Restarted)
            for told in self._replay.filter((event,)):
                if isinstance(told, TextDelta) and told.index == self._text_index:
                    # The one that there are many of, in a block that is shown.
                    frames += (self._head, encode_json(told.text), self._tail)
                    continue
                for shown in self._shown.filter((told,)):
                    if not self.is_over:
                        frames += self._encode(shown)
        return b"".join(frames)

    def _encode(self, event: Event) -> Sequence[bytes]:
        match event:
            case TextDelta(text, index):
                return self._delta(index, {"type": "text_delta", "text": text})
            case ThinkingDelta(text, index):
                return self._delta(index, {"type": "thinking_delta", "thinking": text})
            case InputJSONDelta(text, index):
                delta = {"type": "input_json_delta", "partial_json": text}
                return self._delta(index, delta)
            case SignatureDelta(signature, index):
                delta = {"type": "signature_delta", "signature": signature}
                return self._delta(index, delta)
            case OpaqueDelta(raw, index):
                return self._delta(index, Raw(raw))
            case ContentBlockStart(block, index):
                return self._begin(block, index)
            case ContentBlockStop(index):
                return self._close(index)
            case MessageStart(model, usage):
                resumes, self._resumes = self._resumes, False
                if not self._has_begun:
                    return self._start(model, usage)
                if resumes:
                    # What goes on is the block that the connection was lost in.
                    return ()
                # Claude Code has used a tool of its own, or the proxy has asked again:
                # the model goes on.
                return self._close_all()
            case Finished():
                return self._finish(event)
            case Failed(error):
                self.error, self._text_index = error, None
                data = anthropic_error(error, self._meta.request_id)
                return (b"event: error\ndata: ", data, b"\n\n")
        return ()

    def _start(self, model: str, usage: Usage) -> list[bytes]:
        self._has_begun = True
        self.model = model
        message = message_document(self._meta, model, usage)
        return [_frame("message_start", message=message), _frame("ping")]

    def _start_late(self) -> list[bytes]:
        return [] if self._has_begun else self._start(self.model, Usage())

    def _begin(self, block: Block, index: int) -> list[bytes]:
        frames = [*self._start_late(), *self._close(index)]
        number = self._open[index] = self._count
        self._count += 1
        told = _frame("content_block_start", index=number, content_block=Raw(block.raw))
        if isinstance(block.value, Text):
            self._text_index = index
            delta = {"type": "text_delta", "text": Raw(_MARK)}
            [frame] = self._delta(index, delta)
            self._head, _, self._tail = frame.partition(_MARK)
        return [*frames, told]

    def _delta(self, index: int, delta: object) -> Sequence[bytes]:
        number = self._open.get(index)
        if number is None:
            return ()
        return (_frame("content_block_delta", index=number, delta=delta),)

    def _close(self, index: int) -> list[bytes]:
        number = self._open.pop(index, None)
        if index == self._text_index:
            self._text_index = None
        return [] if number is None else [_frame("content_block_stop", index=number)]

    def _close_all(self) -> list[bytes]:
        return [frame for index in [*self._open] for frame in self._close(index)]

    def _finish(self, end: Finished) -> list[bytes]:
        self._end, self._text_index = end, None
        delta, usage = stop_fields(end), usage_document(end.usage)
        return [
            *self._start_late(),
            *self._close_all(),
            _frame("message_delta", delta=delta, usage=usage),
            _frame("message_stop"),
        ]


def _frame(kind: str, **data: object) -> bytes:
    encoded = encode_json({"type": kind, **data})
    return b"event: " + kind.encode() + b"\ndata: " + encoded + b"\n\n"
