"""What is known of the CLI."""

from collections.abc import Sequence

from attrs import frozen

from ccproxy.claude.installation.compose_mode import ComposeMode
from ccproxy.core.usage import RateWindow


@frozen(kw_only=True)
class Status:
    """What is known of the CLI.

    Attributes:
        answers: whether it has been initialized and has told of itself.
        login: where its login comes from, in its own words.
        account: whose it is; None where it does not tell.
        subscription: the kind of it.
        windows: how much of its limits is used, as far as that was told.
        composer: how questions are asked, ``body`` or ``native``.
        why_native: why not otherwise, one clause; empty: they are set whole.
    """

    answers: bool
    version: str | None
    is_logged_in: bool
    login: str | None
    account: str | None
    subscription: str | None
    windows: Sequence[RateWindow] = ()
    composer: str = ComposeMode.BODY.value
    why_native: str = ""
