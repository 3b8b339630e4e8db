"""The routes, with and without ``/v1``, as one resource.

Every request goes the same way: an id, the gate, the body, a dialect, the
backend; and every failure becomes an OpenAI error document, here and only here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import evolve, frozen
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

from ccproxy.conversation import Prompt
from ccproxy.dialects.chat_answer import ChatDocument, ChatStream, Heading
from ccproxy.dialects.chat_request import decode_chat
from ccproxy.dialects.models import model_document, models_document
from ccproxy.dialects.responses_answer import ResponseDocument, ResponseStream
from ccproxy.dialects.responses_request import decode_responses
from ccproxy.errors import (
    Bug,
    CCProxyError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from ccproxy.web.backend import Backend, Collector, collect
from ccproxy.web.event_stream import EventStream, StreamEncoder
from ccproxy.web.exchange import CLIENT_GONE, Exchange
from ccproxy.web.gate import Gate
from ccproxy.web.response import error_response, json_response, request_id

_PREFIXES = ("", "/v1")
_NO_CONTENT = 204


@frozen(kw_only=True)
class Policy:
    """What the operator decided about requests."""

    forward_sampling: bool = False


class API:
    """The OpenAI-compatible API as a Klein application.

    Args:
        wall_seconds: Unix time, for ``created``.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        backend: Backend,
        gate: Gate,
        policy: Policy,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._wall_seconds = wall_seconds
        self._app = Klein()
        handle: Any = self._app.handle_errors(Exception)
        handle(self._unrouted)
        self._route("GET", "/health", self._health, needs_key=False)
        self._route("GET", "/models", self._models)
        self._route("GET", "/models/<path:name>", self._model)
        self._route("POST", "/chat/completions", self._chat)
        self._route("POST", "/responses", self._responses)

    def resource(self) -> IResource:
        """The whole API, to be mounted anywhere."""
        return _Root(self._app.resource())

    def _route(
        self,
        method: str,
        path: str,
        answer: Callable[..., Awaitable[bytes | None]],
        *,
        needs_key: bool = True,
    ) -> None:
        async def routed(request: Request, **parts: str) -> bytes | None:
            exchange = Exchange(request, f"{method} {path}", self._clock)
            try:
                if needs_key:
                    self._gate.check_key(_authorization(request))
                body = await answer(exchange, **parts)
            except CancelledError:
                exchange.log(CLIENT_GONE)
                raise
            except Exception:  # noqa: BLE001  # a root: whatever it is, it is told
                exchange.error = self._told(request, Failure())
                body = self._error(request, exchange.error)
            exchange.log(request.code)
            return body

        for prefix in _PREFIXES:
            # Klein takes each endpoint's name once.
            self._app.route(
                prefix + path, methods=[method], endpoint=f"{method} {prefix}{path}"
            )(routed)

    async def _health(self, exchange: Exchange) -> bytes:
        ok = b"ok"
        exchange.request.setHeader("content-type", "text/plain; charset=utf-8")
        exchange.request.setHeader("content-length", str(len(ok)))
        return ok

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

    async def _chat(self, exchange: Exchange) -> bytes | None:
        call = decode_chat(
            self._body(exchange.request),
            forward_sampling=self._policy.forward_sampling,
        )
        heading = Heading(
            id=f"chatcmpl-{exchange.hex}", created=int(self._wall_seconds())
        )
        prompt = await self._prepare(exchange, call.prompt, call.ignored)
        if call.stream:
            encoder = ChatStream(heading, call.choices, call.include_usage)
            await self._stream(exchange, prompt, call.choices, encoder)
            return None
        document = ChatDocument(heading, call.choices)
        return await self._collect(exchange, prompt, call.choices, document)

    async def _responses(self, exchange: Exchange) -> bytes | None:
        call = decode_responses(
            self._body(exchange.request),
            forward_sampling=self._policy.forward_sampling,
        )
        prompt = await self._prepare(exchange, call.prompt, call.ignored)
        encoder = ResponseStream(exchange.hex, call.echo, self._wall_seconds)
        if call.stream:
            await self._stream(exchange, prompt, 1, encoder)
            return None
        return await self._collect(exchange, prompt, 1, ResponseDocument(encoder))

    async def _prepare(
        self, exchange: Exchange, prompt: Prompt, ignored: Sequence[str]
    ) -> Prompt:
        """Find the model that was meant, and tell what will have no effect."""
        model = await self._backend.resolve(prompt.model)
        if ignored:
            exchange.request.setHeader("x-ccproxy-ignored", ", ".join(ignored))
        return evolve(prompt, model=model)

    async def _stream(
        self, exchange: Exchange, prompt: Prompt, choices: int, encoder: StreamEncoder
    ) -> None:
        stream = EventStream(exchange.request, encoder, self._clock)
        try:
            await stream.run(self._backend, prompt, choices)
        finally:
            exchange.model, exchange.usage = encoder.model, encoder.usage
            exchange.error = encoder.error

    async def _collect(
        self, exchange: Exchange, prompt: Prompt, choices: int, collector: Collector
    ) -> bytes:
        try:
            await collect(self._backend, prompt, choices, collector)
        finally:
            exchange.model, exchange.usage = collector.model, collector.usage
        return json_response(exchange.request, collector.encode())

    def _body(self, request: Request) -> bytes:
        content: Any = request.content
        body: bytes = content.read()
        self._gate.check_size(len(body))
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
            request.setHeader("allow", ", ".join(sorted(error.valid_methods or ())))
            if request.method == b"OPTIONS":
                request.setResponseCode(_NO_CONTENT)
                return b""
        exchange = Exchange(request, "no route", self._clock)
        exchange.error = self._told(request, failure)
        body = self._error(request, exchange.error)
        exchange.log(request.code)
        return body

    def _told(self, request: Request, failure: Failure) -> CCProxyError:
        """What a client is told of a failure."""
        error = failure.value
        match error:
            case CCProxyError():
                return error
            case HTTPException(code=404):
                return NotFound(
                    "there is no such route here; see GET /models and README"
                )
            case HTTPException(code=405):
                method = request.method.decode("ascii", "replace")
                return MethodNotAllowed(f"this route has no method {method}")
            case HTTPException(code=int(code)) if code < Bug.status:
                return InvalidRequest("the request cannot be understood")
        self._log.failure("{id} failed", failure, id=request_id(request))
        return Bug(
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

    def __init__(self, klein: Resource) -> None:
        super().__init__()
        self._klein = klein

    @override
    def render(self, request: Any) -> object:
        request_id(request)
        try:
            b"/".join(request.prepath + request.postpath).decode()
            request.getRequestHostname().decode()
        except UnicodeDecodeError:
            error = InvalidRequest("the path, or the Host header, is not UTF-8")
            return error_response(request, error)
        return self._klein.render(request)


def _authorization(request: Request) -> list[bytes]:
    return list(request.requestHeaders.getRawHeaders(b"authorization", []))
