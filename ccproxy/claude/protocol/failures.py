"""Maps the CLI's descriptions of a failure to the proxy's errors. Pure.

The CLI describes one failure by up to five fields, which may contradict each other: an
overload is ``server_error``, 529 and ``overloaded_error`` at once, and a used up plan
is ``invalid_request_error``. The most exact field decides; the provider's message is
more exact than the provider's error type.

Source: docs/claude-cli-protocol.md, "Ends" and "The provider's own words"; "What the
provider refuses" in docs/errors.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from attrs import frozen

from ccproxy.claude.protocol.error_log import message_of
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    ClaudeFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InsufficientQuota,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    TimedOut,
    shortened,
)

_SYNTHETIC_PREFIX = "API Error: "
# Such as `API Error: 400 {"type":"error","error":{…}}`, or with the message alone.
_WRAPPED = re.compile(r"API Error: \d{3} (.*)", re.DOTALL)
# What the CLI reports in each retry after a connection was refused, reset or lost.
UNKNOWN = "unknown"
# What the CLI reports for the same failure at the end of the turn, where it reports
# neither a status nor an error type.
_SERVER_ERROR = "server_error"
# The CLI's text for a connection that has received no byte for too long.
_SILENCE = "idle timeout"
_PATH = re.compile(r"([a-z_]+(?:\.[\w$-]+)*): ")
_INTERNAL_ERROR = 500
# Too long by the provider's count, or by the CLI's own count before the request.
_TOO_LONG = ("prompt_too_long", "blocking_limit")
# The CLI's advice for its interactive users.
_ADVICE = re.compile(
    r"(?<! ) *(?:Run (?:--model|/\w+)[^.]{0,200}\."
    r"|If it persists, check your inference gateway.*)"
)


@frozen(kw_only=True)
class Refusal:
    """A failed request to the provider, as the CLI describes it.

    Attributes:
        kind: the CLI's name for the failure, such as ``rate_limit``.
        status: the provider's HTTP status.
        api_type: the Messages API's error type, such as ``overloaded_error``.
        terminal_reason: why the CLI gave up, such as ``prompt_too_long``.
        text: the text that the CLI shows its user.
        message: the provider's own message in the CLI's log; None: the log has none.
        retry_after_seconds: the time until the CLI's retry, or until the limit's reset.
        used_up: whether a rate limit of the subscription is used up; ``text`` then
            names the limit.
        wall_seconds: Unix time of the question.
    """

    kind: str | None = None
    status: int | None = None
    api_type: str | None = None
    terminal_reason: str | None = None
    text: str = ""
    message: str | None = None
    retry_after_seconds: float | None = None
    used_up: bool = False
    wall_seconds: float = 0.0

    @property
    def is_about_login(self) -> bool:
        """Whether the login was refused."""
        return self.kind == "authentication_failed" or self.status in (401, 403)

    @property
    def is_about_connection(self) -> bool:
        """Whether the connection to the provider was refused, reset or lost."""
        if self.status is not None or self.api_type is not None:
            return False
        is_end = self.terminal_reason == "api_error"
        return self.kind == UNKNOWN or (is_end and self.kind == _SERVER_ERROR)

    @property
    def is_about_silence(self) -> bool:
        """Whether the connection to the provider received no byte for too long."""
        return self.is_about_connection and _SILENCE in self.text

    @property
    def is_a_limit(self) -> bool:
        """Whether the refusal is a rate limit, or has no status and may be one."""
        return self.kind == "rate_limit" or self.status in (None, 429)


def _bare(text: str) -> str:
    return text.removesuffix(".")


_Make = Callable[[str, float | None], CCProxyError]


def _login(text: str, _: float | None) -> CCProxyError:
    return NotLoggedIn(
        f"Claude Code is not logged in, or its login was refused ({_bare(text)}). "
        "Run `ccproxy doctor` as the user that runs this proxy: it prints the command "
        "that logs in. Or set ANTHROPIC_API_KEY for the proxy"
    )


def _quota(text: str, after: float | None) -> CCProxyError:
    return InsufficientQuota(text, retry_after_seconds=after)


def _third_party(text: str, after: float | None) -> CCProxyError:
    return InsufficientQuota(
        f"{_bare(text)}. The provider counts this request as a third-party app's, "
        "which the plan does not cover. Allow extra usage at "
        "claude.ai/settings/usage, or set ANTHROPIC_API_KEY for the proxy; see "
        "docs/errors.md, `Third-party apps`",
        retry_after_seconds=after,
    )


def _rate(text: str, after: float | None) -> CCProxyError:
    return RateLimited(text, retry_after_seconds=after, cause=Cause.PROVIDER_LIMIT)


def _overload(text: str, after: float | None) -> CCProxyError:
    return Overloaded(text, retry_after_seconds=after, cause=Cause.PROVIDER_OVERLOADED)


def _model(text: str, _: float | None) -> CCProxyError:
    return ModelNotFound(
        f"{_bare(text)}; GET /v1/models lists the models",
        param="model",
        cause=Cause.PROVIDER_REFUSED,
    )


def _invalid(text: str, _: float | None) -> CCProxyError:
    return InvalidRequest(text, cause=Cause.PROVIDER_REFUSED)


def _too_long(text: str, _: float | None) -> CCProxyError:
    return ContextLengthExceeded(
        f"{_bare(text)}; shorten the conversation, or begin a new one",
        param="messages",
        cause=Cause.PROVIDER_REFUSED,
    )


def _filtered(text: str, _: float | None) -> CCProxyError:
    return ContentFiltered(text, cause=Cause.PROVIDER_REFUSED)


def _too_large(text: str, _: float | None) -> CCProxyError:
    return RequestTooLarge(text, cause=Cause.PROVIDER_REFUSED)


def _timeout(text: str, _: float | None) -> CCProxyError:
    return TimedOut(text, cause=Cause.PROVIDER_TIMEOUT)


def _failed(text: str, _: float | None) -> CCProxyError:
    return ClaudeFailed(text, cause=Cause.PROVIDER_FAILED)


def _cut(text: str, _: float | None) -> CCProxyError:
    return ClaudeFailed(text, cause=Cause.CONNECTION_LOST)


# Errors that only the provider's message distinguishes. The first match decides.
_BY_MESSAGE: Sequence[tuple[re.Pattern[str], _Make]] = [
    (re.compile(words, re.IGNORECASE), make)
    for words, make in (
        (r"prompt is too long|exceeds? (?:the )?context (?:limit|window)", _too_long),
        (r"third-party apps|out of extra usage", _third_party),
        (r"credit balance is too low|(?:extra usage is|credits) required", _quota),
        (r"reached your specified [\w -]*usage limits", _quota),
        (r"invalid model name|not (?:yet )?available (?:on|for|with) .*plan", _model),
        (r"not (?:yet )?available for this subscription", _model),
        (r"organization has been disabled|updated our consumer terms", _login),
        (r"blocked by content filtering", _filtered),
    )
]
_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")

_BY_API_TYPE: Mapping[str, _Make] = {
    "authentication_error": _login,
    "permission_error": _login,
    "billing_error": _quota,
    "rate_limit_error": _rate,
    "overloaded_error": _overload,
    "not_found_error": _model,
    "request_too_large": _too_large,
    "timeout_error": _timeout,
    "invalid_request_error": _invalid,
}
_BY_STATUS: Mapping[int, _Make] = {
    400: _invalid,
    401: _login,
    402: _quota,
    403: _login,
    404: _model,
    408: _timeout,
    413: _too_large,
    429: _rate,
    504: _timeout,
    529: _overload,
}
_BY_KIND: Mapping[str, _Make] = {
    "authentication_failed": _login,
    "oauth_org_not_allowed": _login,
    "billing_error": _quota,
    "rate_limit": _rate,
    "overloaded": _overload,
    "model_not_found": _model,
    "invalid_request": _invalid,
}


def error_for(refusal: Refusal) -> CCProxyError:
    """The client's error for a refusal, with the provider's message if it is known."""
    # Regular expressions for a text of any length would stop the reactor.
    message = shortened(_provider_message(refusal).lstrip())
    make = _maker(refusal, message)
    # The CLI's text names the used up limit and the time of its reset.
    words = refusal.text if refusal.used_up and refusal.text else message
    words = shortened(words.lstrip()).replace(_SYNTHETIC_PREFIX, "")
    text = _ADVICE.sub("", words).strip()
    if not text:
        reason = refusal.status or refusal.kind or "no reason"
        text = f"the model's provider failed ({reason})"
    after = refusal.retry_after_seconds
    return make(text, _seconds_until(message, refusal) if after is None else after)


def provider_error(refusal: Refusal) -> CCProxyError:
    """Like `error_for`, for a body that the proxy has composed.

    If the provider names a path in the body, such as ``messages.3.content.1.text``, it
    becomes the error's ``param``.
    """
    error = error_for(refusal)
    path = _PATH.match(error.message)
    if path is not None and isinstance(error, InvalidRequest):
        error.param = path[1]
    return error


def _provider_message(refusal: Refusal) -> str:
    """The provider's own message, or else the CLI's text without its prefix."""
    if refusal.message is not None:
        return refusal.message
    match = _WRAPPED.match(refusal.text)
    if match is None:
        return refusal.text
    return message_of(match[1]) or match[1]


def _seconds_until(message: str, refusal: Refusal) -> float | None:
    """The seconds until the time that the provider names; None: it names none."""
    match = _REGAIN.search(message)
    if match is None:
        return None
    try:
        regained = datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    except ValueError:
        return None
    return max(0.0, regained.timestamp() - refusal.wall_seconds)


def _maker(refusal: Refusal, message: str) -> _Make:
    if refusal.terminal_reason in _TOO_LONG:
        return _too_long
    if refusal.used_up and refusal.is_a_limit:
        return _quota
    if (refusal.status or 0) < _INTERNAL_ERROR:
        for words, make in _BY_MESSAGE:
            if words.search(message):
                return make
    if refusal.is_about_login:
        return _login
    if refusal.kind == "billing_error":
        return _quota
    return (
        _BY_API_TYPE.get(refusal.api_type or "")
        or _BY_STATUS.get(refusal.status or 0)
        or _BY_KIND.get(refusal.kind or "")
        or (_timeout if refusal.is_about_silence else None)
        or (_cut if refusal.is_about_connection else _failed)
    )
