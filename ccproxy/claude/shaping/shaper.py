"""The interface between an answer's shaping and whoever asks the question. Pure."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from attrs import frozen

from ccproxy.claude.body.result import ComposedBody
from ccproxy.core.messages import Block
from ccproxy.core.stream import Event


@frozen
class SchemaCheck:
    """The answer has to be compared with its schema before its end is told.

    Attributes:
        schema: JSON.
        instance: what the model has said, JSON or not.
    """

    schema: bytes
    instance: bytes


@frozen
class AskAgain:
    """Another question has to be asked before the end is told."""

    body: ComposedBody


# Composes the question once more, behind an answer and words to the model; None: there
# is no place for the words. It is `Composition.again`.
ComposeAgain: TypeAlias = Callable[[Sequence[Block], str], ComposedBody | None]


class AnswerShaper(Protocol):
    """Shapes one answer; pure.

    An answer may have several parts: the question is asked once more (`AskAgain`), and
    the events of the second answer come behind those of the first.
    """

    def filter(self, events: Sequence[Event]) -> list[Event]:
        """What of these events may be told now.

        On the model's end it may hold back the end: then `pending` says what is next.
        It may also end the answer before the model does.
        """

    @property
    def pending(self) -> SchemaCheck | AskAgain | None:
        """What has to happen before the end is told; None: nothing."""

    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of a `SchemaCheck`; what may be told now."""


class PlainShaper:
    """Tells an answer as it comes."""

    def filter(self, events: Sequence[Event]) -> list[Event]:
        """All of them."""
        return list(events)

    @property
    def pending(self) -> SchemaCheck | AskAgain | None:
        """Nothing."""
        return None

    def checked(self, problem: str | None) -> list[Event]:
        """Nothing is ever checked."""
        return []
