"""The way that every request goes: an id, the gate, its route, and its errors.

Whatever goes wrong becomes an error document, here and only here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from typing_extensions import override
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as HTTPMethodNotAllowed
from werkzeug.routing import RequestRedirect

from ccproxy.core.errors import (
    CCProxyError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from ccproxy.web.auth import Authenticator
from ccproxy.web.context import CLIENT_GONE, NO_ROUTE, RequestContext
from ccproxy.web.cors import CORSPolicy
from ccproxy.web.observer import RequestObserver
from ccproxy.web.replies import error_response, request_id

_PREFIXES = ("", "/v1")
_NO_CONTENT = 204


@frozen
class Route:
    """A route as it was added; ``path`` with werkzeug's place-holders."""

    method: str
    path: str
    needs_key: bool


class Router:
    """Routes, with and without ``/v1``, as one resource.

    Attributes:
        open_paths: those that need no key.
    """

    _log = Logger()

    def __init__(
        self,
        authenticator: Authenticator,
        cors: CORSPolicy,
        clock: IReactorTime,
        observer: RequestObserver,
    ) -> None:
        self._authenticator = authenticator
        self._cors = cors
        self._clock = clock
        self.open_paths: set[bytes] = set()
        self._observer = observer
        self._app = Klein()
        self._routes: list[Route] = []
        handle: Any = self._app.handle_errors(Exception)
        handle(self._unrouted)

    @property
    def routes(self) -> Sequence[Route]:
        """All of them, without ``/v1``."""
        return tuple(self._routes)

    def resource(self) -> IResource:
        """All of them, to be mounted anywhere."""
        return _Root(self._app.resource(), self._cors)

    def add(
        self,
        method: str,
        path: str,
        answer: Callable[..., Awaitable[bytes | None]],
        *,
        needs_key: bool = True,
    ) -> None:
        """Add a route.

        Args:
            method: of HTTP.
            path: with werkzeug's place-holders, which are given to ``answer``.
            answer: takes the `RequestContext`; returns the body, or None once it has
                written everything itself.
            needs_key: whether the gate is asked.
        """

        async def routed(request: Request, **parts: str) -> bytes | None:
            context = self._context(request, f"{method} {path}")
            context.begin()
            try:
                if needs_key:
                    self.check_key(context)
                body = await answer(context, **parts)
            except CancelledError:
                context.log(CLIENT_GONE)
                raise
            except Exception:  # noqa: BLE001  # a root: whatever it is, it is told
                context.error = self._told(request, Failure())
                body = self._error(request, context.error)
            context.log(request.code)
            return body

        self._routes.append(Route(method, path, needs_key))
        for prefix in _PREFIXES:
            if not needs_key:
                self.open_paths.add((prefix + path).encode())
            # Klein takes each endpoint's name once.
            self._app.route(
                prefix + path, methods=[method], endpoint=f"{method} {prefix}{path}"
            )(routed)

    def check_key(self, context: RequestContext) -> None:
        """Ask the gate; for routes that need a key only sometimes.

        Raises:
            InvalidKey: no, or the wrong one.
        """
        context.key = self._authenticator.check_headers(context.request.requestHeaders)

    def _context(self, request: Request, route: str) -> RequestContext:
        return RequestContext(request, route, self._clock, self._observer)

    def body(self, context: RequestContext) -> bytes:
        """The body of a request.

        Raises:
            UnsupportedEncoding: it is compressed.
            RequestTooLarge: it is.
        """
        self._authenticator.check_encoding(
            _values(context.request, b"content-encoding")
        )
        content: Any = context.request.content
        body: bytes = content.read()
        self._authenticator.check_size(len(body))
        return body

    def _unrouted(self, request: Request, failure: Failure) -> bytes | None:
        """Answer what reached no route; Klein calls it for routing's exceptions."""
        error = failure.value
        if isinstance(error, RequestRedirect):
            # werkzeug's answer to needless slashes in a path.
            request.setHeader("location", error.new_url)
            request.setResponseCode(error.code)
            return b""
        if isinstance(error, HTTPMethodNotAllowed):
            methods = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader("allow", methods)
            if request.method == b"OPTIONS":
                self._tell_preflight(request, methods)
                request.setResponseCode(_NO_CONTENT)
                return b""
        context = self._context(request, NO_ROUTE)
        context.error = self._told(request, failure)
        body = self._error(request, context.error)
        context.log(request.code)
        return body

    def _tell_preflight(self, request: Request, methods: str) -> None:
        """What a browser wants to know before it lets a page ask."""
        private = b"access-control-request-private-network"
        told = self._cors.preflight(
            _values(request, b"origin"),
            methods=methods,
            wanted=_values(request, b"access-control-request-headers"),
            is_private=bool(_values(request, private)),
        )
        for name, value in told.items():
            request.setHeader(name, value)

    def _told(self, request: Request, failure: Failure) -> CCProxyError:
        """What a client is told of a failure."""
        error = failure.value
        match error:
            case CCProxyError():
                return error
            case HTTPException(code=404):
                return NotFound("there is no such route here; see GET /openapi.json")
            case HTTPException(code=405):
                method = request.method.decode("ascii", "replace")
                return MethodNotAllowed(f"this route has no method {method}")
            case HTTPException(code=int(code)) if code < InternalError.status:
                return InvalidRequest("the request cannot be understood")
        self._log.failure("{id} failed", failure, id=request_id(request))
        return InternalError(
            f"the proxy has a fault; its log has it under {request_id(request)}, "
            "please report it"
        )

    def _error(self, request: Request, error: CCProxyError) -> bytes | None:
        if request.startedWriting:
            # A status is out and a document would be taken for the answer.
            connection: Any = request.transport
            connection.abortConnection()
            return None
        return error_response(request, error)


class _Root(Resource):
    """Klein's resource, behind what must hold for every request."""

    isLeaf = True

    def __init__(self, klein: Resource, cors: CORSPolicy) -> None:
        super().__init__()
        self._klein = klein
        self._cors = cors

    @override
    def render(self, request: Any) -> object:
        request_id(request)
        allowed = self._cors.headers(_values(request, b"origin"))
        for name, value in allowed.items():
            request.setHeader(name, value)
        try:
            b"/".join(request.prepath + request.postpath).decode()
            request.getRequestHostname().decode()
        except UnicodeDecodeError:
            error = InvalidRequest("the path, or the Host header, is not UTF-8")
            return error_response(request, error)
        return self._klein.render(request)


def _values(request: Request, name: bytes) -> list[bytes]:
    return list(request.requestHeaders.getRawHeaders(name, []))
