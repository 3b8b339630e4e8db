"""The whole API as one resource."""

from collections.abc import Callable, Collection, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.admin.dashboard import DashboardRoutes
from ccproxy.api.admin.metrics import Exposition, MetricsRoutes
from ccproxy.api.admin.status import status_document
from ccproxy.api.chat.routes import ChatRoutes
from ccproxy.api.conversations.routes import ConversationRoutes
from ccproxy.api.messages.routes import MessagesRoutes
from ccproxy.api.models.routes import ModelRoutes
from ccproxy.api.openapi.document import openapi_document
from ccproxy.api.options import APIOptions
from ccproxy.api.responses.background import BackgroundResponses
from ccproxy.api.responses.routes import ResponsesRoutes
from ccproxy.api.responses.turns import ResponseBuilder
from ccproxy.store.store import Store
from ccproxy.web.auth import Authenticator
from ccproxy.web.backend import Backend
from ccproxy.web.context import RequestContext
from ccproxy.web.cors import CORSPolicy
from ccproxy.web.observer import RequestObserver
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Route, Router


class API:
    """The whole API as a Klein application.

    Args:
        observer: told of every request.
        exposition: what ``GET /metrics`` shows.
        live: what ``GET /dashboard`` shows.
        wall_seconds: Unix time, for ``created``.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        store: Store,
        authenticator: Authenticator,
        cors: CORSPolicy,
        policy: APIOptions,
        observer: RequestObserver,
        exposition: Exposition,
        live: ActivityTracker,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._router = router = Router(authenticator, cors, clock, observer)
        router.add("GET", "/health", self._health, needs_key=False)
        router.add("GET", "/ready", self._ready)
        router.add("GET", "/openapi.json", self._openapi)
        ModelRoutes(router=router, backend=backend, wall_seconds=wall_seconds)
        ChatRoutes(
            router=router, backend=backend, clock=clock, wall_seconds=wall_seconds
        )
        MessagesRoutes(router=router, backend=backend, clock=clock)
        turns = ResponseBuilder(backend, store, wall_seconds)
        self._jobs = BackgroundResponses(turns, store.responses, clock)
        self._responses = ResponsesRoutes(
            router=router,
            turns=turns,
            jobs=self._jobs,
            cors=cors,
            stored=store.responses,
            policy=policy,
            clock=clock,
        )
        ConversationRoutes(
            router=router,
            conversations=store.conversations,
            responses=store.responses,
            wall_seconds=wall_seconds,
        )
        MetricsRoutes(
            router=router,
            exposition=exposition,
            ledger=store.usage,
            policy=policy,
            wall_seconds=wall_seconds,
        )
        self._dashboard = DashboardRoutes(
            router=router, live=live, clock=clock, wall_seconds=wall_seconds
        )

    @property
    def routes(self) -> Sequence[Route]:
        """All routes, without ``/v1``."""
        return self._router.routes

    def resource(self) -> IResource:
        """The whole API, to be mounted anywhere."""
        return self._router.resource()

    @property
    def open_paths(self) -> Collection[bytes]:
        """The paths that need no key."""
        return self._router.open_paths

    async def drain(self) -> None:
        """End what goes on without a request, and wait until it has been kept.

        The backend has to have ended its answers before.
        """
        self._responses.close_sockets()
        self._dashboard.close_streams()
        await self._jobs.drain()

    async def _health(self, context: RequestContext) -> bytes:
        ok = b"ok"
        context.request.setHeader("content-type", "text/plain; charset=utf-8")
        context.request.setHeader("content-length", str(len(ok)))
        return ok

    async def _ready(self, context: RequestContext) -> bytes:
        status = await self._backend.status()
        if not (status.answers and status.is_logged_in):
            context.request.setResponseCode(503)
        return json_response(context.request, status_document(status))

    async def _openapi(self, context: RequestContext) -> bytes:
        return json_response(context.request, openapi_document())
