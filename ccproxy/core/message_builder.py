"""Stream events made into the message that they tell. Pure.

Several messages of one answer (Claude Code has used a tool of its own in between, or
the proxy has asked a second time) are one: their blocks stand one after the other.
`Restarted` takes back what has come since the last `MessageStart`.

What becomes of a delta:

=========================  ==========================================================
``text``, ``thinking``     appended to the block's field of that name
``signature``              takes the place of the block's
``partial_json``           joined: the JSON of the block's ``input``
``citations_delta``        ``citation`` is appended to ``citations``
any other                  its strings are appended to the block's strings, its lists
                           to the block's lists, all else takes the place of the
                           block's; the block is then not ``is_exact``
=========================  ==========================================================

A delta of a block that has not begun is left out, and so is a call whose arguments
were cut off: nobody may take it for one.

Source: ``accumulate_event`` of anthropic-python 2.14, stable and beta.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Block, Text, ToolUse
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    FinishReason,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)

_CITATIONS = "citations_delta"
# A call may have been cut at its very beginning.
_CUT = (FinishReason.LENGTH, FinishReason.REFUSAL)

_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_decode = msgspec.json.Decoder().decode


class MessageBuilder:
    """Takes the events of one answer."""

    def __init__(self) -> None:
        self._blocks: list[_OpenBlock] = []
        # Those of the message that is being told, by their numbers in it.
        self._current: dict[int, _OpenBlock] = {}
        self._before = 0
        self._end: Finished | Failed | None = None
        self._usage = Usage()
        self.model = ""
        self.id = ""

    @property
    def is_over(self) -> bool:
        """Whether there is a whole message, or an error."""
        return self._end is not None

    @property
    def is_whole(self) -> bool:
        """Whether the message is whole, up to what `stop_reason` says.

        Every block has ended, every call's arguments are JSON.
        """
        return (
            self.finished is not None
            and all(block.is_closed for block in self._blocks)
            and len(self.blocks) == len(self._blocks)
        )

    @property
    def is_exact(self) -> bool:
        """Whether the blocks are as the provider itself would tell them."""
        return all(block.is_exact for block in self._blocks)

    @property
    def finished(self) -> Finished | None:
        """The answer's end; None: there is none, or it has failed."""
        return self._end if isinstance(self._end, Finished) else None

    @property
    def error(self) -> CCProxyError | None:
        """Why there is no whole message."""
        return self._end.error if isinstance(self._end, Failed) else None

    @property
    def stop_reason(self) -> str | None:
        """The API's word for why the model stopped; None: it has not."""
        return None if self.finished is None else self.finished.stop_reason

    @property
    def usage(self) -> Usage:
        """What the answer cost, once it is over; before that, what is known."""
        return self._usage if self.finished is None else self.finished.usage

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks so far, those that are still open as they are."""
        return tuple(self._told())

    @property
    def text(self) -> str:
        """What is said in all blocks of text."""
        return "".join(
            block.text for block in self._blocks if isinstance(block.value, Text)
        )

    def receive(self, events: Iterable[Event]) -> None:
        """Take events."""
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
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
                self._current[index] = _OpenBlock(block)
                self._blocks.append(self._current[index])
            case ContentBlockStop(index):
                if index in self._current:
                    self._current[index].is_closed = True
            case MessageStart(model, usage, identifier):
                self.model, self.id, self._usage = model, identifier, usage
                self._current = {}
                self._before = len(self._blocks)
            case Restarted():
                del self._blocks[self._before :]
                self._current = {}
            case Finished() | Failed():
                self._end = event
            case AgentToolUsed():
                # Whoever shows it, shows it in blocks of its own.
                pass

    def _append(self, index: int, field: str, text: str) -> None:
        if index in self._current:
            self._current[index].append(field, text)

    def _told(self) -> Iterator[Block]:
        last = self._blocks[-1] if self._blocks else None
        finished = self.finished
        for open_block in self._blocks:
            can_be_cut = open_block is last and (
                finished is None or finished.reason in _CUT
            )
            block = open_block.whole(can_be_cut=can_be_cut)
            if block is not None:
                yield block


class _OpenBlock:
    """A block, and what has been added to it since it began."""

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
        """Take a delta of a type that has no event of its own."""
        delta = _decode_shallow(raw)
        kind = _decode(delta.pop("type", b'""'))
        if kind == _CITATIONS and "citation" in delta:
            self._extend("citations", [delta["citation"]])
            return
        self.is_exact = False
        for name, value in delta.items():
            self._merge_field(name, value)

    def _merge_field(self, name: str, raw: Raw) -> None:
        added, before = _decode(raw), self._now(name)
        if isinstance(added, str) and (name in self._parts or isinstance(before, str)):
            self.append(name, added)
        elif isinstance(added, list) and isinstance(before, list):
            self._extend(name, added)
        else:
            self.set(**{name: raw})

    def _extend(self, name: str, items: list[Any]) -> None:
        before = self._now(name)
        self.set(**{name: [*(before if isinstance(before, list) else ()), *items]})

    def _now(self, name: str) -> object:
        """A field as it is; the items of a list may be undecoded."""
        if name in self._fields:
            now = self._fields[name]
            return _decode(now) if isinstance(now, Raw) else now
        fields = self._block.fields
        return _decode(fields[name]) if name in fields else None

    def whole(self, *, can_be_cut: bool) -> Block | None:
        """The block; None: a call whose arguments were cut off."""
        arguments = "".join(self._parts.get("input", ()))
        if arguments:
            if not _is_object(arguments):
                return None
        elif can_be_cut and isinstance(self.value, ToolUse):
            return None
        if not self._parts and not self._fields:
            return self._block
        return self._block.replaced(**self._changes(arguments))

    def _changes(self, arguments: str) -> Mapping[str, object]:
        changes = dict(self._fields)
        for name, parts in self._parts.items():
            if name == "input":
                changes[name] = Raw(arguments.encode() or b"{}")
            else:
                before = self._now(name)
                changes[name] = (before if isinstance(before, str) else "") + "".join(
                    parts
                )
        return changes


def _is_object(text: str) -> bool:
    try:
        # No numbers are read: ``1e400`` is JSON, whatever it is to a Python.
        _decode_shallow(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
