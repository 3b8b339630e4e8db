"""The dashboard's data: active and completed requests, and remedies for errors. Pure.

`ActivityTracker` observes requests. It has no text of a prompt or an answer. It does
not have the messages of errors either, because a message can quote a request; the
dashboard shows the error's code, and a remedy for it.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from attrs import asdict, define
from typing_extensions import override

from ccproxy.api.admin.documents import Window, window_documents
from ccproxy.core.encoding import WireEvent
from ccproxy.core.usage import ActiveRequest, Activity, CompletedRequest, RateWindow
from ccproxy.web.observer import ObservedRequest, RequestObserver, RequestOutcome

REMEDIES: Mapping[str, str] = {
    "internal_error": (
        "A bug of the proxy. Its log has details under this id; please report it."
    ),
    "invalid_request": "The request is invalid. The client received the reason.",
    "missing_required_parameter": (
        "The client's request lacks a field. The client received its name."
    ),
    "unsupported_value": "The model behind Claude Code has no such feature.",
    "thread_unsupported_request": (
        "Nothing to do: Anthropic's SDKs repeat the request with all messages."
    ),
    "context_length_exceeded": (
        "The conversation is too long: shorten it, or begin a new one."
    ),
    "content_filter": "The provider's filter blocked the request or the answer: "
    "rephrase the request.",
    "previous_response_not_found": (
        "The previous response is not stored: send the whole conversation; see "
        "--keep-time."
    ),
    "invalid_api_key": (
        "Send the proxy's own key (PROXY_API_KEY), not a key of OpenAI's or "
        "Anthropic's."
    ),
    "not_found": "There is no such route or object: check the client's base URL.",
    "model_not_found": (
        "Choose a model that GET /models lists, or map its name with --model-map."
    ),
    "method_not_allowed": "Use another HTTP method for this route.",
    "upgrade_required": "The route is for WebSocket connections: use POST instead.",
    "foreign_origin": "A page of another site sent the request: --cors-origin allows "
    "it.",
    "foreign_host": "The request names another host: --allowed-hosts allows it.",
    "unsupported_content_encoding": "Have the client send its requests uncompressed.",
    "request_timeout": (
        "The client sent its request too slowly: see --head-timeout and --body-timeout."
    ),
    "websocket_connection_limit_reached": "Nothing to do: the client connects again.",
    "request_too_large": "Send less, or start the proxy with a larger --max-body.",
    "claude_failed": (
        "Try again. If it fails again, run `ccproxy doctor --ask`; see the log."
    ),
    "schema_not_satisfied": "Try again, or describe the wanted answer in more detail.",
    "passthrough_failed": (
        "The server of --passthrough does not answer: start it, or correct its URL."
    ),
    "claude_unavailable": (
        "The claude CLI is missing, too old or broken: run `ccproxy doctor`."
    ),
    "claude_not_logged_in": (
        "Run `ccproxy doctor`: it prints the command that logs you in. Or set "
        "ANTHROPIC_API_KEY."
    ),
    "overloaded": "The proxy or the provider is overloaded: try again later.",
    "queue_full": (
        "All CLI processes are busy: try again later, or raise --max-processes or "
        "--max-queue."
    ),
    "rate_limit_exceeded": (
        "The provider's rate limit is reached: wait as long as Retry-After says."
    ),
    "insufficient_quota": (
        "The plan's usage is used up: wait for the reset, or buy more."
    ),
    "timeout": (
        "The model did not answer in time: try again; see --first-token-timeout, "
        "--silence-timeout and --turn-timeout."
    ),
    "storage_failed": (
        "The database cannot be used: run `ccproxy doctor`; see --state-dir."
    ),
}
_MOST_SHOWN = 100
_MOST_ENDED = 200


class _Now(msgspec.Struct):
    going: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    rate_limits: list[Window]


def activity_event(activity: Activity) -> WireEvent:
    """Encode the event ``now``: active requests, CLI processes and rate limits."""
    now = _Now(
        going=activity.active,
        more=activity.more,
        sessions=activity.sessions,
        queued=activity.queued,
        rate_limits=window_documents(activity.windows),
    )
    return WireEvent("now", msgspec.json.encode(now))


def ended_event(ended: Sequence[CompletedRequest]) -> WireEvent:
    """Encode the event ``ended``: completed requests; failed requests with a remedy."""
    documents = [
        {**asdict(end), "remedy": REMEDIES.get(end.finish) if end.is_error else None}
        for end in ended
    ]
    return WireEvent("ended", msgspec.json.encode(documents))


def hello_event(version: str, now_seconds: float) -> WireEvent:
    """Encode the first event, ``hello``: the server's version, and its Unix time."""
    document = {"version": version, "at": now_seconds}
    return WireEvent("hello", msgspec.json.encode(document))


