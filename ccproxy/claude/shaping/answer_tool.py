"""Makes the answer from the arguments of the proxy's answer tool. Pure.

========  ==========================  ================================================
state     input                       passed on; next state
========  ==========================  ================================================
OPEN      any event but text, call    the event
          and end
OPEN      text                        nothing, the event is held back: HELD
HELD      any other event             nothing, the event is held back
OPEN,     a call of the answer tool   its arguments as text; held events are dropped:
HELD                                  ANSWERED
ANSWERED  a second call of the        the message again, with the second answer
          answer tool
ANSWERED  a call of a client's tool   the message again, without the answer: CALLED
OPEN,     a call of a client's tool   the held events, then the call: CALLED
HELD
CALLED    a call of the answer tool   nothing
CALLED    any other event             the event
ANSWERED  the end                     nothing; the answer is checked
ANSWERED  the end, cut short          the end; a cut answer is not checked
OPEN,     the end                     nothing; the text is checked, because it may be
HELD                                  the answer
CALLED    the end                     the end
========  ==========================  ================================================

If the answer does not satisfy the schema, a second request is sent, and the events that
were passed on are declared void. If an API has already streamed them to the client, it
ends the stream with an error. If the answer is wrapped
(`ccproxy.claude.shaping.wrapped`), the value of the property takes the place of the
arguments.
"""

from collections.abc import Collection
from enum import Enum, auto
from typing import Any

import msgspec
from attrs import evolve
from typing_extensions import override

from ccproxy.claude.body.result import ALL_PARTS, AnswerTool
from ccproxy.claude.shaping.formatted import correction_text, not_satisfied
from ccproxy.claude.shaping.parts import PartsShaper
from ccproxy.claude.shaping.shaper import AskAgain, ComposeAgain, SchemaCheck
from ccproxy.claude.shaping.wrapped import ValueDecoder
from ccproxy.core.blocks import Text, ToolUse, text_block
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    FinishReason,
    InputJSONDelta,
    MessageStart,
    Restarted,
    TextDelta,
    UpstreamRetry,
)

_CUT_SHORT = (FinishReason.LENGTH, FinishReason.REFUSAL)
_NO_ANSWER = "it is prose"


class _State(Enum):
    OPEN = auto()
    HELD = auto()
    ANSWERED = auto()
    CALLED = auto()


class AnswerToolShaper(PartsShaper):
    """Passes on the arguments of the answer tool as the text of the answer.

    Args:
        tool: the answer tool.
        again: composes the second request.
        client_tools: the names of the client's tools; calls of other tools
            are dropped.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(
        self,
        tool: AnswerTool,
        again: ComposeAgain,
        client_tools: Collection[str],
        signed: int = ALL_PARTS,
    ) -> None:
        super().__init__(again, signed)
        self._tool = tool
        self._client_tools = client_tools
        self._end: Finished | None = None
        self._begin()

    def _begin(self) -> None:
        self._state = _State.OPEN
        # The index of the answer tool's block, and the index of a block to be dropped.
        self._answering: int | None = None
        self._dropping: int | None = None
        self._answer: list[str] = []
        self._value: ValueDecoder | None = None
        self._held: list[Event] = []
        # The message's events that were passed on, besides the answer.
        self._kept: list[Event] = []

    @override
    def _take(self, event: Event) -> list[Event]:
        match event:
            case UpstreamRetry() | Failed():
                return [event]
            case MessageStart() | Restarted():
                self._begin()
                return self._parts.renumber([event])
            case Finished():
                return self._finish(event)
            case ContentBlockStart(block, index):
                if isinstance(block.value, ToolUse):
                    return self._call(event, block.value.name, index)
                if isinstance(block.value, Text) and self._state is _State.OPEN:
                    self._state = _State.HELD
            case InputJSONDelta(json, index) if index == self._answering:
                text = json if self._value is None else self._value.feed(json)
                return self._give(text, index)
            case InputJSONDelta(index=index) if index == self._dropping:
                return []
            case ContentBlockStop(index) if index == self._answering:
                self._answering = None
                rest = "" if self._value is None else self._value.end()
                if not rest and not self._answer:
                    # A call without arguments has no JSON in its deltas.
                    rest = "{}"
                return [*self._give(rest, index), *self._parts.renumber([event])]
            case ContentBlockStop(index) if index == self._dropping:
                self._dropping = None
                return []
        if self._state is _State.ANSWERED:
            # Events after an answer are passed on only if a call voids the answer.
            self._held.append(event)
            return []
        if self._state is _State.HELD:
            self._held.append(event)
            return []
        self._kept.append(event)
        return self._parts.renumber([event])

    def _give(self, text: str, index: int) -> list[Event]:
        """Pass on a piece of the answer."""
        if not text:
            return []
        self._answer.append(text)
        return self._parts.renumber([TextDelta(text, index)])

    def _call(self, event: ContentBlockStart, name: str, index: int) -> list[Event]:
        if name == self._tool.name:
            if self._state is _State.CALLED:
                self._dropping = index
                return []
            return self._open_answer(index)
        if name not in self._client_tools:
            self._dropping = index
            return []
        return self._open_call(event)

    def _open_answer(self, index: int) -> list[Event]:
        passed: list[Event] = []
        if self._state is _State.ANSWERED:
            passed = self._parts.restart_message("the model gave two answers")
            passed += self._parts.renumber(self._kept)
        self._state, self._answering = _State.ANSWERED, index
        self._answer.clear()
        self._value = ValueDecoder() if self._tool.is_wrapped else None
        start = ContentBlockStart(text_block(""), index)
        return [*passed, *self._parts.renumber([start])]

    def _open_call(self, event: ContentBlockStart) -> list[Event]:
        passed: list[Event] = []
        if self._state is _State.ANSWERED:
            passed = self._parts.restart_message("the model calls a tool instead")
            passed += self._parts.renumber(self._kept)
        self._state = _State.CALLED
        held, self._held = self._held, []
        self._kept += held
        return [*passed, *self._parts.renumber([*held, event])]

    def _finish(self, end: Finished) -> list[Event]:
        if self._state is _State.CALLED:
            return [end]
        if end.reason in _CUT_SHORT:
            is_answered = self._state is _State.ANSWERED
            held = [] if is_answered else self._parts.renumber(self._held)
            return [*held, end]
        self._end = evolve(end, stop_reason="end_turn")
        if end.stop_reason == "stop_sequence":
            self._end = end
        is_answered = self._state is _State.ANSWERED
        instance = "".join(self._answer) if is_answered else self._parts.text
        if self._tool.schema is not None:
            self.pending = SchemaCheck(self._tool.schema, instance.encode())
            return []
        problem = None if _is_object(instance) else "it is not a JSON object"
        return self.checked(problem)

    @override
    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of the check; returns the events to pass on."""
        self.pending = None
        is_answered = self._state is _State.ANSWERED
        if problem is None:
            held = [] if is_answered else self._parts.renumber(self._held)
            return [*held, *([] if self._end is None else [self._end])]
        why = problem if is_answered else _NO_ANSWER
        body = None
        if self._parts.number == 0:
            words = correction_text(why) if is_answered else self._instruction()
            body = self._again(self._parts.blocks, words)
        if body is None:
            return [Failed(not_satisfied(why))]
        passed: list[Event] = []
        if is_answered:
            passed = self._parts.void(
                f"the model's answer did not satisfy the schema ({why})"
            )
        self._parts.begin_next_part()
        self._begin()
        self.pending = AskAgain(body)
        return passed

    def _instruction(self) -> str:
        return f"Give your final answer now, by calling the tool `{self._tool.name}`."


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
