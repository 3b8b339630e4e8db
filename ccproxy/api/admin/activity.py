"""The active requests and the last completed ones, for the dashboard. Pure.

The tracker has one entry for each active request, and a short list of completed
requests. It is called twice a request, and sees no text of a prompt or an answer.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import define
from typing_extensions import override

from ccproxy.core.activity import ActiveRequest, Activity, CompletedRequest
from ccproxy.core.usage import RateWindow
from ccproxy.web.observer import ObservedRequest, RequestObserver, RequestOutcome

_MOST_SHOWN = 100
_MOST_ENDED = 200


class CLIActivity(Protocol):
    """What the CLI processes are doing; read whenever a page or a metric is."""

    def session_counts(self) -> Mapping[str, int]:
        """The number of CLI processes by state; always the same states."""

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
    """An observer that remembers active requests and the last completed ones.

    Attributes:
        version: of the server.

    Args:
        watched: the CLI processes.
        version: of the server.
        wall_seconds: Unix time.
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
        """Add the request to the active ones."""
        if not request.is_quiet:
            self._active[request] = _Entry(request.client, self._wall_seconds())

    @override
    def request_left(self, request: ObservedRequest) -> None:
        """Remove the request from the active ones."""
        self._active.pop(request, None)

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        """Remember a completed request."""
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
        """The active requests and the CLI processes."""
        shown = list(self._active.items())[:_MOST_SHOWN]
        return Activity(
            active=tuple(self._shown(*item) for item in shown),
            more=len(self._active) - len(shown),
            sessions=self._watched.session_counts(),
            queued=self._watched.queued,
            windows=self._watched.windows,
        )

    def ended(self, after: int) -> Sequence[CompletedRequest]:
        """The remembered completed requests with a higher number."""
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