class CLIActivity(Protocol):
    """The current state of the CLI processes, the queue, and the rate limits."""

    def session_counts(self) -> Mapping[str, int]:
        """The number of CLI processes in each state; every state is a key."""

    @property
    def queued(self) -> int:
        """The number of requests that wait for a CLI process."""

    @property
    def windows(self) -> Sequence[RateWindow]:
        """The subscription's rate limits."""


@define(eq=False)
class _Entry:
    client: str
    began_at: float
    answering_at: float | None = None


class ActivityTracker(RequestObserver):
    """Remembers the active requests, and the last completed requests.

    Attributes:
        version: the server's version.

    Args:
        watched: the state of the CLI processes.
        version: the server's version.
        wall_seconds: returns the Unix time.
    """

    def __init__(
        self, watched: CLIActivity, version: str, wall_seconds: Callable[[], float]
    ) -> None:
        self.version = version
        self._watched = watched
        self._wall_seconds = wall_seconds
        self._active: dict[ObservedRequest, _Entry] = {}
        self._ended: deque[CompletedRequest] = deque(maxlen=_MOST_ENDED)
        self._count = 0

    @override
    def request_began(self, request: ObservedRequest) -> None:
        """Add a request to the active requests."""
        if not request.is_quiet:
            self._active[request] = _Entry(request.client, self._wall_seconds())

    @override
    def request_left(self, request: ObservedRequest) -> None:
        """Remove a request from the active requests."""
        self._active.pop(request, None)

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        """Add a request to the completed requests."""
        if end.is_quiet and not end.is_error:
            return
        self._count += 1
        answering = end.answering_seconds
        first = None if answering is None else max(0.0, end.seconds - answering)
        self._ended.append(
            CompletedRequest(
                number=self._count,
                id=end.id,
                route=end.route,
                model=end.model,
                client=end.client,
                key=end.key,
                ended_at=self._wall_seconds(),
                status=end.status,
                finish=end.finish,
                is_error=end.is_error,
                seconds=end.seconds,
                first_token_seconds=first,
                prompt_tokens=None if end.usage is None else end.usage.prompt_tokens,
                output_tokens=None if end.usage is None else end.usage.output_tokens,
                cost_usd=end.cost_usd,
            )
        )

    def activity(self) -> Activity:
        """The active requests, CLI processes and rate limits."""
        shown = list(self._active.items())[:_MOST_SHOWN]
        return Activity(
            active=tuple(self._shown(*item) for item in shown),
            more=len(self._active) - len(shown),
            sessions=self._watched.session_counts(),
            queued=self._watched.queued,
            windows=self._watched.windows,
        )

    def ended(self, after: int) -> Sequence[CompletedRequest]:
        """The completed requests whose number is larger than ``after``."""
        return [end for end in self._ended if end.number > after]

    def _shown(self, request: ObservedRequest, entry: _Entry) -> ActiveRequest:
        answering = request.stats.answering_seconds
        if entry.answering_at is None and answering is not None:
            entry.answering_at = self._wall_seconds() - answering
        return ActiveRequest(
            id=request.id,
            route=request.route,
            model=request.stats.model,
            client=entry.client,
            key=request.key,
            began_at=entry.began_at,
            answering_at=entry.answering_at,
        )
