"""Routes under their decorator: each request is counted once, however it ends."""

from typing import Any

import pytest
from attrs import define, field
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from typing_extensions import override

from ccproxy.core.errors import StorageFailed
from ccproxy.web.access import Authenticator, CORSPolicy
from ccproxy.web.context import RequestContext, RequestServices
from ccproxy.web.head_checks import HeadChecks
from ccproxy.web.memory import MemoryBudget
from ccproxy.web.observer import ObservedRequest, RequestObserver, RequestOutcome
from ccproxy.web.operation import Operation
from ccproxy.web.routing import Routes, add_error_handlers, mount, route
from ccproxy.web.server import ProxySite
from tests.conftest import ExpectedErrors
from tests.support.backend import ScriptedBackend
from tests.support.raw import request

OPERATION = Operation(id="wait", tag="test", summary="wait", responses=())


class Waiting(Routes):
    """A route that waits for the test."""

    _app = Klein()
    add_error_handlers(_app)

    def __init__(self, services: RequestServices) -> None:
        super().__init__(services)
        self.answer: Deferred[bytes] = Deferred()
        self.instead: Exception | None = None

    @route(_app, "/wait/<name>", methods=["GET"], operation=OPERATION)
    async def wait(self, context: RequestContext, name: str) -> bytes:
        """Answer with what the test says."""
        try:
            return name.encode() + await self.answer
        except CancelledError:
            if self.instead is not None:
                raise self.instead from None
            raise


@define(eq=False)
class Counts(RequestObserver):
    """What the observer is told, in order."""

    began: list[ObservedRequest] = field(factory=list)
    left: list[ObservedRequest] = field(factory=list)
    ended: list[RequestOutcome] = field(factory=list)

    @override
    def request_began(self, request: ObservedRequest) -> None:
        self.began.append(request)

    @override
    def request_left(self, request: ObservedRequest) -> None:
        self.left.append(request)

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        self.ended.append(end)

    def only(self) -> RequestOutcome:
        """The one outcome of the one request."""
        assert self.began == self.left
        assert len(self.began) == 1
        (end,) = self.ended
        assert end.route == "GET /wait/<name>"
        return end


class House:
    """One request to the route, over a connection that the test ends."""

    def __init__(self) -> None:
        clock, authenticator = Clock(), Authenticator(None, 100)
        self.counts = Counts()
        services = RequestServices(
            authenticator=authenticator,
            cors=CORSPolicy(),
            clock=clock,
            wall_seconds=clock.seconds,
            observer=self.counts,
            backend=ScriptedBackend(),
            memory=MemoryBudget(2**20),
        )
        self.routes = Waiting(services)
        checks = HeadChecks(authenticator=authenticator)
        resource = mount([self.routes], services)
        site = ProxySite(resource, checks, clock, self.counts, services.memory)
        self.transport = StringTransport()
        self.channel: Any = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(request("GET", "/v1/wait/one"))

    @property
    def received(self) -> bytes:
        written: bytes = self.transport.value()
        return written

    def disconnect(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


def test_an_answer() -> None:
    house = House()
    house.routes.answer.callback(b" two")
    assert house.received.endswith(b"one two\r\n0\r\n\r\n")
    end = house.counts.only()
    assert (end.status, end.finish, end.is_error) == (200, "none", False)
    house.disconnect()


def test_an_error_is_a_document() -> None:
    house = House()
    house.routes.answer.errback(Failure(StorageFailed("no disk")))
    assert b"no disk" in house.received
    assert house.counts.only().finish == StorageFailed.code
    house.disconnect()


def test_a_fault(expected_errors: ExpectedErrors) -> None:
    expected_errors.allow("RuntimeError")
    house = House()
    house.routes.answer.errback(Failure(RuntimeError("secret")))
    assert house.received.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in house.received
    assert house.counts.only().finish == "internal_error"
    house.disconnect()


def test_a_client_that_disconnects() -> None:
    house = House()
    house.disconnect()
    end = house.counts.only()
    assert (end.status, end.finish, end.is_error) == (499, "client_gone", False)


def test_an_error_after_the_client_has_disconnected() -> None:
    house = House()
    house.routes.instead = StorageFailed("no disk")
    house.disconnect()
    assert house.counts.only().finish == StorageFailed.code
    assert house.received == b""


def test_a_cancellation_that_is_no_disconnection(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("CancelledError")
    house = House()
    house.routes.answer.cancel()
    assert house.received.startswith(b"HTTP/1.1 500 ")
    assert house.counts.only().finish == "internal_error"
    house.disconnect()


def test_two_groups_cannot_share_a_first_segment() -> None:
    services = House().routes.services
    with pytest.raises(ValueError, match="/wait"):
        mount([Waiting(services), Waiting(services)], services)
