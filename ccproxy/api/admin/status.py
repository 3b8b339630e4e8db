"""The document of ``GET /ready``. Pure."""

import msgspec

from ccproxy.api.admin.usage import Window, window_documents
from ccproxy.core.status import Status


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
    """Whether the CLI can answer, and its login."""

    ready: bool
    claude: _Claude
    rate_limits: list[Window]
    message: str


def status_document(known: Status) -> bytes:
    """Encode the state of the CLI; ``message`` names the remedy."""
    message = "ready"
    if not known.answers:
        message = "the claude CLI does not answer; see the proxy's log"
    elif not known.is_logged_in:
        message = "the claude CLI is not logged in; `ccproxy doctor` says how to log in"
    login = _Login(known.is_logged_in, known.login, known.account, known.subscription)
    claude = _Claude(
        known.answers, known.version, login, known.composer, known.why_native or None
    )
    windows = window_documents(known.windows)
    ready = known.answers and known.is_logged_in
    return msgspec.json.encode(StatusDocument(ready, claude, windows, message))
