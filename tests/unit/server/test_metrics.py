"""The metrics, as Prometheus reads them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.observer import Served, StopReason
from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow
from ccproxy.server.metrics import Metrics
from ccproxy.web.observer import RequestOutcome

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "contrib" / "grafana" / "ccproxy.json"
DOCUMENT = ROOT / "docs" / "metrics.md"
MODEL = "claude-sonnet-5-5"
END = RequestOutcome(
    id="req_1",
    is_error=False,
    answering_seconds=None,
    route="POST /chat/completions",
    status=200,
    finish="stop",
    model=MODEL,
    usage=Usage(
        input_tokens=11,
        cache_read_tokens=3,
        cache_write_tokens=2,
        output_tokens=20,
        thinking_tokens=5,
    ),
    cost_usd=0.5,
    seconds=1.5,
    key="1a2b3c4d",
    client="curl",
)


FOUND = ProbeResult("2.1.332", {"cost": "it is missing"})


@define(eq=False)
class House:
    """What is looked at."""

    queued: int = 2
    is_native: bool = True
    probe_result: ProbeResult = FOUND
    windows: Sequence[RateWindow] = ()

    def session_counts(self) -> Mapping[str, int]:
        return {"answering": 3, "idle": 1}


def window(name: str, used: float | None, resets: float | None) -> RateWindow:
    return RateWindow(
        name=name, used=used, status=None, resets_seconds=resets, reported_seconds=0
    )


def new() -> Metrics:
    metrics = Metrics()
    metrics.watched = House()
    return metrics


def full() -> Metrics:
    """One that has been told of everything."""
    metrics = new()
    metrics.watched = House(windows=[window("five_hour", 0.62, 1795616877)])
    metrics.request_ended(END)
    metrics.stream_opened()
    metrics.cli_started()
    metrics.cli_stopped(StopReason.IDLE)
    metrics.question_served(Served.SPARE, 0.02)
    metrics.answer_begun(MODEL, Served.SPARE, 0.3)
    metrics.upstream_retried("overloaded", 0.6)
    metrics.cost_reported(MODEL, 0.25)
    return metrics


def samples(metrics: Metrics) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def names(metrics: Metrics) -> set[str]:
    return {name for name, _ in samples(metrics)}


def test_a_request_is_counted_with_what_it_used() -> None:
    metrics = new()
    metrics.request_ended(END)
    metrics.request_ended(END)
    labels = {"route": "POST /chat/completions", "model": MODEL}
    count = value(
        metrics, "ccproxy_requests_total", **labels, status="200", finish="stop"
    )
    assert count == 2
    tokens = {
        kind: value(metrics, "ccproxy_tokens_total", model=MODEL, kind=kind)
        for kind in ("input", "cache_read", "cache_write", "output")
    }
    assert tokens == {"input": 22, "cache_read": 6, "cache_write": 4, "output": 40}
    assert value(metrics, "ccproxy_thinking_tokens_total", model=MODEL) == 10
    name, route = "ccproxy_request_duration_seconds", "POST /chat/completions"
    assert value(metrics, f"{name}_sum", route=route) == 3.0
    assert value(metrics, f"{name}_bucket", route=route, le="1.0") == 0
    assert value(metrics, f"{name}_bucket", route=route, le="2.0") == 2
    # Its cost is counted when the CLI tells it, whoever it was for.
    assert value(metrics, "ccproxy_cost_usd_total", model=MODEL) is None


def test_what_failed_has_used_nothing_that_is_known() -> None:
    metrics = new()
    failed = evolve(END, usage=None, status=503, finish="overloaded")
    metrics.request_ended(failed)
    metrics.request_ended(evolve(END, model=""))
    assert "ccproxy_tokens_total" not in names(metrics)


def test_the_room_of_the_cli_is_counted() -> None:
    metrics = full()
    metrics.cost_reported(MODEL, 0.5)
    assert value(metrics, "ccproxy_cost_usd_total", model=MODEL) == 0.75
    assert value(metrics, "ccproxy_cli_starts_total") == 1
    assert value(metrics, "ccproxy_cli_stops_total", cause="idle") == 1
    assert value(metrics, "ccproxy_cli_stops_total", cause="lost") == 0
    assert value(metrics, "ccproxy_questions_served_total", served="spare") == 1
    assert value(metrics, "ccproxy_questions_served_total", served="new") == 0
    assert value(metrics, "ccproxy_queue_seconds_sum") == 0.02
    first = {"model": MODEL, "served": "spare"}
    assert value(metrics, "ccproxy_first_token_seconds_sum", **first) == 0.3
    retry = "ccproxy_upstream_retry_delay_seconds_sum"
    assert value(metrics, retry, reason="overloaded") == 0.6
    assert value(metrics, "ccproxy_open_streams") == 1
    metrics.stream_closed()
    assert value(metrics, "ccproxy_open_streams") == 0


def test_what_is_there_is_looked_at_when_it_is_read() -> None:
    metrics = full()
    assert value(metrics, "ccproxy_cli_sessions", state="answering") == 3
    assert value(metrics, "ccproxy_queued_questions") == 2
    name = "ccproxy_rate_limit_used_ratio"
    assert value(metrics, name, window="five_hour") == 0.62
    name = "ccproxy_rate_limit_reset_timestamp_seconds"
    assert value(metrics, name, window="five_hour") == 1795616877


def test_what_comes_from_outside_makes_few_series() -> None:
    metrics = new()
    many = [window(f"w{number}", 0.5, 1.0) for number in range(100)]
    metrics.watched = House(windows=[*many, window("overage", None, None)])
    for number in range(1000):
        metrics.request_ended(evolve(END, model=f"claude-{number}"))
        metrics.answer_begun(f"claude-{number}", Served.NEW, 1)
        metrics.cost_reported(f"claude-{number}", 1)
        metrics.upstream_retried(f"reason {number}", 1)
    found = samples(metrics)
    models = {v for _, labels in found for k, v in labels if k == "model"}
    assert len(models) == 31
    assert "other" in models
    reasons = {v for _, labels in found for k, v in labels if k == "reason"}
    assert reasons == {"other"}
    assert not any("window" in dict(labels) for _, labels in found)


def test_nothing_is_in_the_global_registry() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    full()
    full()
    assert {metric.name for metric in REGISTRY.collect()} == before
    assert not any(name.startswith("ccproxy") for name in before)


def test_when_a_series_began_is_not_told() -> None:
    assert b"_created" not in full().render()


def test_prometheus_finds_nothing_to_object_to() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [program, "check", "metrics"],
        input=full().render(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def expressions(node: Any) -> Iterator[str]:
    """All queries of a dashboard, those of its variables too."""
    if isinstance(node, dict):
        for name, child in node.items():
            if name in ("expr", "query") and isinstance(child, str):
                yield child
            yield from expressions(child)
    elif isinstance(node, list):
        for child in node:
            yield from expressions(child)


def test_the_dashboard_asks_for_what_there_is() -> None:
    known = names(full())
    asked = list(expressions(json.loads(DASHBOARD.read_text())))
    assert len(asked) > 10
    used = {name for text in asked for name in re.findall(r"ccproxy_\w+", text)}
    assert used <= known
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert families - shown == set()


def test_the_share_read_from_the_cache_is_that_of_the_last_answers() -> None:
    metrics = new()
    metrics.watched = House()
    assert value(metrics, "ccproxy_cache_read_ratio", model=MODEL) is None
    read = Usage(input_tokens=10, cache_read_tokens=80, cache_write_tokens=10)
    for _ in range(100):
        metrics.request_ended(evolve(END, usage=Usage(input_tokens=100)))
    assert value(metrics, "ccproxy_cache_read_ratio", model=MODEL) == 0
    for _ in range(50):
        metrics.request_ended(evolve(END, usage=read))
    assert value(metrics, "ccproxy_cache_read_ratio", model=MODEL) == 0.4


def test_the_document_names_each_metric() -> None:
    text = DOCUMENT.read_text()
    families = {re.sub(r"_(bucket|sum|count)$", "", n) for n in names(full())}
    assert families == set(re.findall(r"^\| `(ccproxy_\w+)`", text, re.MULTILINE))
