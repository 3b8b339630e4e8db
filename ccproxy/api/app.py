"""Combines the routes of all APIs in one resource."""

from collections.abc import Callable, Collection, Mapping
from functools import cache

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent
from twisted.web.resource import IResource

from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.admin.dashboard import DashboardRoutes
from ccproxy.api.admin.routes import AdminRoutes, Exposition
from ccproxy.api.chat.routes import ChatRoutes
from ccproxy.api.conversations.routes import ConversationRoutes
from ccproxy.api.messages.routes import MessagesRoutes
from ccproxy.api.models.routes import ModelRoutes
from ccproxy.api.openapi.document import openapi_document
from ccproxy.api.passthrough.routes import NAMES, PassthroughRoutes
from ccproxy.api.passthrough.targets import targets_of
from ccproxy.api.responses.lifecycle.background import BackgroundResponses
from ccproxy.api.responses.lifecycle.turns import ResponseBuilder
from ccproxy.api.responses.routes import ResponsesRoutes
from ccproxy.config.api_settings import APISettings
from ccproxy.core.backend import Backend
from ccproxy.store.store import Store
from ccproxy.web.access import Authenticator, CORSPolicy
from ccproxy.web.context import RequestServices
from ccproxy.web.memory import MemoryBudget
from ccproxy.web.observer import RequestObserver
from ccproxy.web.operation import Route
from ccproxy.web.routing import Routes, mount, open_paths

_GROUPS: tuple[type[Routes], ...] = (
    *(AdminRoutes, DashboardRoutes, ModelRoutes, ChatRoutes),
    *(MessagesRoutes, ResponsesRoutes, ConversationRoutes, PassthroughRoutes),
)
ROUTES: tuple[Route, ...] = tuple(
    route for group in _GROUPS for route in group.routes()
)


@cache
def describe() -> bytes:
    """The OpenAPI document of all routes. It does not depend on the settings."""
    return openapi_document(ROUTES)


class API:
    """The routes of all APIs.

    Args:
        backend: answers requests to the model.
        store: stores responses, conversations and usage.
        authenticator: checks keys and bodies.
        cors: the sites whose pages may use the routes.
        settings: the settings of the routes.
        observer: notified of every request.
        memory: counts the bytes that requests and WebSockets hold.
        exposition: renders the metrics for ``GET /metrics``.
        tracker: lists the requests for the dashboard.
        agent: makes the requests of ``--passthrough``.
        silence_seconds: how long a server of ``--passthrough`` may send nothing.
        environment: contains the keys for ``--passthrough``.
        clock: the reactor.
        wall_seconds: returns the Unix time.

    Raises:
        SettingsError: ``--passthrough`` names an unknown route or a missing key.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        store: Store,
        authenticator: Authenticator,
        cors: CORSPolicy,
        settings: APISettings,
        observer: RequestObserver,
        memory: MemoryBudget,
        exposition: Exposition,
        tracker: ActivityTracker,
        agent: IAgent,
        silence_seconds: float,
        environment: Mapping[str, str],
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._services = services = RequestServices(
            authenticator=authenticator,
            cors=cors,
            clock=clock,
            wall_seconds=wall_seconds,
            observer=observer,
            backend=backend,
            memory=memory,
            is_strict=settings.strict,
            repairs_histories=settings.repair_histories,
        )
        turns = ResponseBuilder(
            backend,
            store,
            wall_seconds,
            services.large_work,
            most_bytes=settings.max_body,
            is_strict=settings.strict,
            repairs_histories=settings.repair_histories,
        )
        self._jobs = BackgroundResponses(turns, store.responses, clock)
        self._dashboard = DashboardRoutes(services, tracker=tracker)
        self._responses = ResponsesRoutes(
            services,
            turns=turns,
            jobs=self._jobs,
            stored=store.responses,
            settings=settings,
        )
        self._passthrough = PassthroughRoutes(
            services,
            targets=targets_of(settings.passthrough, environment, NAMES),
            agent=agent,
            silence_seconds=silence_seconds,
        )
        self._groups: tuple[Routes, ...] = (
            AdminRoutes(
                services,
                exposition=exposition,
                ledger=store.usage,
                database=store.database,
                settings=settings,
                openapi=describe,
            ),
            self._dashboard,
            ModelRoutes(services),
            ChatRoutes(services),
            MessagesRoutes(services),
            self._responses,
            ConversationRoutes(
                services,
                conversations=store.conversations,
                responses=store.responses,
                most_bytes=settings.max_body,
            ),
            self._passthrough,
        )

    def resource(self) -> IResource:
        """The routes as a resource, which can be mounted at any path."""
        return mount(self._groups, self._services)

    @property
    def open_paths(self) -> Collection[bytes]:
        """The paths that need no key."""
        return open_paths(ROUTES)

    async def drain_passthrough(self, seconds: float) -> None:
        """Wait for requests of ``--passthrough``; those that take longer fail."""
        await self._passthrough.drain(seconds)

    async def drain(self) -> None:
        """Close WebSockets and dashboard streams; wait for background responses.

        Fires when all background responses are stored. Call it after the backend has
        ended all answers.
        """
        self._responses.close_sockets()
        self._dashboard.close_streams()
        await self._jobs.drain()
