"""What a backend reports of itself: the state of the CLI, and the models."""

from collections.abc import Sequence

from attrs import frozen

from ccproxy.core.usage import RateWindow


@frozen(kw_only=True)
class Status:
    """The state of the CLI and of its login.

    Attributes:
        answers: whether a CLI was started and reported its version and login.
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


@frozen(kw_only=True)
class ModelEntry:
    """A model that a client can name.

    Attributes:
        name: the value of the client's ``model`` field.
        since_seconds: when the proxy learned of the model, in Unix time.
    """

    name: str
    since_seconds: int
