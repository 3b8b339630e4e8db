"""The backend that answers questions, as the web server and the APIs know it.

`Backend` is implemented by `ccproxy.claude.backend`, and by a script in tests.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event
from ccproxy.core.usage import RateWindow

# To decode or compose a larger request can take some ten milliseconds, or seconds.
LARGE_BYTES = 2**17


class PreparedQuestion(Protocol):
    """A request that a backend has prepared; it can be sent several times."""

    @property
    def model(self) -> str:
        """The model's name for the CLI, resolved from the client's."""

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


@frozen(kw_only=True)
class Status:
    """The state of the CLI and of its login.

    Attributes:
        answers: whether the CLI can be started, and has reported its version and login.
        why_not: the reason if it does not answer; empty: it answers, or there is none.
        version: the CLI's version; None: not known yet.
        is_logged_in: whether the CLI reports a login.
        login: the source of the login, in the CLI's words.
        account: the e-mail address of the login; None: the CLI does not report one.
        subscription: the kind of subscription; None: not reported.
        windows: the subscription's rate limits, as far as they were reported.
        composer: how requests reach the CLI, ``body`` or ``native``.
        why_native: the reason for ``native``, one clause; empty with ``body``.
    """

    answers: bool
    version: str | None
    is_logged_in: bool
    login: str | None
    account: str | None
    subscription: str | None
    windows: Sequence[RateWindow] = ()
    composer: str = "body"
    why_native: str = ""
    why_not: str = ""


@frozen(kw_only=True)
class ModelEntry:
    """A model that a client can name.

    Attributes:
        name: the value of the client's ``model`` field.
        since_seconds: when the proxy learned of the model, in Unix time.
    """

    name: str
    since_seconds: int


class PendingRequest(Protocol):
    """A request that is being answered."""

    @property
    def queued_seconds(self) -> float:
        """The time that the request has waited for a process."""

    def cancel(self) -> None:
        """Cancel the request; the listener is not called again."""

    def pause(self) -> None:
        """Pause the events of the answer."""

    def resume(self) -> None:
        """Resume the events of the answer."""


class Backend(Protocol):
    """Answers requests: `ccproxy.claude.backend`, or a script in tests."""

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
        """Send a prepared request; never calls the listener before it returns."""

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            CCProxyError: there is no such model.
        """

    async def models(self) -> Sequence[ModelEntry]:
        """The models that a client can name."""

    async def status(self) -> Status:
        """Whether the CLI answers, and with which login."""
