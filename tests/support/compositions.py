"""Prepared questions for tests of the code that asks them."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.completion.composer import ComposedQuestion
from ccproxy.claude.models import NamedModel
from ccproxy.claude.shaping.shaper import AskAgain, SchemaCheck
from ccproxy.core.messages import MessagesRequest, client_tool
from ccproxy.core.stream import Event, Finished

BODY = ComposedBody(
    model="m", system="", effort=None, first_text="hello", json=b'{"messages":[]}'
)


@frozen(kw_only=True)
class FakeComposition:
    """A composition with a shaper of the test's."""

    body: ComposedBody = BODY
    shaper: Callable[[], Any] = lambda: None
    plain: "FakeComposition | None" = None
    prefix: str = "prefix"
    is_remembered: bool = True
    adjusted: Sequence[str] = ()
    ignored: Sequence[str] = ()

    def without_refused(self, message: str) -> "FakeComposition | None":
        is_known = "bound to" in message or "too large" in message
        return self.plain if is_known else None


@define(eq=False)
class HoldingShaper:
    """Holds the answer's end back until nothing is pending."""

    todo: list[SchemaCheck | AskAgain] = field(factory=list)
    problems: list[str | None] = field(factory=list)
    pending: SchemaCheck | AskAgain | None = None
    _end: Finished | None = None

    def filter(self, events: Sequence[Event]) -> list[Event]:
        self.pending = None
        told = list(events)
        if isinstance(told[-1], Finished) and self.todo:
            end = told.pop()
            assert isinstance(end, Finished)
            self._end = end
            self.pending = self.todo.pop(0)
        return told

    def checked(self, problem: str | None) -> list[Event]:
        self.problems.append(problem)
        self.pending = self.todo.pop(0) if self.todo else None
        if self.pending is not None:
            return []
        assert self._end is not None
        return [self._end]


def question(
    system: str = "", *, tools: bool = False, **options: Any
) -> ComposedQuestion:
    """A question with a system prompt."""
    composition: Any = FakeComposition(body=evolve(BODY, system=system), **options)
    offered = (client_tool("look", None, {"type": "object"}),) if tools else ()
    request = MessagesRequest(messages=(), tools=offered)
    return ComposedQuestion(
        request=request,
        named=NamedModel(model="m"),
        owner="key",
        composition=composition,
    )
