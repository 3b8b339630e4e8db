"""The whole API as one resource."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from ccproxy.dialects.models import model_document, models_document
from ccproxy.dialects.status import status_document
from ccproxy.store.store import Store
from ccproxy.web.backend import Backend
from ccproxy.web.chat import ChatRoutes
from ccproxy.web.conversations import ConversationRoutes
from ccproxy.web.exchange import Exchange
from ccproxy.web.figures import Exposition, FigureRoutes
from ccproxy.web.gate import Gate
from ccproxy.web.observer import Observer
from ccproxy.web.policy import Policy
from ccproxy.web.response import json_response
from ccproxy.web.response_jobs import Jobs
from ccproxy.web.response_turns import Turns
from ccproxy.web.responses import ResponsesRoutes
from ccproxy.web.router import Router


class API:
    """The OpenAI-compatible API as a Klein application.

    Args:
        observer: told of every request.
        exposition: what ``GET /metrics`` shows.
        wall_seconds: Unix time, for ``created``.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        store: Store,
        gate: Gate,
        policy: Policy,
        observer: Observer,
        exposition: Exposition,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._wall_seconds = wall_seconds
        self._router = router = Router(gate, clock, observer)
        router.add("GET", "/health", self._health, needs_key=False)
        router.add("GET", "/ready", self._ready)
        router.add("GET", "/models", self._models)
        router.add("GET", "/models/<path:name>", self._model)
        ChatRoutes(
            router=router,
            backend=backend,
            policy=policy,
            clock=clock,
            wall_seconds=wall_seconds,
        )
        turns = Turns(backend, store, wall_seconds)
        self._jobs = Jobs(turns, store, clock)
        self._responses = ResponsesRoutes(
            router=router,
            turns=turns,
            jobs=self._jobs,
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

    def resource(self) -> IResource:
        """The whole API, to be mounted anywhere."""
        return self._router.resource()

    async def drain(self) -> None:
        """End what goes on without a request, and wait until it has been kept.

        The backend has to have ended its answers before.
        """
        self._responses.close_sockets()
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

    async def _models(self, exchange: Exchange) -> bytes:
        entries = await self._backend.models()
        pairs = [(entry.name, entry.since_seconds) for entry in entries]
        return json_response(exchange.request, models_document(pairs))

    async def _model(self, exchange: Exchange, name: str) -> bytes:
        entries = {e.name: e.since_seconds for e in await self._backend.models()}
        if name not in entries:
            # What would be answered exists, under the name that it resolves to.
            name = await self._backend.resolve(name)
        since_seconds = entries.get(name, int(self._wall_seconds()))
        return json_response(exchange.request, model_document(name, since_seconds))
