"""Chat completions: events to one document, or to a stream of chunks. Pure.

Order of a stream, per choice: the role, then thinking, text and calls as they come,
then the finish reason; over all: the usage if it was asked for, and ``[DONE]``. Or, at
any place, an error as the last thing, without ``[DONE]``.

Source: ``CreateChatCompletionResponse`` and ``CreateChatCompletionStreamResponse``
in OpenAI's document; what clients break on: client facts.
"""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen
from msgspec import UNSET, UnsetType

from ccproxy.api.chat.reasoning import Reasoning, ReasoningDetail
from ccproxy.api.chat.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatMessage,
    ChunkChoice,
    ChunkDelta,
    CompletionChoice,
    CompletionUsage,
    Finish,
    usage_of,
)
from ccproxy.api.chat.tool_calls import StreamedCall, ToolCallFormat
from ccproxy.api.common.agent_tools import agent_line
from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.core.encoding import TEXT, encode_json, halves_around_text
from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Block, RedactedThinking, ToolUse
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    FinishReason,
    InputJSONDelta,
    MessageStart,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from ccproxy.web.error_formats import openai_error
from ccproxy.web.sse import DONE, WireEvent

_FINISH: Mapping[FinishReason, Finish] = {
    FinishReason.LENGTH: "length",
    FinishReason.REFUSAL: "content_filter",
}
_PLAIN = ToolCallFormat()


@frozen(kw_only=True)
class CompletionMeta:
    """What every document and chunk of one answer repeats.

    Attributes:
        created: Unix seconds.
        prefix: the hash of what stands before the answer, which is told with its
            thinking; empty: unknown.
    """

    id: str
    created: int
    prefix: str = ""


class ChatDocument:
    """Collects the answers of one request that is not streamed."""

    def __init__(
        self, meta: CompletionMeta, choices: int, forms: ToolCallFormat = _PLAIN
    ) -> None:
        self._meta = meta
        self._forms = forms
        self._answers = [_Answer(forms, meta.prefix) for _ in range(choices)]

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self.error is not None or all(a.end for a in self._answers)

    @property
    def error(self) -> CCProxyError | None:
        """Why there will be no answer."""
        ends = (answer.end for answer in self._answers)
        return next((end.error for end in ends if isinstance(end, Failed)), None)

    @property
    def usage(self) -> Usage:
        """The sum over the answers so far."""
        return _sum(answer.end for answer in self._answers)

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""
        return next((a.model for a in self._answers if a.model), "")

    def receive(self, choice: int, events: Sequence[Event]) -> None:
        """Take events of one choice."""
        self._answers[choice].receive(events)

    def encode(self) -> bytes:
        """The ``chat.completion`` document; only without an error, once over."""
        choices = [
            CompletionChoice(index, answer.message, answer.finish)
            for index, answer in enumerate(self._answers)
            if isinstance(answer.end, Finished)
        ]
        return encode_json(
            ChatCompletion(
                id=self._meta.id,
                created=self._meta.created,
                model=self.model,
                choices=choices,
                usage=usage_of(self.usage),
            )
        )


