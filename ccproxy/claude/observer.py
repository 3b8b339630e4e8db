"""The observer of processes, answers, costs and rate limits, for metrics. Pure.

``total_cost_usd`` in a ``result`` is the cost of all requests of the process so far; a
rewind does not reduce it. If a turn is aborted before its ``result``, its cost is part
of the next ``result``. If the process is killed first, the cost is never reported.

The CLI writes a ``rate_limit_event`` when the usage of the subscription has changed.
The record names the rate limit that applies; newer CLIs add all rate limits.

Source: docs/claude-cli-protocol.md, "Output".
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum

import msgspec

from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.records import (
    ApiRetry,
    LimitWindow,
    ModelUsage,
    RateLimitEvent,
    RateLimitInfo,
    Result,
)
from ccproxy.core.backend import ModelSize
from ccproxy.core.usage import RateWindow

# Bounds for the report of an unknown version of the CLI.
_MOST_WINDOWS = 10
_LONGEST_NAME = 40

_MOST_MODELS = 100

_decode_models = msgspec.json.Decoder(dict[str, ModelUsage]).decode
_decode_windows = msgspec.json.Decoder(dict[str, LimitWindow]).decode


class Served(Enum):
    """The kind of process that answers a request.

    ==========  ================================================================
    IDLE        a process that has answered before
    SPARE       a process that was started ahead of time
    NEW         a process that was started for this request
    SUSPENDED   a process that has waited for the tool results in this request;
                only with ``--agent-tools``
    ==========  ================================================================
    """

    IDLE = "idle"
    SPARE = "spare"
    NEW = "new"
    SUSPENDED = "suspended"


class StopReason(Enum):
    """Why a process was stopped.

    ===========  ===============================================================
    SHUTDOWN     the server stops; or the process was idle when its compose mode
                 was given up
    IDLE         the process was idle for longer than its time limit
    OUTDATED     the CLI was updated
    ROOM         the slot of the process was needed for another process
    NOT_REUSED   the process has answered its only request (native mode); or its
                 compose mode was given up while it answered
    WORN         the process is too large, or has answered too many requests
    UNUSABLE     after an answer or a cancellation, the process did not become
                 ready again
    LOST         the process ended or hung by itself, or ignored a command
    ===========  ===============================================================
    """

    SHUTDOWN = "shutdown"
    IDLE = "idle"
    OUTDATED = "outdated"
    ROOM = "room"
    NOT_REUSED = "not_reused"
    WORN = "worn"
    UNUSABLE = "unusable"
    LOST = "lost"


class ClaudeObserver:
    """Base class of observers; a subclass overrides the methods that it needs.

    The methods are called for each process, request or retry, never for each token.
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
        """The provider refused, or the connection failed; the CLI will retry."""

    def cost_reported(self, model: str, dollars: float) -> None:
        """A CLI reported an increase of its costs."""


class CostTracker:
    """Reports the costs, retries and rate limits in the records of one CLI process.

    Attributes:
        model: the full id of the model that is asked; set by the caller.
        total_dollars: the costs that the CLI has reported so far.

    Args:
        observer: receives costs and retries.
        limited: receives rate limits.
        sized: receives the limits of models, by their full ids.
        wall_seconds: returns the Unix time.
    """

    def __init__(
        self,
        observer: ClaudeObserver,
        limited: Callable[[Sequence[RateWindow]], None],
        sized: Callable[[Mapping[str, ModelSize]], None],
        wall_seconds: Callable[[], float],
    ) -> None:
        self._observer = observer
        self._limited = limited
        self._sized = sized
        self._wall_seconds = wall_seconds
        self.model = ""
        self.total_dollars = 0.0

    def receive(self, record: Record) -> None:
        """Take a record."""
        match record:
            case Result():
                self._add_cost(record.total_cost_usd)
                sizes = model_sizes(record.model_usage)
                if sizes:
                    self._sized(sizes)
            case ApiRetry():
                delay_seconds = record.retry_delay_ms / 1000
                self._observer.upstream_retried(record.error or "", delay_seconds)
            case RateLimitEvent():
                windows = rate_windows(record.rate_limit_info, self._wall_seconds())
                if windows:
                    self._limited(windows)

    def _add_cost(self, total_dollars: float | None) -> None:
        if total_dollars is None:
            return
        dollars = cost_increase(self.total_dollars, total_dollars)
        self.total_dollars = total_dollars
        if dollars:
            self._observer.cost_reported(self.model, dollars)


def model_sizes(usage: msgspec.Raw) -> Mapping[str, ModelSize]:
    """The limits of models in a ``modelUsage``, by the models' full ids."""
    # The shape of this field is not documented, so any other shape is ignored.
    with suppress(msgspec.DecodeError):
        return {
            model: ModelSize(
                context_tokens=known.context_window,
                output_tokens=known.max_output_tokens,
            )
            for model, known in list(_decode_models(usage).items())[:_MOST_MODELS]
            if known.context_window or known.max_output_tokens
        }
    return {}


def cost_increase(before: float, total: float) -> float:
    """The increase of a running total; a smaller total has restarted at zero."""
    return total - before if total >= before else total


def turn_cost(before: float, result: Result | None) -> float | None:
    """The cost of a turn, from its ``result``; None: not reported."""
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
    # The shape of this field is not documented, so any other shape is ignored.
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
