"""An answer that the provider itself holds to a schema, checked at its end. Pure.

========  ==============================  =============================================
state     what comes                      what is told; next state
========  ==============================  =============================================
TELLING   events                          all of them
TELLING   the end of an answer in text    nothing: CHECKING
TELLING   any other end (a call, a cut)   that
CHECKING  it satisfies the schema         the end
CHECKING  it does not, for the first      `Restarted`; the question is asked once more:
          time                            TELLING
CHECKING  it does not                     an error
========  ==============================  =============================================
"""

from collections.abc import Sequence

from ccproxy.claude.body.result import ALL_PARTS
from ccproxy.claude.shaping.parts import AnswerParts
from ccproxy.claude.shaping.shaper import AskAgain, ComposeAgain, SchemaCheck
from ccproxy.core.errors import SchemaNotSatisfied
from ccproxy.core.messages import ToolUse
from ccproxy.core.stream import Event, Failed, Finished, FinishReason


class FormatShaper:
    """Tells an answer as it comes, and holds back its end until it was checked.

    Args:
        schema: the client's, as JSON.
        again: composes the question once more.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(
        self, schema: bytes, again: ComposeAgain, signed: int = ALL_PARTS
    ) -> None:
        self._schema = schema
        self._again = again
        self._parts = AnswerParts(signed)
        self._end: Finished | None = None
        self._pending: SchemaCheck | AskAgain | None = None

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
            if isinstance(event, Finished) and self._is_an_answer(event):
                self._end = event
                instance = self._parts.text.encode()
                self._pending = SchemaCheck(self._schema, instance)
            else:
                told += self._parts.tell([event])
        return told

    def _is_an_answer(self, end: Finished) -> bool:
        if end.reason is not FinishReason.STOP:
            return False
        return not any(isinstance(b.value, ToolUse) for b in self._parts.said)

    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of the check."""
        self._pending = None
        if problem is None:
            return [] if self._end is None else [self._end]
        body = None
        if self._parts.number == 0:
            body = self._again(self._parts.said, wrong(problem))
        if body is None:
            return [Failed(not_satisfied(problem))]
        told = self._parts.void(
            f"the model's answer did not satisfy the schema ({problem})"
        )
        self._parts.next_part()
        self._pending = AskAgain(body)
        return told


def wrong(problem: str) -> str:
    """What is told to a model whose answer does not satisfy the schema."""
    return (
        f"That answer does not satisfy the schema: {problem}. "
        "Give the whole answer once more, so that it does."
    )


def not_satisfied(problem: str) -> SchemaNotSatisfied:
    """What is told to the client at last."""
    return SchemaNotSatisfied(
        f"the model's answer does not satisfy the schema: {problem}; try again, or "
        "describe better what you want"
    )