class _Answer:
    """One choice: whole messages before, and the text of the one that comes."""

    def __init__(self, forms: ToolCallFormat, prefix: str) -> None:
        self.model = ""
        self.end: Finished | Failed | None = None
        self._forms = forms
        self._before: list[str] = []
        self._text: list[str] = []
        self._reasoning = Reasoning(prefix)
        self._calls: list[tuple[ToolUse, list[str]]] = []
        self._call_index = 0

    @property
    def finish(self) -> Finish:
        return _finish(self.end, self._forms, has_called=bool(self._calls))

    @property
    def message(self) -> ChatMessage:
        message = self._forms.message(
            "".join((*self._before, *self._text)),
            [(call, "".join(parts)) for call, parts in self._calls],
            is_whole=_is_whole(self.end),
        )
        if self._reasoning.content:
            message.reasoning_content = self._reasoning.content
        if self._reasoning.details:
            message.reasoning_details = self._reasoning.details
        return message

    def receive(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text):
                    self._text.append(text)
                case ThinkingDelta(text):
                    self._reasoning.thought(text)
                case AgentToolUsed():
                    self._reasoning.aside(agent_line(event))
                case SignatureDelta(signature):
                    self._reasoning.signed(signature, self.model)
                case ContentBlockStart(block, index):
                    match block.value:
                        case ToolUse() as call:
                            self._calls.append((call, []))
                            self._call_index = index
                        case RedactedThinking(data=data):
                            self._reasoning.redacted(data, self.model)
                case InputJSONDelta(json, index) if self._is_of_call(index):
                    self._calls[-1][1].append(json)
                case MessageStart(model):
                    self.model = model
                    self._before += self._text
                    self._text.clear()
                    self._reasoning.begin()
                case Restarted():
                    self._text.clear()
                    self._calls.clear()
                    self._reasoning.void()
                case Finished() | Failed():
                    self.end = event

    def _is_of_call(self, index: int) -> bool:
        """Whether a block is the last call; the provider's own tools have input too."""
        return bool(self._calls) and index == self._call_index


