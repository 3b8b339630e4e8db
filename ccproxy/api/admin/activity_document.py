"""The events of ``GET /dashboard/events``, which no API defines. Pure."""

from collections.abc import Mapping, Sequence

import msgspec
from attrs import asdict

from ccproxy.api.admin.usage import Window, window_documents
from ccproxy.core.activity import ActiveRequest, Activity, CompletedRequest
from ccproxy.core.encoding import WireEvent
from ccproxy.core.remedies import REMEDIES


class _Now(msgspec.Struct):
    going: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    rate_limits: list[Window]


def activity_event(activity: Activity) -> WireEvent:
    """The active requests and the CLI processes."""
    now = _Now(
        going=activity.active,
        more=activity.more,
        sessions=activity.sessions,
        queued=activity.queued,
        rate_limits=window_documents(activity.windows),
    )
    return WireEvent("now", msgspec.json.encode(now))


def ended_event(ended: Sequence[CompletedRequest]) -> WireEvent:
    """Completed requests; a failed one with its remedy."""
    documents = [
        {**asdict(end), "remedy": REMEDIES.get(end.finish) if end.is_error else None}
        for end in ended
    ]
    return WireEvent("ended", msgspec.json.encode(documents))


def hello_event(version: str, now_seconds: float) -> WireEvent:
    """The first event: the server's version, and its time in Unix seconds."""
    document = {"version": version, "at": now_seconds}
    return WireEvent("hello", msgspec.json.encode(document))
