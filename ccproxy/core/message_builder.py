"""Builds a message from stream events. Pure.

An answer can consist of several messages, if Claude Code uses a tool of its own, or if
the proxy sends a second request. The blocks of all messages form one list. `Restarted`
removes all blocks since the last `MessageStart`.

How a delta changes its block:

=========================  ==========================================================
``text``, ``thinking``     is appended to the block's field of that name
``signature``              replaces the block's ``signature``
``partial_json``           is appended to the JSON text of the block's ``input``
``citations_delta``        ``citation`` is appended to ``citations``
further fields of the      are not added to the block
deltas above
any other delta of a       is not added to the block, because the provider may refuse
block of a known type      the result; ``is_exact`` becomes false
any other delta            each string or list is appended to the block's field of
                           that name, any other value replaces the field; ``is_exact``
                           becomes false
=========================  ==========================================================

A delta is ignored if its block has not begun. If a call's arguments are not a JSON
object, for example because they were cut off, `arguments_object` converts them.

Source: ``accumulate_event`` of anthropic-python 2.14, stable and beta.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen
from msgspec import Raw

from ccproxy.core.blocks import Block, Opaque, Text, ToolUse
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
    Receiver,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from ccproxy.core.tool_calls import arguments_object

_CITATIONS = "citations_delta"
_PIECES = frozenset(
    ("text_delta", "thinking_delta", "signature_delta", "input_json_delta")
)

_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_decode = msgspec.json.Decoder().decode


@frozen
class BuiltBlock:
    """A block of the answer, in `MessageBuilder.parts`.

    Attributes:
        block: the block with its content so far; a call is as it started, without the
            arguments from its deltas.
        arguments: the JSON text of a call's arguments, which may be cut off.
    """

    block: Block
    arguments: str = ""


class MessageBuilder:
    """Builds the message of one answer."""

    def __init__(self) -> None:
        self._parts: list[MessageStart | AgentToolUsed | _OpenBlock] = []
        # The blocks of the current message, by their index in it.
        self._current: dict[int, _OpenBlock] = {}
        self._before = 0
        self._end: Finished | Failed | None = None
        self._usage = Usage()
        self._fields: Mapping[str, Raw] = {}
        self.model = ""
        self.id = ""

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended, with or without an error."""
        return self._end is not None

    @property
    def is_whole(self) -> bool:
        """Whether the message is complete up to the point where the model stopped.

        Every block has ended, and every call's arguments are an object.
        """
        return self.finished is not None and all(
            block.is_closed and block.has_object for block in self._blocks
        )

    @property
    def is_exact(self) -> bool:
        """Whether the blocks equal those that the API sends without streaming."""
        return all(block.is_exact for block in self._blocks)

    @property
    def finished(self) -> Finished | None:
        """The answer's end; None: the answer has not ended, or has failed."""
        return self._end if isinstance(self._end, Finished) else None

    @property
    def error(self) -> CCProxyError | None:
        """Why the answer failed; None: it has not."""
        return self._end.error if isinstance(self._end, Failed) else None

    @property
    def stop_reason(self) -> str | None:
        """The API's ``stop_reason``; None: the model has not stopped."""
        return None if self.finished is None else self.finished.stop_reason

    @property
    def usage(self) -> Usage:
        """The answer's usage; before the end, what ``message_start`` reported."""
        return self._usage if self.finished is None else self.finished.usage

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks so far, with the current content of open blocks."""
        return tuple(block.whole() for block in self._blocks)

    @property
    def parts(self) -> Sequence[MessageStart | AgentToolUsed | BuiltBlock]:
        """The parts of the answer, in order, without messages that were restarted."""
        return [
            part.built() if isinstance(part, _OpenBlock) else part
            for part in self._parts
        ]

    @property
    def fields(self) -> Mapping[str, Raw]:
        """The message's other fields, such as ``container``."""
        end = self.finished
        told = {} if end is None else {**end.event_fields, **end.delta_fields}
        return {**self._fields, **told}

    @property
    def text(self) -> str:
        """The text of all text blocks, joined."""
        return "".join(
            block.text for block in self._blocks if isinstance(block.value, Text)
        )

    def receive(self, events: Iterable[Event]) -> None:
        """Add events."""
        for event in events:
            self._add(event)

    def _add(self, event: Event) -> None:
        match event:
            case TextDelta(index=index) | ThinkingDelta(index=index):
                field = "text" if isinstance(event, TextDelta) else "thinking"
                self._append(index, field, event.text)
            case InputJSONDelta(partial_json, index):
                self._append(index, "input", partial_json)
            case SignatureDelta(signature, index):
                if index in self._current:
                    self._current[index].set(signature=signature)
            case OpaqueDelta(raw, index):
                if index in self._current:
                    self._current[index].merge(raw)
            case ContentBlockStart(block, index):
                self.model = fallback_model(block) or self.model
                self._current[index] = _OpenBlock(block)
                self._parts.append(self._current[index])
            case ContentBlockStop(index):
                if index in self._current:
                    self._current[index].is_closed = True
            case MessageStart(model, usage, identifier, fields):
                self.model, self.id, self._usage = model, identifier, usage
                self._fields = fields
                self._current = {}
                self._before = len(self._parts)
                self._parts.append(event)
            case Restarted():
                del self._parts[self._before :]
                self._current = {}
            case Finished() | Failed():
                self._end = event
            case AgentToolUsed():
                self._parts.append(event)

    def _append(self, index: int, field: str, text: str) -> None:
        if index in self._current:
            self._current[index].append(field, text)

    @property
    def _blocks(self) -> Sequence["_OpenBlock"]:
        return [part for part in self._parts if isinstance(part, _OpenBlock)]


