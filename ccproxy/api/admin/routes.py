"""The operator's routes: health, readiness, metrics, usage, the OpenAPI document."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Protocol

from klein import Klein
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.server import Request

from ccproxy.api.admin.documents import (
    StatusDocument,
    UsageDocument,
    status_document,
    usage_document,
)
from ccproxy.config.api_settings import APISettings
from ccproxy.core.errors import InvalidKey, InvalidRequest, StorageFailed
from ccproxy.store.database import Database
from ccproxy.store.usage import UsageLedger
from ccproxy.web import query
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.operation import (
    PLAIN,
    Operation,
    ResponseSpec,
    json_response_spec,
    parameter,
)
from ccproxy.web.replies import base_url, json_response, text_response
from ccproxy.web.routing import Routes, add_error_handlers, route

_DAYS, _MOST_DAYS = 7, 10_000
_FIELDS = ("day", "model", "key", "client", "conversation")
# The size of one line of the usage.
_LINE_BYTES = 200
_NOT_READY = 503


class Exposition(Protocol):
    """Renders the metrics for Prometheus."""

    @property
    def content_type(self) -> str:
        """The media type of the text that `render` returns."""

    def render(self) -> bytes:
        """All metrics as text."""


class AdminRoutes(Routes):
    """``/``, ``/health``, ``/ready``, ``/metrics``, ``/usage`` and ``/openapi.json``.

    Args:
        services: the services for the `RequestContext` of each request.
        exposition: renders the metrics.
        ledger: reports the usage.
        database: reports whether it has failed.
        settings: the settings of the routes.
        openapi: returns the OpenAPI document.
    """

    _app = Klein()
    add_error_handlers(_app)

    def __init__(
        self,
        services: RequestServices,
        *,
        exposition: Exposition,
        ledger: UsageLedger,
        database: Database,
        settings: APISettings,
        openapi: Callable[[], bytes],
    ) -> None:
        super().__init__(services)
        self._exposition = exposition
        self._ledger = ledger
        self._database = database
        self._settings = settings
        self._openapi = openapi

    @route(
        _app,
        "/",
        methods=["GET"],
        operation=Operation(
            id="index",
            tag="server",
            summary="the base URLs, for people; needs no key",
            responses=(ResponseSpec(200, "Text.", {PLAIN: {"type": "string"}}),),
            needs_key=False,
            is_quiet=True,
        ),
    )
    async def index(self, context: RequestContext) -> bytes:
        """Return the base URLs. Some clients thereby check that a server runs."""
        base = base_url(context.request)
        text = (
            f"ccproxy is running. The base URL is {base}/v1 for clients of OpenAI's "
            f"API, and {base} for clients of Anthropic's API.\n"
        )
        return text_response(context.request, text.encode())

    @route(
        _app,
        "/health",
        methods=["GET"],
        operation=Operation(
            id="health",
            tag="server",
            summary="`ok` if the server runs; needs no key",
            responses=(
                ResponseSpec(200, "The server runs.", {PLAIN: {"const": "ok"}}),
            ),
            needs_key=False,
            is_quiet=True,
        ),
    )
    async def health(self, context: RequestContext) -> bytes:
        """Return ``ok``."""
        return text_response(context.request, b"ok")

    @route(
        _app,
        "/ready",
        methods=["GET"],
        operation=Operation(
            id="ready",
            tag="server",
            summary="whether the CLI answers, its login, and whether the database "
            "works; 503 if the CLI does not answer or is not logged in",
            responses=(
                json_response_spec(StatusDocument, "Ready."),
                json_response_spec(StatusDocument, "Not ready.", _NOT_READY),
            ),
            is_quiet=True,
        ),
    )
    async def ready(self, context: RequestContext) -> bytes:
        """Report the state of the CLI and of the database."""
        status = await self.services.backend.status()
        if not (status.answers and status.is_logged_in):
            context.request.setResponseCode(_NOT_READY)
        failed = self._database.has_failed
        document = status_document(status, storage_failed=failed)
        return json_response(context.request, document)

    @route(
        _app,
        "/metrics",
        methods=["GET"],
        operation=Operation(
            id="metrics",
            tag="server",
            summary="metrics for Prometheus; with `--open-metrics`, no key is needed "
            "at a loopback address or a Unix socket",
            responses=(ResponseSpec(200, "The metrics.", {PLAIN: {"type": "string"}}),),
            errors=(InvalidKey,),
            needs_key=False,
            is_quiet=True,
        ),
    )
    async def metrics(self, context: RequestContext) -> bytes:
        """Report the metrics; with `--open-metrics` this machine needs no key."""
        if not (self._settings.open_metrics and is_local(context.request)):
            context.check_key()
        kind = self._exposition.content_type
        return text_response(context.request, self._exposition.render(), kind)

    @route(
        _app,
        "/usage",
        methods=["GET"],
        operation=Operation(
            id="usage",
            tag="server",
            summary="tokens and cost by day, model, key and client, or by conversation",
            parameters=(
                parameter(
                    "days",
                    "The number of days, today included; 7 by default.",
                    {"type": "integer", "minimum": 1, "maximum": _MOST_DAYS},
                ),
                parameter(
                    "by",
                    "What to sum up by; by day, model, key and client by default. "
                    "`conversation`: the conversations of these days, each with all "
                    "its usage.",
                    {"type": "string", "enum": list(_FIELDS)},
                ),
            ),
            responses=(json_response_spec(UsageDocument),),
            errors=(StorageFailed,),
            is_quiet=True,
        ),
    )
    async def usage(self, context: RequestContext) -> bytes:
        """Report the usage of the last days."""
        query.only(context.request, "days", "by")
        by = query.text(context.request, "by") or ""
        if by and by not in _FIELDS:
            raise InvalidRequest(
                f"`by` must be one of {', '.join(_FIELDS)}", param="by"
            )
        days = query.number(context.request, "days", 1, _MOST_DAYS) or _DAYS
        today = datetime.fromtimestamp(self.services.wall_seconds(), UTC).date()
        since = (today - timedelta(days=days - 1)).isoformat()
        report = await self._ledger.report(since, by)
        document = await self.services.large_work.run(
            _LINE_BYTES * len(report.lines), usage_document, report, since, by
        )
        return json_response(context.request, document)

    @route(
        _app,
        "/openapi.json",
        methods=["GET"],
        operation=Operation(
            id="openapi",
            tag="server",
            summary="this API as an OpenAPI 3.1 document",
            responses=(json_response_spec({"type": "object"}, "This document."),),
            is_quiet=True,
        ),
    )
    async def openapi(self, context: RequestContext) -> bytes:
        """Describe all routes."""
        return json_response(context.request, self._openapi())


def is_local(request: Request) -> bool:
    """Whether a request came to an address that only this machine can reach."""
    match request.getHost():
        case IPv4Address(host=host) | IPv6Address(host=host):
            return ip_address(host).is_loopback
        case UNIXAddress():
            return True
    return False
