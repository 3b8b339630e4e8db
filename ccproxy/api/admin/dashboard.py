"""The dashboard: a page that shows the server's activity, and its event stream.

The page, its style and its script are files in ``dashboard_page``. They contain no data
and need no key. The script requests the data with the key that the user has typed. It
keeps the key in the storage of the browser's tab.
"""

from collections.abc import Mapping
from importlib.resources import files

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.server import Request

from ccproxy.api.admin.activity import (
    ActivityTracker,
    activity_event,
    ended_event,
    hello_event,
)
from ccproxy.core.encoding import WireEvent, sse_frames
from ccproxy.core.usage import Activity
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.event_stream import SSEWriter
from ccproxy.web.operation import EVENTS, Operation, ResponseSpec
from ccproxy.web.replies import text_response
from ccproxy.web.routing import Routes, add_error_handlers, route

# The shortest time between two events of one kind.
INTERVAL_SECONDS = 0.5

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


def _file(identifier: str, kind: str, summary: str) -> Operation:
    """The operation of one of the page's files."""
    return Operation(
        id=identifier,
        tag="server",
        summary=summary,
        responses=(ResponseSpec(200, "The file.", {kind: {"type": "string"}}),),
        needs_key=False,
        is_quiet=True,
    )


class DashboardRoutes(Routes):
    """The page's files, and ``GET /dashboard/events``.

    Args:
        services: the services for the `RequestContext` of each request.
        tracker: has the active and the last completed requests.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        tracker: ActivityTracker,
    ) -> None:
        super().__init__(services)
        self._tracker = tracker
        self._viewers: set[_Viewer] = set()

    @route(
        _app,
        "/dashboard",
        methods=["GET"],
        operation=_file("dashboard", "text/html", "the dashboard's page; needs no key"),
    )
    async def page(self, context: RequestContext) -> bytes:
        """The page."""
        return _content(context.request, "page.html", "text/html")

    @route(
        _app,
        "/dashboard/app.js",
        methods=["GET"],
        operation=_file("dashboardApp", "text/javascript", "the page's script"),
    )
    async def script(self, context: RequestContext) -> bytes:
        """The page's script."""
        return _content(context.request, "app.js", "text/javascript")

    @route(
        _app,
        "/dashboard/style.css",
        methods=["GET"],
        operation=_file("dashboardStyle", "text/css", "the page's style"),
    )
    async def style(self, context: RequestContext) -> bytes:
        """The page's style."""
        return _content(context.request, "style.css", "text/css")

    @route(
        _app,
        "/dashboard/icon.svg",
        methods=["GET"],
        operation=_file("dashboardIcon", "image/svg+xml", "the page's icon"),
    )
    async def icon(self, context: RequestContext) -> bytes:
        """The page's icon."""
        return _content(context.request, "icon.svg", "image/svg+xml")

    @route(
        _app,
        "/dashboard/events",
        methods=["GET"],
        operation=Operation(
            id="dashboardEvents",
            tag="server",
            summary="the dashboard's events; no text of a prompt or an answer",
            description="An endless stream. The events are `hello`, `now` and `ended`.",
            responses=(ResponseSpec(200, "The events.", {EVENTS: {}}),),
            is_quiet=True,
        ),
    )
    async def events(self, context: RequestContext) -> None:
        """Stream the data of the page, until the client disconnects."""
        viewer = _Viewer(context.request, self._tracker, self.services.clock)
        self._viewers.add(viewer)
        try:
            with context.streaming():
                await viewer.run(
                    hello_event(self._tracker.version, self.services.wall_seconds())
                )
        finally:
            self._viewers.discard(viewer)

    def close_streams(self) -> None:
        """End all event streams, because the server stops."""
        for viewer in tuple(self._viewers):
            viewer.end()


class _Viewer:
    """One event stream; sends changes, at most every `INTERVAL_SECONDS`."""

    def __init__(
        self, request: Request, tracker: ActivityTracker, clock: IReactorTime
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._writer = SSEWriter(request, clock, self)
        self._timer: IDelayedCall | None = None
        self._over: Deferred[None] = Deferred()
        self._sent: Activity | None = None
        self._last = 0

    async def run(self, hello: WireEvent) -> None:
        """Send events until the client disconnects, or the server stops."""
        self._writer.open()
        try:
            self._writer.write(sse_frames([hello]))
            self._look()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._writer.close()

    def end(self) -> None:
        """Send the last events, and end the stream."""
        if not self._over.called:
            self._send()
            self._over.callback(None)

    def pause(self) -> None:
        """Do nothing: `_send` checks whether the client reads."""

    def resume(self) -> None:
        """Do nothing: the next `_look` sends everything that has changed."""

    def gone(self) -> None:
        """Do nothing: Klein cancels `run` when the client disconnects."""

    def _look(self) -> None:
        self._timer = self._clock.callLater(INTERVAL_SECONDS, self._look)
        self._send()

    def _send(self) -> None:
        if not self._writer.is_paused:
            self._writer.write(sse_frames(self._news()))

    def _news(self) -> list[WireEvent]:
        news = []
        activity = self._tracker.activity()
        if activity != self._sent:
            self._sent = activity
            news.append(activity_event(activity))
        ended = self._tracker.ended(self._last)
        if ended:
            self._last = ended[-1].number
            news.append(ended_event(ended))
        return news


def _content(request: Request, name: str, kind: str) -> bytes:
    """Prepare the response with a file of ``dashboard_page``."""
    folder = files("ccproxy.api.admin").joinpath("dashboard_page")
    for header, value in _HEADERS.items():
        request.setHeader(header, value)
    content = folder.joinpath(name).read_bytes()
    return text_response(request, content, f"{kind}; charset=utf-8")
