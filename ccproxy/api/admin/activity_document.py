"""The dashboard's events: documents of our own."""

from collections.abc import Mapping, Sequence

import msgspec
from attrs import asdict

from ccproxy.api.admin.usage import Window, window_documents
from ccproxy.core.activity import ActiveRequest, Activity, CompletedRequest
from ccproxy.core.remedies import REMEDIES


class _Now(msgspec.Struct):
    going: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    rate_limits: list[Window]


def activity_event(activity: Activity) -> bytes:
    """What is going on, as a server-sent event."""
    now = _Now(
        going=activity.active,
        more=activity.more,
        sessions=activity.sessions,
        queued=activity.queued,
        rate_limits=window_documents(activity.windows),
    )
    return _event(b"now", msgspec.json.encode(now))


def ended_event(ended: Sequence[CompletedRequest]) -> bytes:
    """Requests that are over, each with what helps if it failed."""
    documents = [
        {**asdict(end), "remedy": REMEDIES.get(end.finish) if end.is_error else None}
        for end in ended
    ]
    return _event(b"ended", msgspec.json.encode(documents))


def hello_event(version: str, now_seconds: float) -> bytes:
    """The stream's first: whose it is, and what time it is there."""
    return _event(
        b"hello", msgspec.json.encode({"version": version, "at": now_seconds})
    )


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: " + name + b"\ndata: " + data + b"\n\n"
