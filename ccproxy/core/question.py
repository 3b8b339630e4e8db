"""A request that is ready to be sent to the model, and the receiver of its answer."""

from collections.abc import Sequence
from typing import Protocol

from ccproxy.core.stream import Event


class PreparedQuestion(Protocol):
    """A request that a backend has prepared; it can be asked several times."""

    @property
    def model(self) -> str:
        """The model name that the client's name was resolved to."""

    @property
    def effort(self) -> str | None:
        """The effort that is sent; None: the model's default."""

    @property
    def adjusted(self) -> Sequence[str]:
        """The client's paths of fields that are sent in another form."""

    @property
    def ignored(self) -> Sequence[str]:
        """The client's paths of fields that are not sent."""

    @property
    def prefix(self) -> str:
        """The hash of everything before the answer; empty: unknown.

        Thinking that the client has to send back is stored with this hash.
        """


class Listener(Protocol):
    """The receiver of one answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take events that arrived together, at least one, in order.

        The last event of an answer is its only ``Finished`` or ``Failed``.
        """
