"""What of an answer the client is told, and what becomes of its end.

This is the interface; see the brief of the new core.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from ccproxy.claude.body.composed import ComposedBody
from ccproxy.core.stream import Event


@frozen
class Check:
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


class AnswerShaper(Protocol):
    """Shapes one answer; pure."""

    def filter(self, events: Sequence[Event]) -> list[Event]:
        """What of these events may be told now.

        On the model's end it may hold back the end: then `pending` says what is next.
        """

    @property
    def pending(self) -> Check | AskAgain | None:
        """What has to happen before the end is told; None: nothing."""

    def checked(self, problem: str | None) -> list[Event]:
        """Take the outcome of a `Check`; what may be told now."""