class ChatStream:
    """Encodes the answers of one streamed request."""

    def __init__(
        self,
        meta: CompletionMeta,
        choices: int,
        include_usage: bool,
        forms: ToolCallFormat = _PLAIN,
    ) -> None:
        self._meta = meta
        self._forms = forms
        self._include_usage = include_usage
        self._lanes = [_Lane(index, meta.prefix) for index in range(choices)]
        self.error: CCProxyError | None = None
        self.model = ""

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self.error is not None or all(lane.end for lane in self._lanes)

    @property
    def usage(self) -> Usage:
        """The sum over the answers so far."""
        return _sum(lane.end for lane in self._lanes)

    def encode(self, choice: int, events: Sequence[Event]) -> Sequence[WireEvent]:
        """What events of one choice mean to the client; maybe nothing.

        An answer that failed sets ``error``: where nothing was sent yet, it can still
        be told by an HTTP status instead.
        """
        wire: list[WireEvent] = []
        lane = self._lanes[choice]
        for event in lane.replay.filter(events):
            if self.error is not None or lane.end is not None:
                break
            match event:
                case TextDelta(text):
                    if not lane.head:
                        wire += self._begin(lane, self.model)
                    data = lane.head + encode_json(text) + lane.tail
                    wire.append(WireEvent("", data))
                case ThinkingDelta(text):
                    lane.reasoning.thought(text)
                    wire += self._begin(lane, self.model)
                    wire += self._deltas(lane, ChunkDelta(reasoning_content=text))
                case AgentToolUsed():
                    line = ChunkDelta(reasoning_content=agent_line(event))
                    wire += self._begin(lane, self.model)
                    wire += self._deltas(lane, line)
                case SignatureDelta(signature):
                    detail = lane.reasoning.signed(signature, self.model)
                    wire += self._thought(lane, detail)
                case ContentBlockStart(block, index):
                    wire += self._start(lane, block, index)
                case InputJSONDelta(json, index) if json and lane.call is not None:
                    # The provider's own tools have input too.
                    if index == lane.call_index:
                        wire += self._deltas(lane, lane.call.more(json))
                case MessageStart(model):
                    lane.reasoning.begin()
                    wire += self._begin(lane, model)
                case Finished():
                    wire += self._finish(lane, event)
                case Failed(error):
                    self.error = error
                    wire.append(WireEvent("", openai_error(error)))
        return wire

    def _begin(self, lane: "_Lane", model: str) -> Sequence[WireEvent]:
        if lane.head:
            return ()
        self.model = self.model or model
        text = ChunkChoice(lane.index, ChunkDelta(content=TEXT))
        lane.head, lane.tail = halves_around_text(self._chunk(text))
        opening = ChunkDelta(role="assistant", content="", refusal=None)
        return self._deltas(lane, opening)

    def _thought(self, lane: "_Lane", detail: ReasoningDetail) -> Sequence[WireEvent]:
        begun = self._begin(lane, self.model)
        return [*begun, *self._deltas(lane, ChunkDelta(reasoning_details=[detail]))]

    def _start(self, lane: "_Lane", block: Block, index: int) -> Sequence[WireEvent]:
        """What the begin of a block says to the client; most say nothing."""
        match block.value:
            case ToolUse() as call:
                lane.call_index = index
                return [*self._begin(lane, self.model), *self._call(lane, call)]
            case RedactedThinking(data=data):
                detail = lane.reasoning.redacted(data, self.model)
                return self._thought(lane, detail)
        return ()

    def _call(self, lane: "_Lane", call: ToolUse) -> Sequence[WireEvent]:
        before = self._complete(lane, is_whole=True)
        if self._forms.is_old and lane.calls:
            # There is no place for a second one.
            return before
        lane.call = StreamedCall(call, lane.calls, self._forms)
        lane.calls += 1
        return [*before, *self._deltas(lane, lane.call.first())]

    def _complete(self, lane: "_Lane", *, is_whole: bool) -> Sequence[WireEvent]:
        call, lane.call = lane.call, None
        return () if call is None else self._deltas(lane, call.end(is_whole=is_whole))

    def _finish(self, lane: "_Lane", end: Finished) -> Sequence[WireEvent]:
        wire = [*self._begin(lane, self.model)]
        wire += self._complete(lane, is_whole=_is_whole(end))
        lane.end = end
        reason = _finish(end, self._forms, has_called=lane.calls > 0)
        last = ChunkChoice(lane.index, ChunkDelta(), finish_reason=reason)
        wire.append(_wire(self._chunk(last)))
        if self.is_over:
            if self._include_usage:
                wire.append(_wire(self._chunk(None)))
            wire.append(DONE)
        return wire

    def _deltas(self, lane: "_Lane", delta: ChunkDelta | None) -> Sequence[WireEvent]:
        """The event that a delta is; none for none."""
        if delta is None:
            return ()
        return (_wire(self._chunk(ChunkChoice(lane.index, delta))),)

    def _chunk(self, choice: ChunkChoice | None) -> ChatCompletionChunk:
        usage: CompletionUsage | UnsetType | None = (
            None if self._include_usage else UNSET
        )
        return ChatCompletionChunk(
            id=self._meta.id,
            created=self._meta.created,
            model=self.model,
            choices=[choice] if choice else [],
            usage=usage if choice else usage_of(self.usage),
        )


class _Lane:
    """One choice of a stream; ``head`` and ``tail`` go around each text."""

    def __init__(self, index: int, prefix: str) -> None:
        self.index = index
        self.replay = RestartFilter()
        self.reasoning = Reasoning(prefix)
        self.call: StreamedCall | None = None
        self.call_index = 0
        self.head = b""
        self.tail = b""
        self.calls = 0
        self.end: Finished | None = None


def _wire(chunk: ChatCompletionChunk) -> WireEvent:
    return WireEvent("", encode_json(chunk))


def _finish(
    end: Finished | Failed | None, forms: ToolCallFormat, *, has_called: bool
) -> Finish:
    """Why the answer ends; one with calls, whatever the model says, with these."""
    reason = end.reason if isinstance(end, Finished) else FinishReason.STOP
    return _FINISH.get(reason) or (forms.finish if has_called else "stop")


def _is_whole(end: Finished | Failed | None) -> bool:
    """Whether calls were not cut off."""
    return isinstance(end, Finished) and end.reason not in _FINISH


def _sum(ends: Iterable[Finished | Failed | None]) -> Usage:
    return sum((e.usage for e in ends if isinstance(e, Finished)), start=Usage())
