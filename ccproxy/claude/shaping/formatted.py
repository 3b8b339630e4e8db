"""Checks answers against a schema that the provider enforces only in part. Pure.

A part is the answer to one request to the provider; an answer has at most two parts.

=========  ===============================  ===========================================
state      input                            passed on; next state
=========  ===============================  ===========================================
STREAMING  events                           the events
STREAMING  the end of an answer in text     nothing: CHECKING
STREAMING  any other end: a call, cut off   the end
CHECKING   a valid answer                   the end
CHECKING   an invalid first part            `Restarted`; a second request: STREAMING
CHECKING   an invalid second part           an error
=========  ===============================  ===========================================
"""

from typing_extensions import override

from ccproxy.claude.body.result import ALL_PARTS
from ccproxy.claude.shaping.parts import PartsShaper
from ccproxy.claude.shaping.shaper import AskAgain, ComposeAgain, SchemaCheck
from ccproxy.core.blocks import ToolUse
from ccproxy.core.errors import SchemaNotSatisfied
from ccproxy.core.stream import Event, Failed, Finished, FinishReason


class FormatShaper(PartsShaper):
    """Passes on the events, but holds back the end until the answer is checked.

    Args:
        schema: the client's schema as JSON.
        again: composes the second request.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(
        self, schema: bytes, again: ComposeAgain, signed: int = ALL_PARTS
    ) -> None:
        super().__init__(again, signed)
        self._schema = schema
        self._end: Finished | None = None

    @override
    def _take(self, event: Event) -> list[Event]:
        if isinstance(event, Finished) and self._is_an_answer(event):
            self._end = event
            self.pending = SchemaCheck(self._schema, self._parts.text.encode())
            return []
        return self._parts.renumber([event])

    def _is_an_answer(self, end: Finished) -> bool:
        if end.reason is not FinishReason.STOP:
            return False
        return not any(isinstance(b.value, ToolUse) for b in self._parts.blocks)

    @override
    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of the check; returns the events to pass on."""
        self.pending = None
        if problem is None:
            return [] if self._end is None else [self._end]
        body = None
        if self._parts.number == 0:
            body = self._again(self._parts.blocks, correction_text(problem))
        if body is None:
            return [Failed(not_satisfied(problem))]
        passed = self._parts.void(
            f"the model's answer did not satisfy the schema ({problem})"
        )
        self._parts.begin_next_part()
        self.pending = AskAgain(body)
        return passed


def correction_text(problem: str) -> str:
    """The text to a model whose answer does not satisfy the schema."""
    return (
        f"That answer does not satisfy the schema: {problem}. "
        "Give the whole answer once more, so that it does."
    )


def not_satisfied(problem: str) -> SchemaNotSatisfied:
    """The error if the second answer does not satisfy the schema either."""
    return SchemaNotSatisfied(
        f"the model's answer does not satisfy the schema: {problem}; try again, or "
        "describe the wanted answer in more detail"
    )
