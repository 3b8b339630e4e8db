"""The metrics of one server, in Prometheus' format.

Each server has its own registry, so that an application can embed several servers and
can use the global registry for its own metrics. No metric is updated for each token.

The number of label values is bounded: neither clients nor the provider can increase it.
A value from outside that is not in a fixed list is counted as ``other``, or not at all.
For models there is no list: the first `_MOST_MODELS` that answer have their own series.

Source: prometheus.io, "Metric and label naming", "Histograms and summaries".
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from attrs import evolve
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client import generate_latest as render
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from typing_extensions import override

from ccproxy import __version__
from ccproxy.api.admin.activity import CLIActivity
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.observer import ClaudeObserver, Served, StopReason
from ccproxy.core.usage import UsageTotals, nanodollars
from ccproxy.store.usage import UsageLedger
from ccproxy.web.observer import RequestObserver, RequestOutcome

_OTHER = "other"
_MOST_MODELS = 30
# How many of the most recent answers the gauge `ccproxy_cache_read_ratio` covers.
_CACHE_ANSWERS = 100
# Values of `api_retry` messages of the CLI: docs/claude-cli-protocol.md, "Retries".
_REASONS = frozenset(
    {
        "authentication_failed",
        "rate_limit",
        "overloaded",
        "billing_error",
        "invalid_request",
        "model_not_found",
        "server_error",
        "unknown",
    }
)
_WINDOWS = frozenset(
    {
        "five_hour",
        "seven_day",
        "seven_day_opus",
        "seven_day_sonnet",
        "seven_day_overage_included",
        "overage",
    }
)
# From a ready process on loopback to a model that thinks for minutes.
_FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_DURATION = (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 1800)
_QUEUE = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60)
_RETRY = (0.5, 1, 2, 5, 10, 30, 60, 300)


_M = TypeVar("_M", Counter, Histogram)


class MetricsSource(CLIActivity, Protocol):
    """The gauges of the backend, read whenever the metrics are rendered."""

    @property
    def is_native(self) -> bool:
        """Whether every request is sent in native mode."""

    @property
    def probe_result(self) -> ProbeResult:
        """The result of the examination of the CLI's binary."""


