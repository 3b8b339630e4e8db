"""Costs, retries and rate limits that one CLI reports besides its answers. Pure.

``total_cost_usd`` sums the costs of all requests of a process; a rewind takes nothing
off. The cost of a turn that is broken off before its ``result`` is in the next
``result``; if the process is killed before, the cost is never reported.

A ``rate_limit_event`` comes when the use of the subscription has changed. It names the
rate limit that counts; newer CLIs report all of them.

Source: docs/claude-cli-protocol.md, "Output".
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from ccproxy.claude.observer import ClaudeObserver
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
