"""How a turn fails: the provider's refusals, and answers that break off. Pure.

Source: docs/claude-cli-protocol.md, "Ends" and "Retries".
"""

from ccproxy.claude.protocol.error_log import LoggedError
from ccproxy.claude.protocol.failures import UNKNOWN, Refusal, error_for
from ccproxy.claude.protocol.records import ApiRetry, RateLimitInfo, Result
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import Failed, UpstreamRetry

# The CLI refreshes a refused login once; after the second refusal its retries would
# only keep the client waiting.
_LOGIN_ATTEMPTS = 2


def refusal_of_retry(
    record: ApiRetry, logged: LoggedError | None = None, *, used_up: bool
) -> Refusal:
    """The refusal after which the CLI tries again.

    Args:
        record: what the CLI reports.
        logged: the provider's last error in the CLI's log.
        used_up: a rate limit of the subscription is used up.
    """
    text = "the connection to the model's provider failed, or was cut"
    if record.error_status or record.error not in (None, "", UNKNOWN):
        what = record.error_status or record.error
        text = f"the model's provider refused the request ({what})"
    return Refusal(
        kind=record.error or UNKNOWN,
        status=record.error_status,
        text=text,
        message=message_for(record.error_status, logged),
        retry_after_seconds=record.retry_delay_ms / 1000,
        used_up=used_up,
    )


def message_for(status: int | None, logged: LoggedError | None) -> str | None:
    """The provider's message, if the log has the error with this status."""
    if logged is None or logged.status not in (None, status):
        return None
    return logged.message


class RefusalTracker:
    """Remembers refusals and rate limits, to explain why an answer fails.

    Args:
        wall_seconds: Unix time of the question.
    """

    def __init__(self, wall_seconds: float) -> None:
        self._wall_seconds = wall_seconds
        self._last: Refusal | None = None
        self._kind: str | None = None
        self._limit_reset_seconds: float | None = None
        self._logged: LoggedError | None = None

    def note_limit(self, info: RateLimitInfo) -> None:
        """Take the CLI's report of the rate limits.

        A limit without a type and a time is not the subscription's.
        """
        if info.status == "rejected" and (info.resets_at or info.rate_limit_type):
            self._limit_reset_seconds = info.resets_at or self._wall_seconds

    def note_logged(self, error: LoggedError | None) -> None:
        """Take the provider's last error in the CLI's log."""
        self._logged = error

    def note_error(self, kind: str | None) -> None:
        """Take the CLI's name for an error that it shows as a message."""
        self._kind = kind

    def note_answer(self) -> None:
        """Forget the last refusal: the model answers."""
        self._last = None

    def retry(self, record: ApiRetry) -> UpstreamRetry | Failed:
        """The event for a refusal; `Failed` if a retry cannot help."""
        used_up = self._limit_reset_seconds is not None
        self._last = refusal_of_retry(record, self._logged, used_up=used_up)
        if self._last.is_about_login and record.attempt >= _LOGIN_ATTEMPTS:
            return Failed(error_for(self._last))
        delay_seconds = record.retry_delay_ms / 1000
        return UpstreamRetry(record.error or "unknown", record.attempt, delay_seconds)

    def timeout_error(self, otherwise: CCProxyError) -> CCProxyError:
        """The error for an answer that did not come in time.

        Args:
            otherwise: the error if the provider has not refused.
        """
        return otherwise if self._last is None else error_for(self._last)

    def refusal(self, result: Result) -> Refusal:
        """Everything that is known of a failed turn."""
        reset_seconds = self._limit_reset_seconds
        after: float | None = None
        if reset_seconds is not None:
            after = max(0.0, reset_seconds - self._wall_seconds)
        elif self._last is not None:
            after = self._last.retry_after_seconds
        return Refusal(
            kind=self._kind,
            status=result.api_error_status,
            api_type=result.api_error_type,
            terminal_reason=result.terminal_reason,
            text=result.result or "; ".join(result.errors) or result.subtype,
            message=message_for(result.api_error_status, self._logged),
            retry_after_seconds=after,
            used_up=reset_seconds is not None,
            wall_seconds=self._wall_seconds,
        )
