"""``GET /dashboard``: a page that shows what the server is at, and its event stream.

The page, its style and its script are files beside this module. They hold no data and
are served without a key; whatever they show, the script asks for with the key that its
user has typed, which it keeps in its tab.
"""

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.server import Request

from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.admin.activity_document import activity_event, ended_event, hello_event
from ccproxy.core.activity import Activity
from ccproxy.web.context import RequestContext
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Router
from ccproxy.web.sse_writer import SSEWriter

# How often whoever looks on is told, at most.
INTERVAL_SECONDS = 0.5

# Each by its path, with the name of its file and what it is.
_FILES: Mapping[str, tuple[str, str]] = {
    "/dashboard": ("page.html", "text/html"),
    "/dashboard/app.js": ("app.js", "text/javascript"),
    "/dashboard/style.css": ("style.css", "text/css"),
    "/dashboard/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class DashboardRoutes:
    """The page's files, and ``GET /dashboard/events``.

    Args:
        wall_seconds: Unix time.
    """

    def __init__(
        self,
        *,
        router: Router,
        live: ActivityTracker,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._live = live
        self._clock = clock
        self._wall_seconds = wall_seconds
        self._viewers: set[_Viewer] = set()
        for path, (name, kind) in _FILES.items():
            router.add("GET", path, _file(name, kind), needs_key=False)
        router.add("GET", "/dashboard/events", self._events)

    def close_streams(self) -> None:
        """End all event streams: the server stops."""
        for viewer in tuple(self._viewers):
            viewer.end()

    async def _events(self, context: RequestContext) -> None:
        viewer = _Viewer(context.request, self._live, self._clock)
        self._viewers.add(viewer)
        try:
            with context.streaming():
                await viewer.run(hello_event(self._live.version, self._wall_seconds()))
        finally:
            self._viewers.discard(viewer)


class _Viewer:
    """One event stream: looks at what is going on a few times a second."""

    def __init__(
        self, request: Request, live: ActivityTracker, clock: IReactorTime
    ) -> None:
        self._live = live
        self._clock = clock
        self._writer = SSEWriter(request, clock, self)
        self._timer: IDelayedCall | None = None
        self._over: Deferred[None] = Deferred()
        self._told: Activity | None = None
        self._last = 0

    async def run(self, hello: bytes) -> None:
        """Tell until the client hangs up, or the server stops."""
        self._writer.open()
        try:
            self._writer.write(hello)
            self._look()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._writer.close()

    def end(self) -> None:
        """Tell what is left to tell, and no more."""
        if not self._over.called:
            if not self._writer.is_paused:
                self._writer.write(self._news())
            self._over.callback(None)

    def pause(self) -> None:
        """Nothing is told to whoever does not read; see `_look`."""

    def resume(self) -> None:
        """The next look tells what was missed, as far as it is remembered."""

    def gone(self) -> None:
        """Whoever runs this cancels it."""

    def _look(self) -> None:
        self._timer = self._clock.callLater(INTERVAL_SECONDS, self._look)
        if not self._writer.is_paused:
            self._writer.write(self._news())

    def _news(self) -> bytes:
        news = b""
        activity = self._live.activity()
        if activity != self._told:
            self._told = activity
            news += activity_event(activity)
        ended = self._live.ended(self._last)
        if ended:
            self._last = ended[-1].number
            news += ended_event(ended)
        return news


def _file(name: str, kind: str) -> Callable[[RequestContext], Awaitable[bytes]]:
    async def answer(context: RequestContext) -> bytes:
        folder = files("ccproxy.api.admin").joinpath("dashboard_page")
        content = folder.joinpath(name).read_bytes()
        json_response(context.request, content)
        context.request.setHeader("content-type", f"{kind}; charset=utf-8")
        for header, value in _HEADERS.items():
            context.request.setHeader(header, value)
        return content

    return answer
