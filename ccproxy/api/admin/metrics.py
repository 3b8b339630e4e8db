"""``GET /metrics`` and ``GET /usage``: what has been used, and how it went."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.server import Request

from ccproxy.api.admin.usage import usage_document
from ccproxy.api.options import APIOptions
from ccproxy.store.usage import UsageLedger
from ccproxy.web import query
from ccproxy.web.context import RequestContext
from ccproxy.web.replies import json_response
from ccproxy.web.routing import Router

_DAYS, _MOST_DAYS = 7, 10_000


class Exposition(Protocol):
    """Whoever has the metrics."""

    @property
    def content_type(self) -> str:
        """Of what `render` gives."""

    def render(self) -> bytes:
        """All of them."""


class MetricsRoutes:
    """Both routes.

    Args:
        wall_seconds: Unix time.
    """

    def __init__(
        self,
        *,
        router: Router,
        exposition: Exposition,
        ledger: UsageLedger,
        policy: APIOptions,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._router = router
        self._exposition = exposition
        self._ledger = ledger
        self._policy = policy
        self._wall_seconds = wall_seconds
        router.add("GET", "/metrics", self._metrics, needs_key=False)
        router.add("GET", "/usage", self._usage)

    async def _metrics(self, context: RequestContext) -> bytes:
        request = context.request
        if not (self._policy.open_metrics and is_local(request)):
            self._router.check_key(context)
        document = self._exposition.render()
        json_response(request, document)
        request.setHeader("content-type", self._exposition.content_type)
        return document

    async def _usage(self, context: RequestContext) -> bytes:
        query.only(context.request, "days")
        days = query.number(context.request, "days", 1, _MOST_DAYS) or _DAYS
        today = datetime.fromtimestamp(self._wall_seconds(), UTC).date()
        since = (today - timedelta(days=days - 1)).isoformat()
        report = await self._ledger.report(since)
        return json_response(context.request, usage_document(report, since))


def is_local(request: Request) -> bool:
    """Whether a request came in at an address that only this machine can reach."""
    match request.getHost():
        case IPv4Address(host=host) | IPv6Address(host=host):
            return ip_address(host).is_loopback
        case UNIXAddress():
            return True
    return False
