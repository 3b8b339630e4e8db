"""Chat completions: events to one document, or to a stream of chunks. Pure.

Order of a stream, per choice: the role, then text and calls as they come, then the
finish reason; over all: the usage if it was asked for, and ``[DONE]``. Or, at any
place, an error as the last thing, without ``[DONE]``.

Source: ``CreateChatCompletionResponse`` and ``CreateChatCompletionStreamResponse``
in OpenAI's document; what clients break on: client facts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from attrs import frozen
from msgspec import UNSET, UnsetType

from ccproxy.dialects.encoding import encode_json
from ccproxy.dialects.error import error_document
from ccproxy.dialects.replay import Replay
from ccproxy.errors import CCProxyError
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    Restarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)

_Finish = Literal["stop", "length", "content_filter", "tool_calls"]
_FINISH: Mapping[FinishReason, _Finish] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.TOOL_USE: "tool_calls",
}
# No JSON text has a NUL in it, so it marks where a chunk's text goes.
_MARK = b"\0"

# A call without arguments has none to stream, and is still one of an object. A call
# that was cut off is not: nobody may take it for whole.
_NO_ARGUMENTS = "{}"

DONE = b"data: [DONE]\n\n"


class _PromptDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int
    audio_tokens: int = 0


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class _CalledFunction(msgspec.Struct):
    arguments: str
    name: str | UnsetType = UNSET


class _ToolCall(msgspec.Struct, kw_only=True):
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: _CalledFunction


class _Message(msgspec.Struct, kw_only=True):
    role: str = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[_ToolCall] | UnsetType = UNSET


class _Choice(msgspec.Struct):
    index: int
    message: _Message
    finish_reason: _Finish
    logprobs: None = None


class _Document(msgspec.Struct, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage


class _Delta(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | msgspec.Raw | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    tool_calls: list[_ToolCall] | UnsetType = UNSET


class _ChunkChoice(msgspec.Struct):
    index: int
    delta: _Delta
    logprobs: None = None
    finish_reason: _Finish | None = None


class _Chunk(msgspec.Struct, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[_ChunkChoice]
    usage: _Usage | UnsetType | None = UNSET


@frozen(kw_only=True)
class Heading:
    """What every document and chunk of one answer repeats; Unix seconds."""

    id: str
    created: int


class ChatDocument:
    """Collects the answers of one request that is not streamed."""

    def __init__(self, heading: Heading, choices: int) -> None:
        self._heading = heading
        self._answers = [_Answer() for _ in range(choices)]

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
            _Choice(index, answer.message, _FINISH[answer.end.reason])
            for index, answer in enumerate(self._answers)
            if isinstance(answer.end, Finished)
        ]
        return encode_json(
            _Document(
                id=self._heading.id,
                created=self._heading.created,
                model=self.model,
                choices=choices,
                usage=_usage(self.usage),
            )
        )


class _Answer:
    """One choice: whole messages before, and the text of the one that comes."""

    def __init__(self) -> None:
        self.model = ""
        self.end: Finished | Failed | None = None
        self._before: list[str] = []
        self._text: list[str] = []
        self._calls: list[tuple[ToolCallStarted, list[str]]] = []

    @property
    def message(self) -> _Message:
        text = "".join((*self._before, *self._text))
        if not self._calls:
            return _Message(content=text)
        end = self.end
        is_whole = isinstance(end, Finished) and end.reason is FinishReason.TOOL_USE
        otherwise = _NO_ARGUMENTS if is_whole else ""
        calls = [
            _ToolCall(
                id=call.id,
                type="function",
                function=_CalledFunction("".join(parts) or otherwise, call.name),
            )
            for call, parts in self._calls
        ]
        return _Message(content=text or None, tool_calls=calls)

    def receive(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text):
                    self._text.append(text)
                case ToolCallStarted():
                    self._calls.append((event, []))
                case ToolCallDelta(json) if self._calls:
                    self._calls[-1][1].append(json)
                case MessageStarted(model):
                    self.model = model
                    self._before += self._text
                    self._text.clear()
                case Restarted():
                    self._text.clear()
                    self._calls.clear()
                case Finished() | Failed():
                    self.end = event


class ChatStream:
    """Encodes the answers of one streamed request, as server-sent events."""

    def __init__(self, heading: Heading, choices: int, include_usage: bool) -> None:
        self._heading = heading
        self._include_usage = include_usage
        self._lanes = [_Lane(index) for index in range(choices)]
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

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The bytes that events of one choice mean to the client; maybe none.

        An answer that failed sets ``error``: whoever has not sent anything yet can
        still tell it by an HTTP status instead of the bytes.
        """
        frames: list[bytes] = []
        lane = self._lanes[choice]
        for event in lane.replay.filter(events):
            if self.error is not None or lane.end is not None:
                break
            match event:
                case TextDelta(text):
                    frames += self._begin(lane, self.model)
                    frames += (lane.head, encode_json(text), lane.tail)
                case ToolCallStarted():
                    frames += self._begin(lane, self.model)
                    frames.append(self._call(lane, event))
                case ToolCallDelta(json) if lane.calls:
                    frames.append(self._called(lane, json))
                case MessageStarted(model):
                    frames += self._begin(lane, model)
                case Finished():
                    frames += self._finish(lane, event)
                case Failed(error):
                    frames += self._fail(error)
        return b"".join(frames)

    def _begin(self, lane: "_Lane", model: str) -> Sequence[bytes]:
        if lane.head:
            return ()
        self.model = self.model or model
        text = _Delta(content=msgspec.Raw(_MARK))
        lane.head, _, lane.tail = self._chunk(_ChunkChoice(lane.index, text)).partition(
            _MARK
        )
        opening = _Delta(role="assistant", content="", refusal=None)
        return [self._chunk(_ChunkChoice(lane.index, opening))]

    def _call(self, lane: "_Lane", call: ToolCallStarted) -> bytes:
        """The first delta of a call: the only one with its id and name."""
        before = self._complete(lane)
        first = _ToolCall(
            index=lane.calls,
            id=call.id,
            type="function",
            function=_CalledFunction("", call.name),
        )
        lane.calls += 1
        lane.owes_arguments = True
        return before + self._chunk(
            _ChunkChoice(lane.index, _Delta(tool_calls=[first]))
        )

    def _called(self, lane: "_Lane", json: str) -> bytes:
        lane.owes_arguments = False
        more = _ToolCall(index=lane.calls - 1, function=_CalledFunction(json))
        return self._chunk(_ChunkChoice(lane.index, _Delta(tool_calls=[more])))

    def _complete(self, lane: "_Lane") -> bytes:
        """The arguments of a call that had none: the text of an empty object."""
        return self._called(lane, _NO_ARGUMENTS) if lane.owes_arguments else b""

    def _finish(self, lane: "_Lane", end: Finished) -> list[bytes]:
        frames = list(self._begin(lane, self.model))
        if end.reason is FinishReason.TOOL_USE:
            frames.append(self._complete(lane))
        lane.end = end
        reason = _FINISH[end.reason]
        frames.append(
            self._chunk(_ChunkChoice(lane.index, _Delta(), finish_reason=reason))
        )
        if self.is_over:
            if self._include_usage:
                frames.append(self._chunk(None))
            frames.append(DONE)
        return frames

    def _fail(self, error: CCProxyError) -> list[bytes]:
        self.error = error
        return [b"data: ", error_document(error), b"\n\n"]

    def _chunk(self, choice: _ChunkChoice | None) -> bytes:
        usage: _Usage | UnsetType | None = None if self._include_usage else UNSET
        chunk = _Chunk(
            id=self._heading.id,
            created=self._heading.created,
            model=self.model,
            choices=[choice] if choice else [],
            usage=usage if choice else _usage(self.usage),
        )
        return b"data: " + encode_json(chunk) + b"\n\n"


class _Lane:
    """One choice of a stream; ``head`` and ``tail`` go around each text."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.replay = Replay()
        self.head = b""
        self.tail = b""
        self.calls = 0
        self.owes_arguments = False
        self.end: Finished | None = None


def _sum(ends: Iterable[Finished | Failed | None]) -> Usage:
    return sum((e.usage for e in ends if isinstance(e, Finished)), start=Usage())


def _usage(usage: Usage) -> _Usage:
    return _Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.prompt_tokens + usage.output_tokens,
        prompt_tokens_details=_PromptDetails(
            cached_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        completion_tokens_details=_CompletionDetails(
            reasoning_tokens=usage.thinking_tokens
        ),
    )
