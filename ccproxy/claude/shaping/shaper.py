"""The interface of shapers, for the code that sends requests. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import frozen

from ccproxy.claude.body.result import ComposedBody
from ccproxy.core.blocks import Block
from ccproxy.core.stream import Event


@frozen
class SchemaCheck:
    """The answer must be checked against its schema before its end is passed on.

    Attributes:
        schema: the JSON Schema.
        instance: the model's answer; it may be invalid JSON.
    """

    schema: bytes
    instance: bytes


@frozen
class AskAgain:
    """A second request must be sent before the answer's end is passed on."""

    body: ComposedBody


# `Composition.again`: composes the second request from the first answer and a text to
# the model; returns None if no text can follow this conversation.
ComposeAgain: TypeAlias = Callable[[Sequence[Block], str], ComposedBody | None]


class AnswerShaper(ABC):
    """Filters the events of one answer; an unchanged answer has no shaper.

    An answer may have two parts: if a second request is sent (`AskAgain`), the events
    of its answer follow the events of the first part.

    Attributes:
        pending: the step that is needed before the answer's end, which is held back, is
            passed on; None if no step is needed.
    """

    pending: SchemaCheck | AskAgain | None = None

    @abstractmethod
    def filter(self, events: Sequence[Event]) -> list[Event]:
        """The events to pass on now.

        The shaper may hold back the answer's end: then `pending` is the next
        step. It may also end the answer before the model does.
        """

    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of a `SchemaCheck`; returns the events to pass on."""
        raise NotImplementedError
