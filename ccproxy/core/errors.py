"""All errors that a client may receive, grouped by what is at fault.

Every error has the fields of an OpenAI error document (``message``, ``type``,
``param``, ``code``) and an HTTP status. `ccproxy.web` makes the response from them.

======================  ==========================================================
``ClientError``         the request: 4xx
``ClaudeError``         the CLI or the provider: 429, 502, 503, 504
``StorageFailed``       the database: 500
``ServerFull``          too many connections, or too much data: 503
``InternalError``       the proxy: 500; only the log has the reason
======================  ==========================================================

Source: docs/errors.md; ``Error`` in OpenAI's OpenAPI document.
"""

from enum import StrEnum
from typing import ClassVar, NoReturn


class Cause(StrEnum):
    """Why an answer ended with an error; docs/errors.md explains each one."""

    # Causes of `claude_failed`.
    PROCESS_ENDED = "process_ended"
    PROCESS_STOPPED = "process_stopped"
    INVALID_OUTPUT = "invalid_output"
    NO_REPLY = "no_reply"
    COMMAND_REFUSED = "command_refused"
    COMMAND_FAILED = "command_failed"
    OWN_REQUEST = "own_request"
    TURN_DOES_NOT_END = "turn_does_not_end"
    NOT_ASKED = "not_asked"
    UNKNOWN_TOOLS = "unknown_tools"
    CONNECTION_LOST = "connection_lost"
    NOT_RESUMED = "not_resumed"
    RESTART_DIFFERS = "restart_differs"
    NO_SUMMARY = "no_summary"
    PROVIDER_FAILED = "provider_failed"

    # Causes of `timeout`.
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105
    SILENCE_TIMEOUT = "silence_timeout"
    TURN_TIMEOUT = "turn_timeout"
    PROVIDER_TIMEOUT = "provider_timeout"

    # Causes of `overloaded`, `queue_full` and `rate_limit_exceeded`.
    PROVIDER_OVERLOADED = "provider_overloaded"
    SHUTTING_DOWN = "shutting_down"
    NO_PROCESS_SLOT = "no_process_slot"
    MACHINE_FULL = "machine_full"
    CHECKER_BUSY = "checker_busy"
    QUEUE_LENGTH = "queue_length"
    QUEUE_TIMEOUT = "queue_timeout"
    PROVIDER_LIMIT = "provider_limit"
    WAIT_TOO_LONG = "wait_too_long"

    # Causes of `claude_unavailable`.
    CLI_NOT_FOUND = "cli_not_found"
    CLI_TOO_OLD = "cli_too_old"
    CLI_DOES_NOT_RUN = "cli_does_not_run"
    CLI_FALLS_SHORT = "cli_falls_short"
    CLI_REPLACED = "cli_replaced"
    CIRCUIT_OPEN = "circuit_open"
    NOT_STARTED = "not_started"
    INVALID_EXTRA_BODY = "invalid_extra_body"

    # Causes of `schema_not_satisfied`.
    SCHEMA_MISMATCH = "schema_mismatch"
    SCHEMA_NOT_CHECKED = "schema_not_checked"

    # A cause of errors of a request (4xx).
    PROVIDER_REFUSED = "provider_refused"


# A message quotes a client's text, which can have megabytes.
_LONGEST_MESSAGE, _LONGEST_PARAM = 4_000, 1_000


def shortened(text: str, most: int = _LONGEST_MESSAGE) -> str:
    """A text of at most ``most`` characters: without its middle if it is longer."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


class CCProxyError(Exception):
    """Root of all errors that a client may receive.

    Attributes:
        message: for the user; says what is wrong and what to do.
        param: path of the offending request field, such as ``messages[0].role``.
        retry_after_seconds: how long to wait before a retry; None: not known.
        cause: the exact reason, logged next to ``code``; None: ``code`` says it all.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    # OpenAI's SDKs retry after 408, 409, 429 and 5xx, unless the response has the
    # header `x-should-retry: false`.
    should_retry: ClassVar[bool] = True
    # The cause if the constructor gets none.
    default_cause: ClassVar[Cause | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        cause: Cause | None = None,
    ) -> None:
        self.message = shortened(message)
        self.param = None if param is None else shortened(param, _LONGEST_PARAM)
        super().__init__(self.message)
        self.retry_after_seconds = retry_after_seconds
        self.cause = self.default_cause if cause is None else cause


