"""What the pools and the CLIs report: processes, answers, costs and rate limits. Pure.

``total_cost_usd`` sums the costs of all requests of a process; a rewind takes nothing
off. The cost of a turn that is broken off before its ``result`` is in the next
``result``; if the process is killed before, the cost is never reported.

A ``rate_limit_event`` comes when the use of the subscription has changed. It names the
rate limit that counts; newer CLIs report all of them.

Source: docs/claude-cli-protocol.md, "Output".
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

import msgspec

from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.records import (
    ApiRetry,
    LimitWindow,
    RateLimitEvent,
    RateLimitInfo,
    Result,
)
from ccproxy.core.usage import RateWindow

# Bounds on what an unknown version may report.
_MOST_WINDOWS = 10
_LONGEST_NAME = 40

_decode_windows = msgspec.json.Decoder(dict[str, LimitWindow]).decode


class Served(Enum):
    """Which process answers a request.

    ==========  ================================================================
    IDLE        a process that has answered before
    SPARE       a process that was started ahead of time
    NEW         a process that was started for this request
    SUSPENDED   a process that waits for the results in the request; only with
                Claude Code's own tools
    ==========  ================================================================
    """

    IDLE = "idle"
    SPARE = "spare"
    NEW = "new"
    SUSPENDED = "suspended"


class StopReason(Enum):
    """Why a process was stopped.

    ===========  ===============================================================
    SHUTDOWN     the server stops, or the compose mode has changed
    IDLE         it was idle for long enough
    ROOM         its slot was needed for another process
    NOT_REUSED   it serves no further request: Claude Code's own tools, or a
                 change of the compose mode
    WORN         it has become too large, or has had too many requests
    UNUSABLE     after an answer or its cancellation it was not ready again
    LOST         it ended or hung by itself, or ignored a command
    ===========  ===============================================================
    """

    SHUTDOWN = "shutdown"
    IDLE = "idle"
    ROOM = "room"
    NOT_REUSED = "not_reused"
    WORN = "worn"
    UNUSABLE = "unusable"
    LOST = "lost"


class ClaudeObserver:
    """Counts processes, answers and costs; subclasses override what they count.

    No method is called more often than once a message.
    """

    def cli_started(self) -> None:
        """A process was started."""

    def cli_stopped(self, why: StopReason) -> None:
        """A process is being stopped, or was found dead."""

    def question_served(self, served: Served, queued_seconds: float) -> None:
        """A request was given to a process, after ``queued_seconds`` in the queue."""

    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """The first token of an answer has arrived.

        Args:
            model: full id of the model that answers.
            served: kind of process that answers.
            seconds: time since the request arrived, queue included.
        """

    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """The provider refused, or the connection broke; the CLI will retry."""

    def cost_reported(self, model: str, dollars: float) -> None:
        """A CLI reported costs that it had not reported before."""


class CostTracker:
    """Reads the records of one CLI.

    Attributes:
        model: full id of the model that is asked.
        total_dollars: the costs that the CLI has reported so far.

    Args:
        observer: counts costs and retries.
        limited: called with the rate limits.
        wall_seconds: returns the Unix time.
    """

    def __init__(
        self,
        observer: ClaudeObserver,
        limited: Callable[[Sequence[RateWindow]], None],
        wall_seconds: Callable[[], float],
    ) -> None:
        self._observer = observer
        self._limited = limited
        self._wall_seconds = wall_seconds
        self.model = ""
        self.total_dollars = 0.0

    def receive(self, record: Record) -> None:
        """Take a record."""
        match record:
            case Result(total_cost_usd=float(total)):
                dollars = cost_increase(self.total_dollars, total)
                self.total_dollars = total
                if dollars:
                    self._observer.cost_reported(self.model, dollars)
            case ApiRetry():
                delay_seconds = record.retry_delay_ms / 1000
                self._observer.upstream_retried(record.error or "", delay_seconds)
            case RateLimitEvent():
                windows = rate_windows(record.rate_limit_info, self._wall_seconds())
                if windows:
                    self._limited(windows)


def cost_increase(before: float, total: float) -> float:
    """The increase of a sum; a smaller sum began at zero again."""
    return total - before if total >= before else total


def turn_cost(before: float, result: Result | None) -> float | None:
    """The cost of a turn by its ``result``; None: it was not reported."""
    if result is None or result.total_cost_usd is None:
        return None
    return cost_increase(before, result.total_cost_usd)


def rate_windows(info: RateLimitInfo, now_seconds: float) -> Sequence[RateWindow]:
    """The rate limits that a CLI reports, each once."""
    found: dict[str, LimitWindow] = {}
    if info.rate_limit_type is not None:
        found[info.rate_limit_type] = LimitWindow(
            info.utilization, info.status, info.resets_at
        )
    # The type is not published: any other shape is ignored.
    with suppress(msgspec.DecodeError):
        found |= _decode_windows(info.unified_windows)
    return [
        RateWindow(
            name=name,
            used=window.utilization,
            status=window.status,
            resets_seconds=window.resets_at,
            reported_seconds=now_seconds,
        )
        for name, window in list(found.items())[:_MOST_WINDOWS]
        if len(name) <= _LONGEST_NAME
    ]
