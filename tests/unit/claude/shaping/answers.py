"""Scripted answers, and a client's view of the events that a shaper passes on."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.shaping.shaper import AnswerShaper, AskAgain, SchemaCheck
from ccproxy.core.blocks import Block, text_block, thinking_block, tool_use_block
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)

SECOND = ComposedBody(
    model="sonnet", system="", effort=None, first_text="x", json=b"{}"
)


def pieces(text: str, size: int) -> list[str]:
    """A text cut into pieces."""
    return [text[n : n + size] for n in range(0, len(text), size)]


def saying(*blocks: Any, size: int = 3) -> list[Event]:
    """A message without its end: texts, calls as ``("name", {})``, ``...`` thinks."""
    events: list[Event] = [MessageStart("claude-opus-5-5", Usage(input_tokens=7), "m")]
    for index, block in enumerate(blocks):
        if block is ...:
            events += [
                ContentBlockStart(thinking_block("", ""), index),
                ThinkingDelta("hm", index),
                SignatureDelta("c2ln", index),
            ]
        elif isinstance(block, str):
            events.append(ContentBlockStart(text_block(""), index))
            events += [TextDelta(piece, index) for piece in pieces(block, size)]
        else:
            name, arguments = block
            raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
            start = tool_use_block(f"toolu_{index}", name, {})
            events.append(ContentBlockStart(start, index))
            events += [InputJSONDelta(piece, index) for piece in pieces(raw, size)]
        events.append(ContentBlockStop(index))
    return events


def answer(*blocks: Any, end: str = "", size: int = 3) -> list[Event]:
    """A whole message."""
    has_call = any(isinstance(block, tuple) for block in blocks)
    reason = end or ("tool_use" if has_call else "end_turn")
    return [*saying(*blocks, size=size), Finished(reason, Usage(output_tokens=5))]


@define
class Asked:
    """Takes what a shaper would ask again with."""

    said: list[tuple[Block, ...]] = field(factory=list)
    words: list[str] = field(factory=list)
    has_room: bool = True

    def __call__(self, said: Sequence[Block], words: str) -> ComposedBody | None:
        self.said.append(tuple(said))
        self.words.append(words)
        return SECOND if self.has_room else None


class Client:
    """Reads what it is told as the API's clients do, and sees that it is in order."""

    def __init__(self) -> None:
        self.builder = MessageBuilder()
        self.events: list[Event] = []
        self.restarts = 0
        self._open: int | None = None
        self._next = 0
        self._has_begun = False

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            assert not self.builder.is_over, "told behind the end"
            self._check(event)
            self.builder.receive([event])
            self.events.append(event)

    def _check(self, event: Event) -> None:
        match event:
            case MessageStart():
                assert not self._has_begun, "a message within a message"
                self._has_begun = True
                self._open, self._next = None, 0
            case Restarted():
                self.restarts += 1
                self._has_begun = False
                self._open = None
            case ContentBlockStart(index=index):
                assert self._has_begun
                assert self._open is None, "a block within a block"
                assert index >= self._next, "a number twice"
                self._open, self._next = index, index + 1
            case ContentBlockStop(index):
                assert self._open == index
                self._open = None
            case (
                TextDelta(index=index)
                | ThinkingDelta(index=index)
                | InputJSONDelta(index=index)
                | SignatureDelta(index=index)
            ):
                assert self._open == index
            case Finished() | Failed():
                assert self._open is None

    @property
    def text(self) -> str:
        return self.builder.text

    @property
    def kinds(self) -> list[str]:
        return [block.type for block in self.builder.blocks]

    @property
    def stop_reason(self) -> str | None:
        return self.builder.stop_reason

    @property
    def is_over(self) -> bool:
        return self.builder.is_over


def run(
    shaper: AnswerShaper,
    *answers: Sequence[Event],
    chunk: int = 1,
    problem: Callable[[SchemaCheck], str | None] = lambda check: None,
) -> Client:
    """Tell a shaper answers, as many as it asks for, and a client the outcome."""
    client = Client()
    waiting = list(answers)
    while waiting:
        events = waiting.pop(0)
        for start in range(0, len(events), chunk):
            client.take(shaper.filter(events[start : start + chunk]))
            if client.is_over:
                return client
        while isinstance(shaper.pending, SchemaCheck):
            client.take(shaper.checked(problem(shaper.pending)))
        if client.is_over:
            return client
        assert isinstance(shaper.pending, AskAgain), "the answer has no end"
        assert shaper.pending.body == SECOND
    raise AssertionError("more was asked than there are answers")
