"""Collects the reasons why a turn fails: refusals and rate limits. Pure.

Source: docs/claude-cli-protocol.md, "Ends" and "Retries".
"""

from enum import Enum, auto

import msgspec

from ccproxy.claude.protocol.codec import Record, WireError
from ccproxy.claude.protocol.error_log import LoggedError
from ccproxy.claude.protocol.failures import UNKNOWN, Refusal, error_for
from ccproxy.claude.protocol.records import ApiRetry, RateLimitInfo, Result
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed
from ccproxy.core.stream import Event, Failed, UpstreamRetry

# The CLI refreshes a refused login once. After the second refusal, its further retries
# cannot help.
_LOGIN_ATTEMPTS = 2


def refusal_of_retry(
    record: ApiRetry, logged: LoggedError | None = None, *, used_up: bool
) -> Refusal:
    """The `Refusal` of a request that the CLI will send again.

    Args:
        record: what the CLI reports.
        logged: the provider's last error in the CLI's log.
        used_up: whether a rate limit of the subscription is used up.
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
    """The provider's message in the log, unless it belongs to another status."""
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
        """Take the CLI's report of a rate limit.

        A limit with neither a type nor a reset time is not a limit of the subscription.
        """
        if info.status == "rejected" and (info.resets_at or info.rate_limit_type):
            self._limit_reset_seconds = info.resets_at or self._wall_seconds

    def note_logged(self, error: LoggedError | None) -> None:
        """Take the provider's last error in the CLI's log."""
        self._logged = error

    def note_error(self, kind: str | None) -> None:
        """Take the CLI's name for an error that the CLI shows as a message."""
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
        """The error for an answer that did not arrive in time.

        Args:
            otherwise: the error if no request to the provider was refused.
        """
        return otherwise if self._last is None else error_for(self._last)

    def refusal(self, result: Result) -> Refusal:
        """The `Refusal` of a failed turn."""
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


class TurnPhase(Enum):
    """The phase of an answer; the decoders' modules have tables of the phases."""

    WAITING = auto()
    STREAMING = auto()
    CUT = auto()
    WHOLE = auto()
    OVER = auto()


class FallibleTurn:
    """Base class of the decoders of both modes: handles the failures of a turn.

    Args:
        wall_seconds: Unix time of the question; the time until the reset of a rate
            limit is counted from it.
    """

    def __init__(self, wall_seconds: float) -> None:
        self._refusals = RefusalTracker(wall_seconds)
        self._phase = TurnPhase.WAITING

    @property
    def is_over(self) -> bool:
        """Whether the last event was returned."""
        return self._phase is TurnPhase.OVER

    def note_logged(self, error: LoggedError | None) -> None:
        """Take the provider's last error in the CLI's log."""
        self._refusals.note_logged(error)

    def timeout_error(self, otherwise: CCProxyError) -> CCProxyError:
        """The error for a timeout: the last refusal of the provider, if any."""
        return self._refusals.timeout_error(otherwise)

    def receive(self, record: Record) -> list[Event]:
        """The events of a record; none after the end of the answer.

        Raises:
            WireError: a part of the record has an unknown shape.
        """
        try:
            return self._received(record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Some parts of the record were raw JSON and are decoded only here.
            raise WireError(f"an answer of an unknown shape: {error}") from None

    def _received(self, record: Record) -> list[Event]:
        raise NotImplementedError

    def _refused(self, record: ApiRetry) -> list[Event]:
        event = self._refusals.retry(record)
        if isinstance(event, Failed):
            self._phase = TurnPhase.OVER
        return [event]

    def _fail(self, error: CCProxyError) -> list[Event]:
        self._phase = TurnPhase.OVER
        return [Failed(error)]

    def _not_begun(self) -> list[Event]:
        what = "the claude CLI sent a part of an answer that has not begun"
        return self._fail(ClaudeFailed(what, cause=Cause.INVALID_OUTPUT))

    def _not_asked(self) -> list[Event]:
        what = "the claude CLI ended the turn without asking the model"
        return self._fail(ClaudeFailed(what, cause=Cause.NOT_ASKED))

    def _not_resumed(self) -> list[Event]:
        what = "the answer broke off and was not resumed"
        return self._fail(ClaudeFailed(what, cause=Cause.NOT_RESUMED))

    def _connection_lost(self) -> list[Event]:
        what = (
            "the connection to the model was lost during the answer, and the CLI could "
            "not repeat the request; try again"
        )
        return self._fail(ClaudeFailed(what, cause=Cause.CONNECTION_LOST))
