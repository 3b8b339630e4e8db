"""Routes: methods of a class, under a decorator on the class's Klein application.

::

    class ChatRoutes(Routes):
        _app = Klein()
        add_error_handlers(_app)

        @route(_app, "/chat/completions", methods=["POST"], operation=Operation(...))
        async def create(self, context: RequestContext) -> bytes | None: ...

`route` takes the arguments of Klein's own decorator, and an `Operation`. For each
request it checks the key, notifies the observer, and writes the log line. If the method
raises an exception, Klein calls the handler that `add_error_handlers` has registered
for the class of the exception.

`mount` combines the applications of several classes in one resource.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from typing_extensions import override
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as HTTPMethodNotAllowed
from werkzeug.exceptions import NotFound as HTTPNotFound

from ccproxy.core.errors import (
    CCProxyError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from ccproxy.web.access import CORSPolicy
from ccproxy.web.context import (
    CLIENT_GONE,
    IRequestContext,
    RequestContext,
    RequestServices,
)
from ccproxy.web.operation import Operation, Route
from ccproxy.web.paths import route_path
from ccproxy.web.replies import base_url, error_response, request_id

_NO_CONTENT = 204
_ROUTE = "__ccproxy_route__"

_log = Logger()

_Self = TypeVar("_Self", bound="Routes")
_Parts = ParamSpec("_Parts")
_Handler = Callable[["Routes", Request, Failure], bytes | None]
_Method = Callable[Concatenate[_Self, RequestContext, _Parts], Awaitable[bytes | None]]


class Routes:
    """Base class for classes whose methods are routes.

    Args:
        services: the services for the `RequestContext` of each request.
    """

    _app: ClassVar[Klein]

    def __init__(self, services: RequestServices) -> None:
        self.services = services

    @classmethod
    def routes(cls) -> Sequence[Route]:
        """The routes of the class, in the order of their methods."""
        found = (getattr(method, _ROUTE, None) for method in vars(cls).values())
        return [each for each in found if each is not None]

    def resource(self) -> Resource:
        """The routes, bound to this instance."""
        return self._app.resource()


def route(
    app: Klein, path: str, *, methods: Sequence[str], operation: Operation
) -> Callable[[_Method[_Self, _Parts]], _Method[_Self, _Parts]]:
    """Decorate a method of a subclass of `Routes` as a route.

    The method gets the `RequestContext`, and the values of the path's placeholders as
    keyword arguments. It returns the body, or None if it has written the response.

    Args:
        app: the Klein application of the class.
        path: without ``/v1``, with werkzeug's placeholders.
        methods: exactly one HTTP method; GET includes HEAD.
        operation: describes the route.
    """
    (method,) = methods
    described = Route(method, path, operation)
    name, is_quiet = described.name, operation.is_quiet

    def decorate(respond: Any) -> Any:
        @wraps(respond)
        async def routed(self: Routes, request: Request, **parts: str) -> bytes | None:
            context = RequestContext(request, self.services, name, is_quiet=is_quiet)
            context.begin()
            try:
                if operation.needs_key:
                    context.check_key()
                body: bytes | None = await respond(self, context, **parts)
            except Exception as error:
                if not context.is_client_gone:
                    request.setComponent(IRequestContext, context)
                    raise
                # Klein calls no error handler for a client that has disconnected.
                if isinstance(error, CancelledError):
                    context.log(CLIENT_GONE)
                    raise
                return _fail(context, _to_error(request, Failure()))
            context.log(request.code)
            return body

        setattr(routed, _ROUTE, described)
        # Any: Klein's types do not describe this call.
        add: Any = app.route(path, methods=[method])
        return add(routed)

    return decorate


def add_error_handlers(app: Klein) -> None:
    """Make a Klein application answer every exception with an error document.

    Klein calls the first handler whose class matches the exception.
    """
    untyped: Any = app.handle_errors
    handle: Callable[[type[Exception]], Callable[[_Handler], _Handler]] = untyped

    @handle(CCProxyError)
    def refused(self: Routes, request: Request, failure: Failure) -> bytes | None:
        error: Any = failure.value
        return _fail(_context(self, request), error)

    @handle(HTTPNotFound)
    def no_route(self: Routes, request: Request, failure: Failure) -> bytes | None:
        base = base_url(request)
        error = NotFound(
            "there is no such route here. The base URL is "
            f"{base}/v1 for clients of OpenAI's API, and {base} for clients of "
            "Anthropic's; GET /openapi.json has all routes"
        )
        return _fail(_context(self, request), error)

    @handle(HTTPMethodNotAllowed)
    def other_method(self: Routes, request: Request, failure: Failure) -> bytes | None:
        error: Any = failure.value
        methods = ", ".join(sorted(error.valid_methods or ()))
        request.setHeader("allow", methods)
        if request.method == b"OPTIONS":
            _set_preflight_headers(request, self.services.cors, methods)
            request.setResponseCode(_NO_CONTENT)
            return b""
        method = request.method.decode("ascii", "replace")
        refusal = MethodNotAllowed(f"this route has no method {method}")
        return _fail(_context(self, request), refusal)

    @handle(Exception)
    def failed(self: Routes, request: Request, failure: Failure) -> bytes | None:
        return _fail(_context(self, request), _to_error(request, failure))


def _context(routes: Routes, request: Request) -> RequestContext:
    """The context of a request; a new context if the request reached no route."""
    context: RequestContext | None = request.getComponent(IRequestContext)
    if context is None:
        return RequestContext(request, routes.services)
    # The request and its context would form a reference cycle.
    request.unsetComponent(IRequestContext)
    return context


def _to_error(request: Request, failure: Failure) -> CCProxyError:
    """The error that is sent for an exception; unknown exceptions are logged."""
    error = failure.value
    if isinstance(error, CCProxyError):
        return error
    if isinstance(error, HTTPException) and (error.code or 500) < InternalError.status:
        return InvalidRequest("the request cannot be understood")
    _log.failure("{id} failed", failure, id=request_id(request))
    return InternalError(
        f"the proxy has a bug; its log has the details under {request_id(request)}, "
        "please report it"
    )


def _fail(context: RequestContext, error: CCProxyError) -> bytes | None:
    """End a request with an error; returns the error document, if it can be sent."""
    context.error = error
    document: bytes | None = None
    if context.is_client_gone:
        pass
    elif context.request.startedWriting:
        # The status was sent. A document would be read as part of the answer.
        connection: Any = context.request.transport
        connection.abortConnection()
    else:
        document = error_response(context.request, error)
    context.log(context.request.code)
    return document


def _set_preflight_headers(request: Request, cors: CORSPolicy, methods: str) -> None:
    """Set the headers of the response to a preflight request."""
    private = b"access-control-request-private-network"
    headers = cors.preflight(
        _values(request, b"origin"),
        methods=methods,
        wanted=_values(request, b"access-control-request-headers"),
        is_private=bool(_values(request, private)),
    )
    for name, value in headers.items():
        request.setHeader(name, value)


def open_paths(routes: Iterable[Route]) -> frozenset[bytes]:
    """The paths of the routes that need no key."""
    return frozenset(
        each.path.encode() for each in routes if not each.operation.needs_key
    )


class _NoRoutes(Routes):
    """Answers with 404 if no route has the first path segment of the request."""

    _app = Klein()
    add_error_handlers(_app)


def mount(groups: Iterable[Routes], services: RequestServices) -> IResource:
    """Combine groups of routes in one resource.

    `ccproxy.web.paths.route_path` finds the route's path in a request's path.

    Args:
        groups: two groups may not have paths with the same first segment.
        services: the services for requests that reach no route.
    """
    resources: dict[bytes, Resource] = {}
    for group in groups:
        resource = group.resource()
        for first in {each.path.split("/")[1] for each in group.routes()}:
            if resources.setdefault(first.encode(), resource) is not resource:
                raise ValueError(f"two groups of routes have paths with /{first}")
    return _Root(resources, _NoRoutes(services).resource(), services.cors)


class _Root(Resource):
    """Finds the resource by the first segment of the route's path."""

    isLeaf = True

    def __init__(
        self, resources: Mapping[bytes, Resource], fallback: Resource, cors: CORSPolicy
    ) -> None:
        super().__init__()
        self._resources = resources
        self._fallback = fallback
        self._cors = cors

    @override
    def render(self, request: Any) -> object:
        request_id(request)
        for name, value in self._cors.headers(_values(request, b"origin")).items():
            request.setHeader(name, value)
        path = b"/".join(request.postpath)
        try:
            b"/".join([*request.prepath, path]).decode()
            request.getRequestHostname().decode()
        except UnicodeDecodeError:
            error = InvalidRequest("the path, or the Host header, is not UTF-8")
            return error_response(request, error)
        request.postpath = route_path(path).split(b"/")[1:]
        first = request.postpath[0]
        return self._resources.get(first, self._fallback).render(request)


def _values(request: Request, name: bytes) -> list[bytes]:
    return list(request.requestHeaders.getRawHeaders(name, []))
