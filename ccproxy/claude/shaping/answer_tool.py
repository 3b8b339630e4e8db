"""An answer by a schema that is given as the arguments of a tool of ours. Pure.

========  =========================  =================================================
state     what comes                 what is told; next state
========  =========================  =================================================
OPEN      thinking and the like      that
OPEN      text                       nothing: HELD
HELD      anything else              nothing
OPEN,     a call of our tool         its arguments as text; what was held back is
HELD                                 dropped: ANSWERED
ANSWERED  another call of our tool   the message anew, with that answer
ANSWERED  a call of the client's     the message anew, without the answer: CALLED
OPEN,     a call of the client's     what was held back, then that: CALLED
HELD
CALLED    a call of our tool         nothing
CALLED    anything else              that
ANSWERED  the end                    nothing: the answer is checked
ANSWERED  the end, cut short         that: a cut answer stays as it is
OPEN,     the end                    nothing: the text is checked, it may be the answer
HELD
CALLED    the end                    that
========  =========================  =================================================

An answer that does not satisfy the schema is asked for once more. What was told of it
is declared void; a client that has read it already gets an error from its dialect.
"""

from collections.abc import Collection, Sequence
from enum import Enum, auto
from typing import Any

import msgspec
from attrs import evolve

from ccproxy.claude.body.result import ALL_PARTS, AnswerTool
from ccproxy.claude.shaping.formatted import not_satisfied, wrong
from ccproxy.claude.shaping.parts import AnswerParts
from ccproxy.claude.shaping.shaper import AskAgain, ComposeAgain, SchemaCheck
from ccproxy.core.messages import Text, ToolUse, text_block
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


class AnswerToolShaper:
    """Tells the arguments of a tool of ours as the text of the answer.

    Args:
        tool: ours.
        again: composes the question once more.
        client_tools: the names of the client's; any other call is dropped.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(
        self,
        tool: AnswerTool,
        again: ComposeAgain,
        client_tools: Collection[str],
        signed: int = ALL_PARTS,
    ) -> None:
        self._tool = tool
        self._again = again
        self._client_tools = client_tools
        self._parts = AnswerParts(signed)
        self._pending: SchemaCheck | AskAgain | None = None
        self._end: Finished | None = None
        self._begin()

    def _begin(self) -> None:
        self._state = _State.OPEN
        # The block of the message that is our tool's, or is to be dropped.
        self._answering: int | None = None
        self._dropping: int | None = None
        self._answer: list[str] = []
        self._held: list[Event] = []
        # What was told of the message besides the answer.
        self._kept: list[Event] = []

    @property
    def pending(self) -> SchemaCheck | AskAgain | None:
        """The check, or the second question."""
        return self._pending

    def filter(self, events: Sequence[Event]) -> list[Event]:
        """What may be told of these events."""
        self._pending = None
        told: list[Event] = []
        for event in events:
            self._parts.take(event)
            told += self._take(event)
        return told

    def _take(self, event: Event) -> list[Event]:
        match event:
            case UpstreamRetry() | Failed():
                return [event]
            case MessageStart() | Restarted():
                self._begin()
                return self._parts.tell([event])
            case Finished():
                return self._finish(event)
            case ContentBlockStart(block, index):
                if isinstance(block.value, ToolUse):
                    return self._call(event, block.value.name, index)
                if isinstance(block.value, Text) and self._state is _State.OPEN:
                    self._state = _State.HELD
            case InputJSONDelta(json, index) if index == self._answering:
                self._answer.append(json)
                return self._parts.tell([TextDelta(json, index)]) if json else []
            case InputJSONDelta(index=index) if index == self._dropping:
                return []
            case ContentBlockStop(index) if index == self._answering:
                self._answering = None
                if any(self._answer):
                    return self._parts.tell([event])
                # A call without arguments is told without any JSON.
                self._answer.append("{}")
                return self._parts.tell([TextDelta("{}", index), event])
            case ContentBlockStop(index) if index == self._dropping:
                self._dropping = None
                return []
        if self._state is _State.ANSWERED:
            # Nothing is said behind an answer; it is told if a call voids the answer.
            self._held.append(event)
            return []
        if self._state is _State.HELD:
            self._held.append(event)
            return []
        self._kept.append(event)
        return self._parts.tell([event])

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
        told: list[Event] = []
        if self._state is _State.ANSWERED:
            told = self._parts.begin_again("the model gave two answers")
            told += self._parts.tell(self._kept)
        self._state, self._answering = _State.ANSWERED, index
        self._answer.clear()
        start = ContentBlockStart(text_block(""), index)
        return [*told, *self._parts.tell([start])]

    def _open_call(self, event: ContentBlockStart) -> list[Event]:
        told: list[Event] = []
        if self._state is _State.ANSWERED:
            told = self._parts.begin_again("the model calls a tool instead")
            told += self._parts.tell(self._kept)
        self._state = _State.CALLED
        held, self._held = self._held, []
        self._kept += held
        return [*told, *self._parts.tell([*held, event])]

    def _finish(self, end: Finished) -> list[Event]:
        if self._state is _State.CALLED:
            return [end]
        if end.reason in _CUT_SHORT:
            is_answered = self._state is _State.ANSWERED
            held = [] if is_answered else self._parts.tell(self._held)
            return [*held, end]
        self._end = evolve(end, stop_reason="end_turn")
        if end.stop_reason == "stop_sequence":
            self._end = end
        is_answered = self._state is _State.ANSWERED
        instance = "".join(self._answer) if is_answered else self._parts.text
        if self._tool.schema is not None:
            self._pending = SchemaCheck(self._tool.schema, instance.encode())
            return []
        problem = None if _is_object(instance) else "it is no JSON object"
        return self.checked(problem)

    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of the check."""
        self._pending = None
        is_answered = self._state is _State.ANSWERED
        if problem is None:
            held = [] if is_answered else self._parts.tell(self._held)
            return [*held, *([] if self._end is None else [self._end])]
        why = problem if is_answered else _NO_ANSWER
        body = None
        if self._parts.number == 0:
            words = wrong(why) if is_answered else self._order()
            body = self._again(self._parts.said, words)
        if body is None:
            return [Failed(not_satisfied(why))]
        told: list[Event] = []
        if is_answered:
            told = self._parts.void(
                f"the model's answer did not satisfy the schema ({why})"
            )
        self._parts.next_part()
        self._begin()
        self._pending = AskAgain(body)
        return told

    def _order(self) -> str:
        return f"Give your final answer now, by calling the tool `{self._tool.name}`."


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
