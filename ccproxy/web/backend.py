"""The backend that answers questions, as the routes need it."""

from collections.abc import Sequence
from typing import Protocol

from ccproxy.core.messages import MessagesRequest
from ccproxy.core.question import Listener, PreparedQuestion
from ccproxy.core.status import ModelEntry, Status


class PendingRequest(Protocol):
    """A question that is being answered."""

    @property
    def queued_seconds(self) -> float:
        """The time that the question has waited for a process."""

    def cancel(self) -> None:
        """Cancel the question; the listener is not called again."""

    def pause(self) -> None:
        """Stop the events of the answer."""

    def resume(self) -> None:
        """Let the events come again."""


class Backend(Protocol):
    """Answers questions: `ccproxy.claude.backend`, or a script in tests."""

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> PreparedQuestion:
        """Prepare a request.

        Args:
            request: its ``model`` is the client's name for it; empty: the configured
                model.
            owner: the id of the client's key. Answers remembered for one owner are
                never used for another.

        Raises:
            CCProxyError: the model does not exist, or the request is invalid; ``param``
                is the client's path.
        """

    def ask(self, question: PreparedQuestion, listener: Listener) -> PendingRequest:
        """Ask a question; never calls the listener before it returns."""

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            CCProxyError: there is no such model.
        """

    async def models(self) -> Sequence[ModelEntry]:
        """The models that a client can name."""

    async def status(self) -> Status:
        """Whether the CLI answers, and with which login."""
