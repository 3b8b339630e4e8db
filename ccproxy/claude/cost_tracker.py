"""What a CLI tells of its use, beside its answers. Pure.

``total_cost_usd`` is a sum over all that the process has asked so far; to rewind a
conversation takes nothing off it. A turn that is stopped before its ``result`` is told
by the next one, and never by a process that is killed.

A ``rate_limit_event`` comes when a subscription's limits have changed. It says which
window counts; newer CLIs tell all of them.

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

# A CLI that is newer than we are must not fill a table.
_MOST_WINDOWS = 10
_LONGEST_NAME = 40

_decode_windows = msgspec.json.Decoder(dict[str, LimitWindow]).decode


class CostTracker:
    """Reads what one CLI tells.

    Attributes:
        model: the full id of who is asked.
        total_dollars: all that it has told so far.

    Args:
        limited: told of the windows.
        wall_seconds: Unix time.
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
                    self._observer.cost_told(self.model, dollars)
            case ApiRetry():
                delay_seconds = record.retry_delay_ms / 1000
                self._observer.upstream_retried(record.error or "", delay_seconds)
            case RateLimitEvent():
                windows = rate_windows(record.rate_limit_info, self._wall_seconds())
                if windows:
                    self._limited(windows)


def cost_increase(before: float, total: float) -> float:
    """What a sum has grown by; one that has become smaller began anew."""
    return total - before if total >= before else total


def turn_cost(before: float, result: Result | None) -> float | None:
    """What a turn cost, by its end; None: that was not told."""
    if result is None or result.total_cost_usd is None:
        return None
    return cost_increase(before, result.total_cost_usd)


def rate_windows(info: RateLimitInfo, now_seconds: float) -> Sequence[RateWindow]:
    """The windows that a CLI tells of, each once."""
    found: dict[str, LimitWindow] = {}
    if info.rate_limit_type is not None:
        found[info.rate_limit_type] = LimitWindow(
            info.utilization, info.status, info.resets_at
        )
    # Not in the published types, so that it may be anything: no answer fails for it.
    with suppress(msgspec.DecodeError):
        found |= _decode_windows(info.unified_windows)
    return [
        RateWindow(
            name=name,
            used=window.utilization,
            status=window.status,
            resets_seconds=window.resets_at,
            told_seconds=now_seconds,
        )
        for name, window in list(found.items())[:_MOST_WINDOWS]
        if len(name) <= _LONGEST_NAME
    ]