class ClientError(CCProxyError):
    """The request cannot be served unless it is changed."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    should_retry = False


class InvalidRequest(ClientError):
    """The body is not JSON, or a field is wrong, or fields contradict each other."""


class MissingParameter(ClientError):
    """A required field is absent."""

    code = "missing_required_parameter"


class UnsupportedValue(ClientError):
    """The field is valid, but the model behind Claude Code has no such feature."""

    code = "unsupported_value"


class ThreadsUnsupported(UnsupportedValue):
    """The ``thread`` field asks for a conversation that the server stores."""

    code = "thread_unsupported_request"


class ContextLengthExceeded(ClientError):
    """The conversation is longer than the model's context."""

    code = "context_length_exceeded"


class ContentFiltered(ClientError):
    """The provider's filter blocked the request or the answer."""

    code = "content_filter"


class PreviousResponseNotFound(ClientError):
    """The response named by ``previous_response_id`` is not stored."""

    code = "previous_response_not_found"


class InvalidKey(ClientError):
    """The API key is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotFound(ClientError):
    """There is no such route, or no such object."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """The model's name is neither an alias nor in the CLI's list of models."""

    code = "model_not_found"


class MethodNotAllowed(ClientError):
    """The route exists, but with another HTTP method."""

    status = 405
    code = "method_not_allowed"


class UpgradeRequired(ClientError):
    """The route accepts WebSocket connections only."""

    status = 426
    code = "upgrade_required"


class OriginNotAllowed(ClientError):
    """A browser page of another site sent the request."""

    status = 403
    code = "foreign_origin"


class HostNotAllowed(ClientError):
    """The ``Host`` header names a foreign host, as in a DNS rebinding attack."""

    status = 403
    code = "foreign_host"


class UnsupportedEncoding(ClientError):
    """The request body is compressed."""

    status = 415
    code = "unsupported_content_encoding"


class RequestTimedOut(ClientError):
    """The client took too long to send its request."""

    status = 408
    code = "request_timeout"
    should_retry = True


class ConnectionLimitReached(ClientError):
    """The WebSocket connection has reached its maximum age."""

    code = "websocket_connection_limit_reached"


class RequestTooLarge(ClientError):
    """The request body is larger than the limit."""

    status = 413
    code = "request_too_large"


class ClaudeError(CCProxyError):
    """The CLI or the provider failed."""

    status = 502
    type = "upstream_error"
    code = "claude_failed"


class ClaudeFailed(ClaudeError):
    """The CLI died or wrote invalid output, or the provider failed."""


class SchemaNotSatisfied(ClaudeError):
    """The model's answer does not satisfy the request's JSON Schema."""

    code = "schema_not_satisfied"
    default_cause = Cause.SCHEMA_MISMATCH


class ClaudeUnavailable(ClaudeError):
    """The CLI is missing, too old, or does not start."""

    status = 503
    code = "claude_unavailable"
    should_retry = False


class ClaudeUnresponsive(ClaudeError):
    """The CLI starts but does not answer; the proxy tries again by itself."""

    status = 503
    code = "claude_unavailable"


class NotLoggedIn(ClaudeError):
    """The CLI has no login, or the provider refused the login."""

    status = 503
    code = "claude_not_logged_in"
    should_retry = False


class Overloaded(ClaudeError):
    """The provider, this machine or the proxy is overloaded."""

    status = 503
    code = "overloaded"


class QueueFull(ClaudeError):
    """The queue for CLI processes is full, or the request waited in it too long."""

    status = 503
    code = "queue_full"


class ServerFull(CCProxyError):
    """There are more connections, or more bytes of large data, than allowed."""

    status = 503
    code = "overloaded"


class ShuttingDown(ClaudeError):
    """The server is being stopped."""

    status = 503
    code = "overloaded"
    default_cause = Cause.SHUTTING_DOWN


class RateLimited(ClaudeError):
    """The provider's rate limit is reached."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InsufficientQuota(ClaudeError):
    """The plan's usage or the account's credit is used up."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry = False


class TimedOut(ClaudeError):
    """A time limit passed: first token, silence or the whole answer."""

    status = 504
    type = "timeout_error"
    code = "timeout"


class PassthroughFailed(CCProxyError):
    """The server of ``--passthrough`` cannot be reached, or ends its answer early."""

    status = 502
    code = "passthrough_failed"


class StorageFailed(CCProxyError):
    """The database could not be written or read."""

    code = "storage_failed"


class InternalError(CCProxyError):
    """A bug of the proxy; the client gets the request's id, the log the traceback."""


def unsupported(param: str, why: str) -> NoReturn:
    """Refuse a field, because ignoring it would change the meaning of the answer.

    Raises:
        UnsupportedValue: always.
    """
    raise UnsupportedValue(f"`{param}` is not supported: {why}", param=param)
