"""The whole API as one resource."""

from collections.abc import Callable, Collection, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from ccproxy.dialects.openapi import openapi_document
from ccproxy.dialects.status import status_document
from ccproxy.store.store import Store
from ccproxy.web.backend import Backend
from ccproxy.web.chat import ChatRoutes
from ccproxy.web.conversations import ConversationRoutes
from ccproxy.web.dashboard import DashboardRoutes
from ccproxy.web.exchange import Exchange
from ccproxy.web.figures import Exposition, FigureRoutes
from ccproxy.web.gate import Gate
from ccproxy.web.live import Live
from ccproxy.web.messages import MessagesRoutes
from ccproxy.web.models import ModelRoutes
from ccproxy.web.observer import Observer
from ccproxy.web.origins import Origins
from ccproxy.web.policy import Policy
from ccproxy.web.response import json_response
from ccproxy.web.response_jobs import Jobs
from ccproxy.web.response_turns import Turns
from ccproxy.web.responses import ResponsesRoutes
from ccproxy.web.router import Route, Router


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
        gate: Gate,
        origins: Origins,
        policy: Policy,
        observer: Observer,
        exposition: Exposition,
        live: Live,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._router = router = Router(gate, origins, clock, observer)
        router.add("GET", "/health", self._health, needs_key=False)
        router.add("GET", "/ready", self._ready)
        router.add("GET", "/openapi.json", self._openapi)
        ModelRoutes(router=router, backend=backend, wall_seconds=wall_seconds)
        ChatRoutes(
            router=router,
            backend=backend,
            policy=policy,
            clock=clock,
            wall_seconds=wall_seconds,
        )
        MessagesRoutes(router=router, backend=backend, clock=clock)
        turns = Turns(backend, store, wall_seconds)
        self._jobs = Jobs(turns, store, clock)
        self._responses = ResponsesRoutes(
            router=router,
            turns=turns,
            jobs=self._jobs,
            origins=origins,
            store=store,
            policy=policy,
            clock=clock,
        )
        ConversationRoutes(router=router, store=store, wall_seconds=wall_seconds)
        FigureRoutes(
            router=router,
            exposition=exposition,
            store=store,
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

    async def _health(self, exchange: Exchange) -> bytes:
        ok = b"ok"
        exchange.request.setHeader("content-type", "text/plain; charset=utf-8")
        exchange.request.setHeader("content-length", str(len(ok)))
        return ok

    async def _ready(self, exchange: Exchange) -> bytes:
        status = await self._backend.status()
        if not (status.answers and status.is_logged_in):
            exchange.request.setResponseCode(503)
        return json_response(exchange.request, status_document(status))

    async def _openapi(self, exchange: Exchange) -> bytes:
        return json_response(exchange.request, openapi_document())