class Metrics(ClaudeObserver, RequestObserver):
    """Counts the events that `ccproxy.claude` and `ccproxy.web` report.

    Attributes:
        watched: the source of the gauges; set it before the metrics are rendered.
        content_type: the media type of the text that `render` returns.
    """

    watched: MetricsSource
    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._models: set[str] = set()
        # By model: the cached and all input tokens of each of the last answers.
        self._inputs: dict[str, deque[tuple[int, int]]] = {}
        self._known: dict[tuple[object, tuple[str, ...]], Any] = {}
        Info("ccproxy_build", "The version of ccproxy.", registry=own).info(
            {"version": __version__}
        )
        self._requests = Counter(
            "ccproxy_requests_total",
            "Completed requests, and completed turns over WebSockets and in the "
            "background.",
            ["route", "model", "status", "finish"],
            registry=own,
        )
        self._durations = Histogram(
            "ccproxy_request_duration_seconds",
            "Time from the head of a request to its end.",
            ["route"],
            buckets=_DURATION,
            registry=own,
        )
        self._first_tokens = Histogram(
            "ccproxy_first_token_seconds",
            "Time from a request to the first token of its answer, the queue included.",
            ["model", "served"],
            buckets=_FIRST_TOKEN,
            registry=own,
        )
        self._queue_times = Histogram(
            "ccproxy_queue_seconds",
            "Time that requests waited for a CLI process.",
            buckets=_QUEUE,
            registry=own,
        )
        self._retries = Histogram(
            "ccproxy_upstream_retry_delay_seconds",
            "Time that the CLI waited before it repeated a request that the provider "
            "refused.",
            ["reason"],
            buckets=_RETRY,
            registry=own,
        )
        self._tokens = Counter(
            "ccproxy_tokens_total",
            "Tokens of answers; the kinds do not overlap.",
            ["model", "kind"],
            registry=own,
        )
        self._thinking = Counter(
            "ccproxy_thinking_tokens_total",
            "Tokens of thinking; they are also counted as output tokens.",
            ["model"],
            registry=own,
        )
        self._cost = Counter(
            "ccproxy_cost_usd_total",
            "Cost in US dollars, as the CLI reports it.",
            ["model"],
            registry=own,
        )
        self._served = Counter(
            "ccproxy_questions_served_total",
            "Requests by the kind of CLI process: used before, a spare, or new.",
            ["served"],
            registry=own,
        )
        self._started = Counter(
            "ccproxy_cli_starts_total", "CLI processes started.", registry=own
        )
        self._stopped = Counter(
            "ccproxy_cli_stops_total",
            "CLI processes stopped, by reason.",
            ["cause"],
            registry=own,
        )
        self._streams = Gauge(
            "ccproxy_open_streams", "Open event streams and WebSockets.", registry=own
        )
        # Prometheus computes no rate for the first sample of a series, so series with
        # known labels are created here.
        for served in Served:
            self._served.labels(served.value)
        for why in StopReason:
            self._stopped.labels(why.value)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return render(self)

    def collect(self) -> Iterator[Metric]:
        """All metrics, without the `_created` series, which double the counters."""
        yield from self._watch()
        for metric in self._registry.collect():
            metric.samples = [
                s for s in metric.samples if not s.name.endswith("_created")
            ]
            yield metric

    # Called by `ccproxy.web`.

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        """Count a request and its tokens."""
        model = self._model(end.model)
        self._series(
            self._requests, end.route, model, str(end.status), end.finish
        ).inc()
        self._series(self._durations, end.route).observe(end.seconds)
        if end.usage is None or not model:
            return
        for kind, count in (
            ("input", end.usage.input_tokens),
            ("cache_read", end.usage.cache_read_tokens),
            ("cache_write", end.usage.cache_write_tokens),
            ("output", end.usage.output_tokens),
        ):
            series = self._series(self._tokens, model, kind)
            if count:
                series.inc(count)
        self._series(self._thinking, model).inc(end.usage.thinking_tokens)
        inputs = self._inputs.setdefault(model, deque(maxlen=_CACHE_ANSWERS))
        inputs.append((end.usage.cache_read_tokens, end.usage.prompt_tokens))

    @override
    def stream_opened(self) -> None:
        """Add one."""
        self._streams.inc()

    @override
    def stream_closed(self) -> None:
        """Subtract one."""
        self._streams.dec()

    # Called by `ccproxy.claude`.

    @override
    def cli_started(self) -> None:
        """Add one."""
        self._started.inc()

    @override
    def cli_stopped(self, why: StopReason) -> None:
        """Add one."""
        self._series(self._stopped, why.value).inc()

    @override
    def question_served(self, served: Served, queued_seconds: float) -> None:
        """Count a request and its time in the queue."""
        self._series(self._served, served.value).inc()
        self._queue_times.observe(queued_seconds)

    @override
    def answer_begun(self, model: str, served: Served, seconds: float) -> None:
        """Count the time to the first token."""
        self._series(self._first_tokens, self._model(model), served.value).observe(
            seconds
        )

    @override
    def upstream_retried(self, reason: str, delay_seconds: float) -> None:
        """Count the delay before the CLI tries again."""
        known = reason if reason in _REASONS else _OTHER
        self._series(self._retries, known).observe(delay_seconds)

    @override
    def cost_reported(self, model: str, dollars: float) -> None:
        """Add the cost."""
        self._series(self._cost, self._model(model)).inc(dollars)

    def _series(self, metric: _M, *labels: str) -> _M:
        """The series of a metric with these labels, cached.

        The client library takes a lock and converts every label to text to find a
        series.
        """
        series: _M | None = self._known.get((metric, labels))
        if series is None:
            series = self._known[metric, labels] = metric.labels(*labels)
        return series

    def _model(self, name: str) -> str:
        if name and name not in self._models:
            if len(self._models) >= _MOST_MODELS:
                return _OTHER
            self._models.add(name)
        return name

    def _cached(self) -> Metric:
        ratio = Metric(
            "ccproxy_cache_read_ratio",
            "Share of the last 100 answers' input that was read from the cache.",
            "gauge",
        )
        for model, inputs in self._inputs.items():
            whole = sum(tokens for _, tokens in inputs)
            if whole:
                read = sum(tokens for tokens, _ in inputs)
                ratio.add_sample(ratio.name, {"model": model}, read / whole)
        return ratio

    def _watch(self) -> Iterator[Metric]:
        yield self._cached()
        sessions = Metric("ccproxy_cli_sessions", "CLI processes by state.", "gauge")
        for state, count in self.watched.session_counts().items():
            sessions.add_sample(sessions.name, {"state": state}, count)
        yield sessions
        queued = Metric(
            "ccproxy_queued_questions", "Requests that wait for a CLI process.", "gauge"
        )
        queued.add_sample(queued.name, {}, self.watched.queued)
        yield queued
        native = Metric(
            "ccproxy_native_composer",
            "1 while every request is sent in native mode, which is slower.",
            "gauge",
        )
        native.add_sample(native.name, {}, int(self.watched.is_native))
        yield native
        found = self.watched.probe_result
        version = Metric(
            "ccproxy_cli_conformance",
            "1 for the result of checking the CLI's version against the contract.",
            "gauge",
        )
        version.add_sample(version.name, {"standing": found.standing.value}, 1)
        yield version
        missing = Metric(
            "ccproxy_cli_missing_behaviour",
            "1 for each behaviour that the CLI lacks.",
            "gauge",
        )
        for name in found.falls_short_in:
            missing.add_sample(missing.name, {"behaviour": name}, 1)
        yield missing
        used = Metric(
            "ccproxy_rate_limit_used_ratio",
            "The used part of a rate limit of the subscription, as last reported.",
            "gauge",
        )
        resets = Metric(
            "ccproxy_rate_limit_reset_timestamp_seconds",
            "Unix time at which the window of a rate limit ends.",
            "gauge",
        )
        for window in self.watched.windows:
            if window.name not in _WINDOWS:
                continue
            labels = {"window": window.name}
            if window.used is not None:
                used.add_sample(used.name, labels, window.used)
            if window.resets_seconds is not None:
                resets.add_sample(resets.name, labels, window.resets_seconds)
        yield used
        yield resets


class UsageRecorder(RequestObserver):
    """Adds each request that a model answered to the usage ledger."""

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        if end.usage is None or not end.model:
            return
        # `details` can keep a whole message in memory.
        usage = evolve(end.usage, details={})
        totals = UsageTotals(1, usage, nanodollars(end.cost_usd or 0.0))
        self._ledger.add(
            end.model, end.key, end.client, totals, conversation=end.conversation
        )
