"""The one family of errors, sorted by whose fault it is.

Every error carries what an OpenAI error document needs: ``message`` (tells the
user what to do), ``type``, ``param`` and ``code``, with the HTTP status they
travel under. How and when they are sent is the web room's business.

======================  ====================================================
``ClientError``         the request is at fault: 4xx, repeating it is no use
``ClaudeError``         the CLI or what stands behind it: 429, 502, 503, 504
``StorageFailed``       the database: 500
``TooManyConnections``  too many of them: 503
``Bug``                 ours: 500, and the message never leaves the log
======================  ====================================================

Source: the table of errors in the documentation; ``Error`` in OpenAI's document.
"""

from typing import ClassVar


class CCProxyError(Exception):
    """Root of all errors that a client may be shown.

    Attributes:
        message: for the user; says what is wrong and what to do.
        param: path of the offending request field, such as ``messages[0].role``.
        retry_after_seconds: when a retry makes sense, if that is known.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    # OpenAI's SDKs repeat 408, 409, 429 and 5xx on their own unless told not to
    # by the header `x-should-retry: false`.
    should_retry: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class ClientError(CCProxyError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    should_retry = False


class InvalidRequest(ClientError):
    """Not JSON, a wrong type, or a combination that means nothing."""


class MissingParameter(ClientError):
    """A required field is absent."""

    code = "missing_required_parameter"


class UnsupportedValue(ClientError):
    """Understood, but the model behind Claude Code cannot do it."""

    code = "unsupported_value"


class ThreadsUnsupported(UnsupportedValue):
    """The conversation was to be kept here."""

    code = "thread_unsupported_request"


class ContextLengthExceeded(ClientError):
    """The conversation is longer than the model's context."""

    code = "context_length_exceeded"


class InvalidEncryptedContent(ClientError):
    """What a client was to carry for us unread is not what it was given."""

    code = "invalid_encrypted_content"


class PreviousResponseNotFound(ClientError):
    """The response that was to be continued is not kept."""

    code = "previous_response_not_found"


class InvalidKey(ClientError):
    """The key is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotFound(ClientError):
    """No such route, or no such object."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """The model is neither an alias nor in the CLI's catalogue."""

    code = "model_not_found"


class MethodNotAllowed(ClientError):
    """The route exists under another HTTP method."""

    status = 405
    code = "method_not_allowed"


class UpgradeRequired(ClientError):
    """The route is a WebSocket's."""

    status = 426
    code = "upgrade_required"


class OriginNotAllowed(ClientError):
    """A page of another site wants in."""

    status = 403
    code = "foreign_origin"


class HostNotAllowed(ClientError):
    """A request for another host, as a page makes it that has its name point here."""

    status = 403
    code = "foreign_host"


class UnsupportedEncoding(ClientError):
    """The body is compressed."""

    status = 415
    code = "unsupported_content_encoding"


class RequestTimedOut(ClientError):
    """The client takes too long to send its request."""

    status = 408
    code = "request_timeout"
    should_retry = True


class ConnectionLimitReached(ClientError):
    """A WebSocket is too old to go on."""

    code = "websocket_connection_limit_reached"


class RequestTooLarge(ClientError):
    """The body is larger than the limit."""

    status = 413
    code = "request_too_large"


class NotSupported(ClientError):
    """Nothing that stands behind this proxy can do it."""

    status = 501
    code = "not_supported"


class ClaudeError(CCProxyError):
    """The CLI, or what it talks to, did not deliver."""

    status = 502
    type = "upstream_error"
    code = "claude_failed"


class ClaudeFailed(ClaudeError):
    """The CLI died, spoke nonsense, or its upstream failed."""


class SchemaNotSatisfied(ClaudeError):
    """The model did not give an answer that the request's schema describes."""

    code = "schema_not_satisfied"


class ClaudeUnavailable(ClaudeError):
    """The CLI is missing, too old, or does not start."""

    status = 503
    code = "claude_unavailable"
    should_retry = False


class ClaudeUnresponsive(ClaudeError):
    """The CLI is there but does not answer; it is being tried again."""

    status = 503
    code = "claude_unavailable"


class NotLoggedIn(ClaudeError):
    """The CLI has no login, or the provider refused it."""

    status = 503
    code = "claude_not_logged_in"
    should_retry = False


class Overloaded(ClaudeError):
    """The provider is overloaded."""

    status = 503
    code = "overloaded"


class QueueFull(ClaudeError):
    """More questions than the machine has CLIs for, and for too long."""

    status = 503
    code = "queue_full"


class TooManyConnections(CCProxyError):
    """More connections than there may be."""

    status = 503
    code = "overloaded"


class ShuttingDown(ClaudeError):
    """This server is being stopped."""

    status = 503
    code = "overloaded"


class RateLimited(ClaudeError):
    """The provider's rate limit."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InsufficientQuota(ClaudeError):
    """Billing, or the plan's usage is used up: waiting is the only remedy."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry = False


class TimedOut(ClaudeError):
    """No first token, or silence, for too long."""

    status = 504
    type = "timeout_error"
    code = "timeout"


class StorageFailed(CCProxyError):
    """What was to be kept could not be, or not be read."""

    code = "storage_failed"


class InternalError(CCProxyError):
    """Ours. The client is given the request's id, the log the traceback."""
