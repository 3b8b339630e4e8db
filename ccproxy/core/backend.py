"""The interface through which the web server and the APIs use the model.

`ccproxy.claude.backend` implements `Backend`; tests implement it by a script.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event
from ccproxy.core.usage import RateWindow

# Decoding or composing a larger request takes tens of milliseconds, or even seconds.
# Such a request is handled in a thread, because it would block the reactor.
LARGE_BYTES = 2**17


class PreparedQuestion(Protocol):
    """A request that a backend has prepared; it can be sent several times."""

    @property
    def model(self) -> str:
        """The model's name as the CLI gets it, resolved from the client's name."""

    @property
    def effort(self) -> str | None:
        """The effort that is sent; None: the model's default."""

    @property
    def thinks_by_name(self) -> bool:
        """Whether the client's name of the model asks for thinking."""

    @property
    def adjusted(self) -> Sequence[str]:
        """Fields that are sent in another form, by their paths in the request."""

    @property
    def ignored(self) -> Sequence[str]:
        """Fields that are not sent, by their paths in the request."""

    @property
    def prefix(self) -> str:
        """The hash of everything before the answer; empty: unknown.

        Thinking that the client has to send back is stored with this hash.
        """

    @property
    def conversation(self) -> str:
        """The id of the conversation, as the usage ledger counts it."""


class Listener(Protocol):
    """The receiver of one answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take one or more events that arrived together, in order.

        The last event of an answer is its only ``Finished`` or ``Failed``.
        """


@frozen(kw_only=True)
class Status:
    """The state of the CLI and of its login.

    Attributes:
        answers: whether the CLI can be started, and has reported its version and login.
        why_not: why the CLI does not answer; empty: it answers, or the reason is not
            known.
        version: the CLI's version; None: not known yet.
        is_logged_in: whether the CLI reports a login.
        login: the source of the login, in the CLI's words.
        account: the e-mail address of the login; None: the CLI does not report one.
        subscription: the kind of subscription; None: not reported.
        windows: the subscription's rate limits that the CLI has reported.
        composer: how requests reach the CLI, ``body`` or ``native``.
        why_native: the reason for ``native``, one clause; empty with ``body``.
        conformance: whether this version of the CLI does what the proxy relies on:
            ``tested``, ``newer_than_tested``, ``falls_short`` or ``unchecked``.
        falls_short_in: the names of the behaviours that this version lacks.
        why_not_updated: why the CLI that was installed last is not used, one clause;
            empty: it is used.
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
    conformance: str = "unchecked"
    falls_short_in: Sequence[str] = ()
    why_not_updated: str = ""


@frozen(kw_only=True)
class ModelSize:
    """The limits of a model; None: not known.

    Attributes:
        context_tokens: the size of the context window, for request and answer together.
        output_tokens: the size of the longest answer.
    """

    context_tokens: int | None = None
    output_tokens: int | None = None


@frozen(kw_only=True)
class ModelEntry:
    """A model that a client can name.

    Attributes:
        name: the value of the client's ``model`` field.
        since_seconds: when the proxy learned of the model, in Unix time.
        size: the model's limits, which are known after its first answer.
    """

    name: str
    since_seconds: int
    size: ModelSize = ModelSize()


@frozen(kw_only=True)
class TokenCount:
    """The number of input tokens of a request.

    Attributes:
        tokens: the number.
        is_exact: whether the provider has counted the whole request; otherwise the
            number is an estimate.
    """

    tokens: int
    is_exact: bool


class PendingRequest(Protocol):
    """A request that is being answered."""

    @property
    def adjusted(self) -> Sequence[str]:
        """Further fields that are sent in another form; see `PreparedQuestion`.

        If the provider refuses the request, a changed request may be sent.
        """

    @property
    def ignored(self) -> Sequence[str]:
        """Further fields that the changed request lacks; see `PreparedQuestion`."""

    @property
    def queued_seconds(self) -> float:
        """The time for which the request has waited for a process."""

    def cancel(self) -> None:
        """Cancel the request; the listener is not called again."""

    def pause(self) -> None:
        """Pause the events of the answer."""

    def resume(self) -> None:
        """Resume the events of the answer."""


class Backend(Protocol):
    """Prepares and answers requests."""

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> PreparedQuestion:
        """Prepare a request.

        Args:
            request: its ``model`` is the client's name of the model; empty: the
                configured model.
            owner: the id of the client's key. Answers remembered for one owner are
                never used for another.

        Raises:
            CCProxyError: the model does not exist, or the request is invalid; ``param``
                is the path of the field in the client's request.
        """

    def ask(self, question: PreparedQuestion, listener: Listener) -> PendingRequest:
        """Send a prepared request; the listener is called only after this returns."""

    async def count(self, request: MessagesRequest, *, owner: str = "") -> TokenCount:
        """Count the input tokens of a request, without a call of the model.

        Args:
            request: as for `prepare`.
            owner: as for `prepare`.

        Raises:
            CCProxyError: the model does not exist, the request is invalid, or the
                backend is too busy.
        """

    async def model(self, name: str) -> ModelEntry:
        """Find the entry, as in `models`, of the model that a client's name means.

        Raises:
            CCProxyError: there is no such model.
        """

    async def models(self) -> Sequence[ModelEntry]:
        """The models that a client can name."""

    async def status(self) -> Status:
        """Whether the CLI answers, and with which login."""
