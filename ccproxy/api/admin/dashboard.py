"""``GET /dashboard``: a page that shows what the server is at, and its event stream.

The page, its style and its script are files beside this module. They hold no data and
are served without a key; whatever they show, the script asks for with the key that its
user has typed, which it keeps in its tab.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.server import Request

from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.admin.activity_document import activity_event, ended_event, hello_event
from ccproxy.core.activity import Activity
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.operation import EVENTS, Operation, ResponseSpec
from ccproxy.web.replies import text_response
from ccproxy.web.routing import Routes, add_error_handlers, route
from ccproxy.web.sse_writer import SSEWriter

# How often whoever looks on is told, at most.
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
        services: what every request needs.
        live: knows the requests under way and the last that ended.
        wall_seconds: Unix time.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        live: ActivityTracker,
        wall_seconds: Callable[[], float],
    ) -> None:
        super().__init__(services)
        self._live = live
        self._wall_seconds = wall_seconds
        self._viewers: set[_Viewer] = set()

    @route(
        _app,
        "/dashboard",
        methods=["GET"],
        operation=_file(
            "dashboard", "text/html", "the dashboard's page; without a key"
        ),
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
        """Stream what the page shows."""
        viewer = _Viewer(context.request, self._live, self.services.clock)
        self._viewers.add(viewer)
        try:
            with context.streaming():
                await viewer.run(hello_event(self._live.version, self._wall_seconds()))
        finally:
            self._viewers.discard(viewer)

    def close_streams(self) -> None:
        """End all event streams: the server stops."""
        for viewer in tuple(self._viewers):
            viewer.end()


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


def _content(request: Request, name: str, kind: str) -> bytes:
    """Prepare the response of a file beside this module."""
    folder = files("ccproxy.api.admin").joinpath("dashboard_page")
    for header, value in _HEADERS.items():
        request.setHeader(header, value)
    content = folder.joinpath(name).read_bytes()
    return text_response(request, content, f"{kind}; charset=utf-8")
