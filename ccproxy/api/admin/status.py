"""``GET /ready``: a document of our own, which OpenAI has nothing like."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ccproxy.api.admin.usage import Window, window_documents
from ccproxy.core.usage import RateWindow


class Known(Protocol):
    """What is known of the CLI."""

    @property
    def answers(self) -> bool:
        """Whether it does."""

    @property
    def version(self) -> str | None:
        """Its version."""

    @property
    def is_logged_in(self) -> bool:
        """Whether it has a login, as far as it tells."""

    @property
    def login(self) -> str | None:
        """Where the login comes from."""

    @property
    def account(self) -> str | None:
        """Whose it is."""

    @property
    def subscription(self) -> str | None:
        """The kind of it."""

    @property
    def windows(self) -> Sequence[RateWindow]:
        """How much of its limits is used, as far as that was told."""

    @property
    def composer(self) -> str:
        """How it is asked: ``body`` or ``native``."""

    @property
    def why_native(self) -> str:
        """Why it is asked the native way; empty: it is not."""


class _Login(msgspec.Struct):
    present: bool
    source: str | None
    account: str | None
    subscription: str | None


class _Claude(msgspec.Struct):
    answers: bool
    version: str | None
    login: _Login
    composer: str
    why_native: str | None


class StatusDocument(msgspec.Struct):
    """Whether questions will be answered."""

    ready: bool
    claude: _Claude
    rate_limits: list[Window]
    message: str


def status_document(known: Known) -> bytes:
    """Encode whether questions will be answered; ``message`` says what to do if not."""
    message = "ready"
    if not known.answers:
        message = "the claude CLI does not answer; see the proxy's log"
    elif not known.is_logged_in:
        message = "the claude CLI is not logged in; run `claude` and log in"
    login = _Login(known.is_logged_in, known.login, known.account, known.subscription)
    claude = _Claude(
        known.answers, known.version, login, known.composer, known.why_native or None
    )
    windows = window_documents(known.windows)
    ready = known.answers and known.is_logged_in
    return msgspec.json.encode(StatusDocument(ready, claude, windows, message))
