"""Encodes an answer as the events of a stream of the Messages API. Pure.

The events of a stream:

1. ``message_start`` and ``ping``;
2. for each block ``content_block_start``, deltas, and ``content_block_stop``; the
   blocks are numbered from 0;
3. ``message_delta``, with the stop reason and the usage;
4. ``message_stop``.

If the answer fails, ``error`` is the last event.

Blocks and deltas are the provider's, but have new numbers: some blocks are left out,
and an answer can have the blocks of several messages.

If the client has not asked for thinking, all thinking is removed, because many clients
expect text in the first block. The proxy remembers the removed thinking for the next
request of the conversation (`ccproxy.claude.answers`).

Source: "Streaming messages" in the Messages API's documentation; the accumulation of
anthropic-python 2.14.
"""

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen
from msgspec import Raw

from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.api.common.tools import agent_line
from ccproxy.api.messages.schemas import (
    MessageMeta,
    message_document,
    stop_fields,
    usage_document,
)
from ccproxy.core.blocks import Block, RedactedThinking, Text, Thinking, thinking_block
from ccproxy.core.encoding import (
    TEXT,
    Encode,
    WireEvent,
    encode_json,
    halves_around_text,
)
from ccproxy.core.errors import CCProxyError
from ccproxy.core.fallbacks import fallback_model
from ccproxy.core.stream import (
    AgentToolUsed,
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

_DELTA = "content_block_delta"


@frozen(kw_only=True)
class ThinkingForm:
    """Which parts of the thinking the client receives.

    Attributes:
        is_shown: whether the client receives blocks of thinking.
        has_text: whether these blocks contain text, or only a signature.
    """

    is_shown: bool = False
    has_text: bool = True


_PLAIN = ThinkingForm()


class ThinkingFilter:
    """Removes thinking that the client does not receive.

    If thinking is shown, a call of Claude Code's own tool becomes a block of thinking.
    The index of such a block is negative, because the provider's message has no such
    block.

    Args:
        form: which parts of the thinking the client receives.
    """

    def __init__(self, form: ThinkingForm) -> None:
        self._form = form
        self._hidden: set[int] = set()
        self._asides = 0

    def filter(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events for the client."""
        for event in events:
            match event:
                case ContentBlockStart(block, index):
                    self._hidden.discard(index)
                    if not self._form.is_shown and isinstance(
                        block.value, Thinking | RedactedThinking
                    ):
                        self._hidden.add(index)
                        continue
                case (
                    TextDelta(index=index)
                    | InputJSONDelta(index=index)
                    | SignatureDelta(index=index)
                    | OpaqueDelta(index=index)
                    | ContentBlockStop(index)
                ) if index in self._hidden:
                    continue
                case ThinkingDelta(index=index) if (
                    not self._form.has_text or index in self._hidden
                ):
                    continue
                case AgentToolUsed():
                    if self._form.is_shown:
                        yield from self._aside(event)
                    continue
                case MessageStart():
                    self._hidden.clear()
            yield event

    def _aside(self, use: AgentToolUsed) -> Iterator[Event]:
        self._asides += 1
        index = -self._asides
        # The block has no signature. If a client sends it back, it is left out.
        yield ContentBlockStart(thinking_block("", ""), index)
        yield ThinkingDelta(agent_line(use), index)
        yield ContentBlockStop(index)


class MessageStream:
    """Encodes an answer as a stream of events.

    Args:
        meta: the ids of the answer.
        thinking: which parts of the thinking the client receives.

    Attributes:
        error: the error that ended the answer; None: there is none.
        model: the full id of the model that answers; empty before the answer begins.
    """

    def __init__(self, meta: MessageMeta, thinking: ThinkingForm = _PLAIN) -> None:
        self._meta = meta
        self._shown = ThinkingFilter(thinking)
        self._replay = RestartFilter()
        self._end: Finished | None = None
        self._has_begun = False
        self._resumes = False
        # The client's number of each open block, by the provider's number.
        self._open: dict[int, int] = {}
        self._count = 0
        # The open block of text, and the JSON around each piece of it.
        self._text_index: int | None = None
        self._head = self._tail = b""
        self.error: CCProxyError | None = None
        self.model = ""

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self.error is not None or self._end is not None

    @property
    def encoders(self) -> Sequence[Encode]:
        """One encoder, because there is one answer."""
        return (self.encode,)

    def encode(self, events: Sequence[Event]) -> Sequence[WireEvent]:
        """Encode events of the answer; a failure sets ``error``."""
        sent: list[WireEvent] = []
        for event in events:
            self._resumes = self._resumes or isinstance(event, Restarted)
            for filtered in self._replay.filter((event,)):
                if (
                    isinstance(filtered, TextDelta)
                    and filtered.index == self._text_index
                ):
                    # Nearly all events are pieces of text, so this path is short.
                    data = self._head + encode_json(filtered.text) + self._tail
                    sent.append(WireEvent(_DELTA, data))
                    continue
                for shown in self._shown.filter((filtered,)):
                    if not self.is_over:
                        sent += self._encode(shown)
        return sent

    def _encode(self, event: Event) -> Sequence[WireEvent]:
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
            case MessageStart(model, usage, fields=fields):
                resumes, self._resumes = self._resumes, False
                if not self._has_begun:
                    return self._start(model, usage, fields)
                if resumes:
                    # The second answer continues the open block.
                    return ()
                # The model continues in another message, because Claude Code has run
                # one of its own tools, or the proxy has sent a second request.
                return self._close_all()
            case Finished():
                return self._finish(event)
            case Failed(error):
                self.error, self._text_index = error, None
                data = anthropic_error(error, self._meta.request_id)
                return (WireEvent("error", data),)
        return ()

    def _start(
        self, model: str, usage: Usage, fields: Mapping[str, Raw] | None = None
    ) -> list[WireEvent]:
        self._has_begun = True
        self.model = model
        message = message_document(self._meta, model, usage, fields=fields)
        return [_event("message_start", message=message), _event("ping")]

    def _start_late(self) -> list[WireEvent]:
        return [] if self._has_begun else self._start(self.model, Usage())

    def _begin(self, block: Block, index: int) -> list[WireEvent]:
        before = [*self._start_late(), *self._close(index)]
        self.model = fallback_model(block) or self.model
        number = self._open[index] = self._count
        self._count += 1
        started = _event(
            "content_block_start", index=number, content_block=Raw(block.raw)
        )
        if isinstance(block.value, Text):
            self._text_index = index
            delta = {"type": "text_delta", "text": TEXT}
            event = {"type": _DELTA, "index": number, "delta": delta}
            self._head, self._tail = halves_around_text(event)
        return [*before, started]

    def _delta(self, index: int, delta: object) -> Sequence[WireEvent]:
        number = self._open.get(index)
        if number is None:
            return ()
        return (_event(_DELTA, index=number, delta=delta),)

    def _close(self, index: int) -> list[WireEvent]:
        number = self._open.pop(index, None)
        if index == self._text_index:
            self._text_index = None
        return [] if number is None else [_event("content_block_stop", index=number)]

    def _close_all(self) -> list[WireEvent]:
        return [event for index in [*self._open] for event in self._close(index)]

    def _finish(self, end: Finished) -> list[WireEvent]:
        self._end, self._text_index = end, None
        delta = {**end.delta_fields, **stop_fields(end)}
        about = {**end.event_fields, "usage": usage_document(end.usage)}
        return [
            *self._start_late(),
            *self._close_all(),
            _event("message_delta", **{**about, "delta": delta}),
            _event("message_stop"),
        ]


def _event(kind: str, **data: object) -> WireEvent:
    return WireEvent(kind, encode_json({"type": kind, **data}))
