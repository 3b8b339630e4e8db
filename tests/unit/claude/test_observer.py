"""The costs that a CLI reports."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field
from typing_extensions import override

from ccproxy.claude.observer import ClaudeObserver, CostTracker, cost_increase
from ccproxy.claude.protocol import codec as wire
from ccproxy.core.backend import ModelSize
from ccproxy.core.usage import RateWindow


@define(eq=False)
class Heard(ClaudeObserver):
    costs: list[tuple[str, float]] = field(factory=list)
    retries: list[tuple[str, float]] = field(factory=list)
    windows: list[RateWindow] = field(factory=list)
    sizes: dict[str, ModelSize] = field(factory=dict)
    spending: CostTracker = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.spending = CostTracker(
            self, self.limited, self.sizes.update, lambda: 1700000000.0
        )
        self.spending.model = "claude-sonnet-5-5"

    @override
    def cost_reported(self, model: str, dollars: float) -> None:
        self.costs.append((model, dollars))

    @override
    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        self.retries.append((reason, delay_seconds))

    def limited(self, windows: Sequence[RateWindow]) -> None:
        self.windows += windows

    def read(self, **record: Any) -> None:
        decoded = wire.decode(json.dumps(record).encode())
        assert decoded is not None
        self.spending.receive(decoded)

    def result(self, **fields: Any) -> None:
        self.read(type="result", subtype="success", **fields)


def test_sizes_of_models() -> None:
    heard = Heard()
    heard.result(
        modelUsage={"a": {"contextWindow": 200_000, "maxOutputTokens": 64_000}}
    )
    heard.result(modelUsage={"b[1m]": {"contextWindow": 1_000_000}, "c": {}})
    assert heard.sizes == {
        "a": ModelSize(context_tokens=200_000, output_tokens=64_000),
        "b[1m]": ModelSize(context_tokens=1_000_000),
    }


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"a": 1}, {"a": {"contextWindow": "x"}}]
)
def test_sizes_in_another_form_are_ignored(usage: Any) -> None:
    heard = Heard()
    heard.result(modelUsage=usage, total_cost_usd=1)
    assert heard.sizes == {}
    assert heard.spending.total_dollars == 1


def test_sums_become_differences() -> None:
    heard = Heard()
    heard.result(total_cost_usd=0.25)
    heard.result(total_cost_usd=0.75)
    heard.spending.model = "claude-opus-5"
    heard.result(total_cost_usd=1)
    assert heard.costs == [
        ("claude-sonnet-5-5", 0.25),
        ("claude-sonnet-5-5", 0.5),
        ("claude-opus-5", 0.25),
    ]
    assert heard.spending.total_dollars == 1


def test_nothing_spent_is_not_told() -> None:
    heard = Heard()
    heard.result(num_turns=0, total_cost_usd=0)
    heard.result()
    assert heard.costs == []


def test_a_sum_that_has_become_smaller_began_anew() -> None:
    assert cost_increase(2.0, 0.5) == 0.5
    assert cost_increase(0.5, 0.5) == 0


def test_retries_are_told() -> None:
    heard = Heard()
    heard.read(
        type="system",
        subtype="api_retry",
        attempt=1,
        retry_delay_ms=550.5,
        error="overloaded",
    )
    heard.read(type="system", subtype="api_retry", attempt=2, retry_delay_ms=1000)
    assert heard.retries == [("overloaded", 0.5505), ("", 1.0)]


def limit(**info: Any) -> list[RateWindow]:
    heard = Heard()
    heard.read(type="rate_limit_event", rate_limit_info=info)
    return heard.windows


def window(name: str, **fields: Any) -> RateWindow:
    values = {"used": None, "status": None, "resets_seconds": None, **fields}
    return RateWindow(name=name, reported_seconds=1700000000.0, **values)


def test_all_windows_of_a_newer_cli() -> None:
    """As CLI 2.1.330 wrote it, to a subscription's token."""
    assert limit(
        status="allowed",
        resetsAt=1795616877,
        rateLimitType="five_hour",
        isUsingOverage=False,
        unifiedWindows={
            "five_hour": {
                "utilization": 0.62,
                "resetsAt": 1795616877,
                "status": "allowed",
            },
            "seven_day": {
                "utilization": 0.31,
                "resetsAt": 1795703277,
                "status": "allowed",
            },
        },
    ) == [
        window("five_hour", used=0.62, status="allowed", resets_seconds=1795616877.0),
        window("seven_day", used=0.31, status="allowed", resets_seconds=1795703277.0),
    ]


def test_the_one_window_of_an_older_cli() -> None:
    assert limit(
        status="rejected", resetsAt=1795616877, rateLimitType="seven_day_opus"
    ) == [window("seven_day_opus", status="rejected", resets_seconds=1795616877.0)]


def test_windows_of_another_kind_are_skipped() -> None:
    assert limit(status="allowed", unifiedWindows=[1, 2]) == []
    assert limit(status="allowed", unifiedWindows={"five_hour": 3}) == []
    assert limit(status="allowed", unifiedWindows=None) == []


def test_windows_do_not_fill_a_table() -> None:
    many = {f"w{number}": {"utilization": 1} for number in range(1000)}
    assert len(limit(status="allowed", unifiedWindows=many)) == 10
    assert limit(status="allowed", unifiedWindows={"w" * 41: {}}) == []
