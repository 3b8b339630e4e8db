"""Maps the CLI's descriptions of a failure to the proxy's errors. Pure.

The CLI describes one failure in up to four ways, which do not always agree: an overload
is ``server_error``, 529 and ``overloaded_error`` at once. The most exact one is taken.

Source: docs/claude-cli-protocol.md, "Ends"; the table of docs/errors.md.
"""

import re
from collections.abc import Callable, Mapping

import msgspec
from attrs import evolve, frozen

from ccproxy.claude.protocol.records import ApiRetry
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    ClaudeFailed,
    ContextLengthExceeded,
    InsufficientQuota,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    TimedOut,
)

_SYNTHETIC_PREFIX = "API Error: "
# Such as `API Error: 400 {"type":"error","error":{…}}`, or with the message alone.
_WRAPPED = re.compile(r"API Error: \d{3} (.*)", re.DOTALL)
# The CLI's name for a connection that was refused, reset or lost, at each retry.
_UNKNOWN = "unknown"
# The same at the end of the turn, with neither a status nor a type of an error.
_SERVER_ERROR = "server_error"
_PATH = re.compile(r"([a-z_]+(?:\.[\w$-]+)*): ")
# Advice of the CLI for a user at its own prompt.
_ADVICE = re.compile(
    r" *(?:Run (?:--model|/\w+)[^.]*\.|If it persists, check your inference gateway.*)"
)


class _ProviderError(msgspec.Struct):
    message: str


class _Document(msgspec.Struct):
    error: _ProviderError


_decode_document = msgspec.json.Decoder(_Document).decode


@frozen(kw_only=True)
class Refusal:
    """A failed request to the provider, as the CLI describes it.

    Attributes:
        kind: the CLI's name for it, such as ``rate_limit``.
        status: the provider's HTTP status.
        api_type: the Messages API's error type, such as ``overloaded_error``.
        terminal_reason: why the CLI gave up, such as ``prompt_too_long``.
        text: the text that the CLI shows its user.
        retry_after_seconds: how long the CLI waits before its retry, or how long the
            limit lasts.
        used_up: a rate limit of the subscription is used up.
    """

    kind: str | None = None
    status: int | None = None
    api_type: str | None = None
    terminal_reason: str | None = None
    text: str = ""
    retry_after_seconds: float | None = None
    used_up: bool = False

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
        return self.kind == _UNKNOWN or (is_end and self.kind == _SERVER_ERROR)

    @property
    def is_a_limit(self) -> bool:
        """Whether the refusal is a rate limit, or has no status and may be one."""
        return self.kind == "rate_limit" or self.status in (None, 429)


_Make = Callable[[str, float | None], CCProxyError]


def _login(text: str, _: float | None) -> CCProxyError:
    return NotLoggedIn(
        f"Claude Code is not logged in, or its login was refused ({text}). "
        "Run `ccproxy doctor` as the user that runs this proxy: it prints the command "
        "that logs in. Or set ANTHROPIC_API_KEY for it"
    )


def _quota(text: str, after: float | None) -> CCProxyError:
    return InsufficientQuota(text, retry_after_seconds=after)


def _rate(text: str, after: float | None) -> CCProxyError:
    return RateLimited(text, retry_after_seconds=after, cause=Cause.PROVIDER_LIMIT)


def _overload(text: str, after: float | None) -> CCProxyError:
    return Overloaded(text, retry_after_seconds=after, cause=Cause.PROVIDER_OVERLOADED)


def _model(text: str, _: float | None) -> CCProxyError:
    what = text.removesuffix(".")
    return ModelNotFound(
        f"{what}; GET /v1/models lists the models",
        param="model",
        cause=Cause.PROVIDER_REFUSED,
    )


def _invalid(text: str, _: float | None) -> CCProxyError:
    return InvalidRequest(text, cause=Cause.PROVIDER_REFUSED)


def _too_long(text: str, _: float | None) -> CCProxyError:
    return ContextLengthExceeded(
        f"{text}; shorten the conversation, or begin a new one",
        param="messages",
        cause=Cause.PROVIDER_REFUSED,
    )


def _too_large(text: str, _: float | None) -> CCProxyError:
    return RequestTooLarge(text, cause=Cause.PROVIDER_REFUSED)


def _timeout(text: str, _: float | None) -> CCProxyError:
    return TimedOut(text, cause=Cause.PROVIDER_TIMEOUT)


def _failed(text: str, _: float | None) -> CCProxyError:
    return ClaudeFailed(text, cause=Cause.PROVIDER_FAILED)


def _cut(text: str, _: float | None) -> CCProxyError:
    return ClaudeFailed(text, cause=Cause.CONNECTION_LOST)


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


def refusal_of_retry(record: ApiRetry, *, used_up: bool) -> Refusal:
    """The refusal after which the CLI tries again."""
    text = "the connection to the model's provider failed, or was cut"
    if record.error_status or record.error not in (None, "", _UNKNOWN):
        what = record.error_status or record.error
        text = f"the model's provider refused the request ({what})"
    return Refusal(
        kind=record.error or _UNKNOWN,
        status=record.error_status,
        text=text,
        retry_after_seconds=record.retry_delay_ms / 1000,
        used_up=used_up,
    )


def error_for(refusal: Refusal) -> CCProxyError:
    """The error that a client gets for a refusal."""
    text = _ADVICE.sub("", refusal.text.replace(_SYNTHETIC_PREFIX, "")).strip()
    if not text:
        text = f"the upstream failed ({refusal.status or refusal.kind or 'no reason'})"
    return _maker(refusal)(text, refusal.retry_after_seconds)


def provider_error(refusal: Refusal) -> CCProxyError:
    """Like `error_for`, with the provider's own message and path.

    For bodies that the proxy composed.

    ``param`` is the path in the body that the provider names, such as
    ``messages.3.content.1.text``, if it names one.
    """
    text = _provider_message(refusal.text)
    error = error_for(evolve(refusal, text=text))
    path = _PATH.match(text)
    if path is not None and isinstance(error, InvalidRequest):
        error.param = path[1]
    return error


def _provider_message(text: str) -> str:
    """The provider's own message, without the CLI's wrapping."""
    match = _WRAPPED.match(text)
    if match is None:
        return text
    try:
        return _decode_document(match[1].encode()).error.message
    except msgspec.DecodeError:
        return match[1]


def _maker(refusal: Refusal) -> _Make:
    if refusal.terminal_reason == "prompt_too_long":
        return _too_long
    if refusal.is_about_login:
        return _login
    if refusal.kind == "billing_error" or (refusal.used_up and refusal.is_a_limit):
        return _quota
    return (
        _BY_API_TYPE.get(refusal.api_type or "")
        or _BY_STATUS.get(refusal.status or 0)
        or _BY_KIND.get(refusal.kind or "")
        or (_cut if refusal.is_about_connection else _failed)
    )
