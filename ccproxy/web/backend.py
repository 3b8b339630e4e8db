"""What the web room needs of whatever answers: its own side of the seam."""

from collections.abc import Sequence
from typing import Protocol

from ccproxy.core.messages import MessagesRequest
from ccproxy.core.models import ModelEntry
from ccproxy.core.question import Listener, PreparedQuestion
from ccproxy.core.status import Status


class PendingRequest(Protocol):
    """A question that was asked and is not answered yet."""

    @property
    def queued_seconds(self) -> float:
        """How long it has waited for a process."""

    def cancel(self) -> None:
        """Give up; the listener is told nothing more."""

    def pause(self) -> None:
        """Stop the answer from coming."""

    def resume(self) -> None:
        """Let it come."""


class Backend(Protocol):
    """What answers questions: the claude room, or a script in the tests."""

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> PreparedQuestion:
        """Make a request ready to be asked.

        Args:
            request: its ``model`` is the client's name; empty for the configured one.
            owner: the id of the client's key; what is remembered for one owner is
                never used for another.

        Raises:
            CCProxyError: the model does not exist, or the request cannot be asked;
                ``param`` is the client's path.
        """

    def ask(self, question: PreparedQuestion, listener: Listener) -> PendingRequest:
        """Ask; the listener is never called from within."""

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            CCProxyError: it means none.
        """

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""

    async def status(self) -> Status:
        """Whether the CLI answers, and with which login."""
