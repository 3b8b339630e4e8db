"""Routes of OpenAI's API for which Claude has no model: they forward requests."""

from collections.abc import Mapping
from urllib.parse import unquote

from klein import Klein
from twisted.web.iweb import IAgent

from ccproxy.api.passthrough.relay import Relay
from ccproxy.api.passthrough.targets import Target, has_parent
from ccproxy.core.errors import InvalidRequest, NotFound, PassthroughFailed
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.operation import Operation, ResponseSpec
from ccproxy.web.paths import route_path
from ccproxy.web.routing import Routes, add_error_handlers, route

_RESPONSES = (ResponseSpec(200, "The other server's response.", {"*/*": {}}),)


def _operation(operation_id: str, what: str) -> Operation:
    return Operation(
        id=operation_id,
        tag="passthrough",
        summary=f"{what}, from another server that `--passthrough` names",
        responses=_RESPONSES,
        errors=(NotFound, PassthroughFailed),
    )


class PassthroughRoutes(Routes):
    """``/embeddings``, ``/moderations``, ``/rerank``, ``/audio/`` and ``/images/``.

    Args:
        services: the services for the `RequestContext` of each request.
        targets: the other servers, by the first segments of the routes' paths.
        agent: sends the requests.
        silence_seconds: how long another server may send nothing.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        targets: Mapping[str, Target],
        agent: IAgent,
        *,
        silence_seconds: float,
    ) -> None:
        super().__init__(services)
        self._targets = targets
        self._relay = Relay(agent, services.clock, silence_seconds)

    async def drain(self, seconds: float) -> None:
        """Wait for the requests under way; those that take longer fail."""
        await self._relay.drain(seconds)

    @route(
        _app,
        "/embeddings",
        methods=["POST"],
        operation=_operation("createEmbedding", "embeddings"),
    )
    async def embed(self, context: RequestContext) -> None:
        """Forward a request for embeddings."""
        await self._send_on(context)

    @route(
        _app,
        "/moderations",
        methods=["POST"],
        operation=_operation("createModeration", "moderations"),
    )
    async def moderate(self, context: RequestContext) -> None:
        """Forward a request for moderation."""
        await self._send_on(context)

    @route(
        _app,
        "/rerank",
        methods=["POST"],
        operation=_operation("rerank", "documents in order of relevance"),
    )
    async def rerank(self, context: RequestContext) -> None:
        """Forward a request to rank documents."""
        await self._send_on(context)

    @route(
        _app,
        "/audio/<path:rest>",
        methods=["POST"],
        operation=_operation("createAudio", "speech and transcriptions"),
    )
    async def audio(self, context: RequestContext, rest: str) -> None:
        """Forward a request for speech, or for a transcription."""
        await self._send_on(context)

    @route(
        _app,
        "/images/<path:rest>",
        methods=["POST"],
        operation=_operation("createImage", "images"),
    )
    async def images(self, context: RequestContext, rest: str) -> None:
        """Forward a request for images."""
        await self._send_on(context)

    async def _send_on(self, context: RequestContext) -> None:
        # The path as the client encoded it: Klein decodes the values of placeholders.
        path = route_path(context.request.uri.partition(b"?")[0])
        first, slash, rest = path.removeprefix(b"/").partition(b"/")
        # Klein has matched the decoded path.
        name = unquote(first)
        target = self._targets.get(name)
        if target is None:
            raise NotFound(
                f"Claude has no {name}. The operator can send such requests to another "
                f"server: start the proxy with --passthrough /{name}=URL"
            )
        if has_parent(rest):
            raise InvalidRequest("a path that is forwarded must not contain `..`")
        await self._relay.send(context.request, target, slash + rest, context.body())


NAMES = frozenset(each.path.split("/")[1] for each in PassthroughRoutes.routes())