class AnswerCollector:
    """Collects the answers to a request that is not streamed.

    Args:
        answers: the number of answers.

    Attributes:
        messages: builds the message of each answer.
        receivers: one receiver for the events of each answer.
    """

    def __init__(self, answers: int = 1) -> None:
        self.messages = [MessageBuilder() for _ in range(answers)]
        self.receivers: Sequence[Receiver] = [m.receive for m in self.messages]

    @property
    def is_over(self) -> bool:
        """Whether all answers have ended, or one has failed."""
        return self.error is not None or all(m.is_over for m in self.messages)

    @property
    def error(self) -> CCProxyError | None:
        """Why an answer failed; None: none has."""
        return next((m.error for m in self.messages if m.error is not None), None)

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty: no message has started."""
        return next((m.model for m in self.messages if m.model), "")

    @property
    def usage(self) -> Usage:
        """The total usage of the answers that have finished."""
        ends = (message.finished for message in self.messages)
        return sum((end.usage for end in ends if end is not None), start=Usage())


class _OpenBlock:
    """A block, and the content that its deltas have added."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._parts: dict[str, list[str]] = {}
        self._fields: dict[str, object] = {}
        self.is_closed = False
        self.is_exact = True

    @property
    def value(self) -> object:
        return self._block.value

    @property
    def text(self) -> str:
        value = self._block.value
        begun = value.text if isinstance(value, Text) else ""
        return begun + "".join(self._parts.get("text", ()))

    def append(self, field: str, text: str) -> None:
        self._parts.setdefault(field, []).append(text)

    def set(self, **fields: object) -> None:
        self._fields.update(fields)

    def merge(self, raw: bytes) -> None:
        """Add a delta of a type without an event class."""
        delta = _decode_shallow(raw)
        kind = _decode(delta.pop("type", b'""'))
        if kind == _CITATIONS and "citation" in delta:
            self._extend("citations", [delta["citation"]])
            return
        if kind in _PIECES:
            # Such fields report progress: ``estimated_tokens`` of thinking.
            return
        self.is_exact = False
        if not isinstance(self.value, Opaque):
            return
        for name, value in delta.items():
            self._merge_field(name, value)

    def _merge_field(self, name: str, raw: Raw) -> None:
        added, before = _decode(raw), self._current(name)
        if isinstance(added, str) and (name in self._parts or isinstance(before, str)):
            self.append(name, added)
        elif isinstance(added, list) and isinstance(before, list):
            self._extend(name, added)
        else:
            self.set(**{name: raw})

    def _extend(self, name: str, items: list[Any]) -> None:
        before = self._current(name)
        self.set(**{name: [*(before if isinstance(before, list) else ()), *items]})

    def _current(self, name: str) -> object:
        """A field without the appended strings; items of a list may be undecoded."""
        if name in self._fields:
            value = self._fields[name]
            return _decode(value) if isinstance(value, Raw) else value
        fields = self._block.fields
        return _decode(fields[name]) if name in fields else None

    @property
    def arguments(self) -> str:
        """The JSON text of a call's arguments, which may be cut off."""
        return "".join(self._parts.get("input", ()))

    @property
    def has_object(self) -> bool:
        """Whether the arguments, if there are any, are a JSON object."""
        arguments = self.arguments
        return not arguments or arguments_object(arguments)[1]

    def built(self) -> BuiltBlock:
        """The block so far; a call's arguments are kept separately."""
        value = self.value
        if not isinstance(value, ToolUse):
            return BuiltBlock(self.whole())
        return BuiltBlock(self._block, self.arguments)

    def whole(self) -> Block:
        """The block with the content that its deltas have added."""
        if not self._parts and not self._fields:
            return self._block
        return self._block.replaced(**self._changes())

    def _changes(self) -> Mapping[str, object]:
        changes = dict(self._fields)
        for name, parts in self._parts.items():
            if name == "input":
                changes[name] = arguments_object("".join(parts))[0]
            else:
                before = self._current(name)
                changes[name] = (before if isinstance(before, str) else "") + "".join(
                    parts
                )
        return changes
