"""Routes of ``--passthrough``, in front of another server."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.test.requesthelper import DummyRequest
from typing_extensions import override

from ccproxy.api.passthrough.relay import Relay, new_agent
from ccproxy.api.passthrough.targets import Target
from ccproxy.config.parsers import passthrough
from ccproxy.core.errors import ShuttingDown
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.backend import SILENCE_SECONDS
from tests.support.raw import request
from tests.support.spec import error_errors
from tests.support.waiting import until

_REACTOR: Any = reactor
BODY = b'{"input": "\xc3\xa9",  "model": "nomic-embed-text"}'


@define(eq=False)
class Asked:
    """A request as the other server got it."""

    request: Request
    method: bytes
    uri: bytes
    headers: Headers
    body: bytes
    is_gone: bool = False


@define(eq=False)
class OtherServer(Resource):
    """Keeps all requests; the test answers."""

    isLeaf = True
    asks: list[Asked] = field(factory=list)
    port: Any = None

    def __attrs_post_init__(self) -> None:
        super().__init__()

    @override
    def render(self, request: Request) -> int:
        content: Any = request.content
        asked = Asked(
            request,
            request.method,
            request.uri,
            request.requestHeaders.copy(),
            content.read(),
        )
        self.asks.append(asked)

        def gone(_: object) -> None:
            asked.is_gone = True

        request.notifyFinish().addErrback(gone)
        return NOT_DONE_YET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    async def asked(self) -> Asked:
        await until(lambda: bool(self.asks))
        return self.asks.pop()


@pytest.fixture
def other() -> Iterator[OtherServer]:
    server = OtherServer()
    site = Site(server)
    site.timeOut = None
    server.port = _REACTOR.listenTCP(0, site, interface="127.0.0.1")
    yield server
    pytest_twisted.blockon(maybeDeferred(server.port.stopListening))


@pytest.fixture
def http(serve: Callable[..., HTTP], other: OtherServer) -> HTTP:
    options = (
        f"/v1/embeddings={other.url}/v1",
        f"audio={other.url}/deep/audio/#TARGETS_KEY",
        "/moderations=http://127.0.0.1:1/v1",
    )
    return serve(passthrough=tuple(map(passthrough, options)))


@ensureDeferred
async def test_request_is_sent_on_and_the_response_comes_back(
    http: HTTP, other: OtherServer
) -> None:
    path = "/v1/embeddings?encoding=%20a"
    headers = {"content-type": "application/json", "cookie": "a=b", "x-other": "c"}
    sent = http.request("POST", path, data=BODY, headers=headers)
    asked = await other.asked()
    assert (asked.method, asked.uri) == (b"POST", b"/v1/embeddings?encoding=%20a")
    assert asked.body == BODY
    assert asked.headers.getRawHeaders("content-type") == ["application/json"]
    # The proxy's key is for the proxy.
    for name in ("authorization", "cookie", "x-other", "x-api-key"):
        assert asked.headers.getRawHeaders(name) is None
    asked.request.setResponseCode(429)
    asked.request.setHeader("content-type", "application/problem+json")
    asked.request.setHeader("retry-after", "7")
    asked.request.setHeader("set-cookie", "a=b")
    asked.request.write(b'{"error":')
    asked.request.write(b' "\xff"}')
    asked.request.finish()
    response = await sent
    assert response.code == 429
    assert await response.content() == b'{"error": "\xff"}'
    assert response.headers.getRawHeaders("content-type") == [
        "application/problem+json"
    ]
    assert response.headers.getRawHeaders("retry-after") == ["7"]
    assert response.headers.getRawHeaders("set-cookie") is None
    assert response.headers.getRawHeaders("x-request-id")[0].startswith("req_")


@ensureDeferred
async def test_rest_of_the_path_and_the_servers_own_key(
    http: HTTP, other: OtherServer
) -> None:
    sent = http.request("POST", "/openai/v1/audio/speech%2Fa/", data=b"\x00\xff")
    asked = await other.asked()
    assert asked.uri == b"/deep/audio/speech%2Fa"
    assert asked.body == b"\x00\xff"
    own = asked.headers.getRawHeaders("authorization")
    assert own == ["Bearer targets-own-key"]
    asked.request.finish()
    assert (await sent).code == 200


@ensureDeferred
async def test_response_comes_as_it_is_written(http: HTTP, other: OtherServer) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/embeddings", BODY, authorization=AUTHORIZATION))
    asked = await other.asked()
    asked.request.write(b"first")
    await client.expect(b"first")
    asked.request.write(b"second")
    await client.expect(b"second")
    assert not asked.is_gone
    client.abort()
    await until(lambda: asked.is_gone)
    await check_client_gone(http)


@ensureDeferred
async def test_client_that_leaves_before_the_response(
    http: HTTP, other: OtherServer
) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/embeddings", BODY, authorization=AUTHORIZATION))
    asked = await other.asked()
    client.abort()
    await until(lambda: asked.is_gone)
    await check_client_gone(http)


@pytest.mark.parametrize(
    "path",
    [
        *("../../admin", "x/..", "%2e%2e/a", ".%2E/a", "..%2fa", "x%5c..%5ca"),
        *("x\\..\\a", "..;a/b", "%252e%252e/a", "..%00/a", "%09../a"),
    ],
)
@ensureDeferred
async def test_no_path_leaves_the_servers_url(
    http: HTTP, other: OtherServer, path: str
) -> None:
    client = await http.connect()
    line = f"/v1/audio/{path}"
    client.send(request("POST", line, BODY, authorization=AUTHORIZATION))
    await client.expect(b"must not contain `..`")
    assert other.asks == []
    client.abort()


@pytest.mark.parametrize("code", [0, 199, 600, 20000])
@ensureDeferred
async def test_code_that_is_none_of_http(
    http: HTTP, other: OtherServer, code: int
) -> None:
    sent = http.request("POST", "/v1/embeddings", data=BODY)
    asked = await other.asked()
    asked.request.setResponseCode(code)
    asked.request.write(b"some")
    await check_failed(await sent, "gave no HTTP response")
    await until(lambda: asked.is_gone)


@ensureDeferred
async def test_client_that_does_not_read_pauses_the_other_server(
    http: HTTP, other: OtherServer
) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/embeddings", BODY, authorization=AUTHORIZATION))
    asked = await other.asked()
    client.transport.pauseProducing()
    whole = 32 * 2**20
    asked.request.setHeader("content-length", str(whole))
    asked.request.write(bytes(whole))
    for _ in range(20):
        assert (await http.request("GET", "/health")).code == 200
    transport: Any = asked.request.transport
    unsent = len(transport.dataBuffer) + sum(map(len, transport._tempDataBuffer))
    assert unsent - transport.offset > whole / 2
    sizes: list[int] = []
    client.dataReceived = lambda data: sizes.append(len(data))  # type: ignore[method-assign]
    client.transport.resumeProducing()
    await until(lambda: sum(sizes) >= whole)
    client.abort()


@ensureDeferred
async def test_response_that_breaks_off_ends_the_clients(
    http: HTTP, other: OtherServer
) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/embeddings", BODY, authorization=AUTHORIZATION))
    asked = await other.asked()
    asked.request.setHeader("content-length", "100")
    asked.request.write(b"half")
    await client.expect(b"half")
    transport: Any = asked.request.transport
    transport.abortConnection()
    received = await client.lost()
    assert received.endswith(b"half")


@ensureDeferred
async def test_server_that_hangs_up(http: HTTP, other: OtherServer) -> None:
    sent = http.request("POST", "/v1/embeddings", data=BODY)
    asked = await other.asked()
    transport: Any = asked.request.transport
    transport.abortConnection()
    await check_failed(await sent, "gave no HTTP response")


@ensureDeferred
async def test_server_that_stays_silent(http: HTTP, other: OtherServer) -> None:
    sent = http.request("POST", "/v1/embeddings", data=BODY)
    asked = await other.asked()
    http.clock.advance(SILENCE_SECONDS - 1)
    assert not asked.is_gone
    http.clock.advance(1)
    await check_failed(await sent, "nothing for 600 seconds (see --silence-timeout)")
    await until(lambda: asked.is_gone)


@ensureDeferred
async def test_silence_within_the_response(http: HTTP, other: OtherServer) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/embeddings", BODY, authorization=AUTHORIZATION))
    asked = await other.asked()
    for piece in (b"one", b"two"):
        http.clock.advance(SILENCE_SECONDS - 1)
        asked.request.write(piece)
        await client.expect(piece)
    http.clock.advance(SILENCE_SECONDS)
    await client.lost()
    await until(lambda: asked.is_gone)


@ensureDeferred
async def test_stop_waits_for_a_response_and_then_ends_it(other: OtherServer) -> None:
    clock = Clock()
    relay = Relay(new_agent(_REACTOR), clock, SILENCE_SECONDS)
    client: Any = DummyRequest([b"embeddings"])
    target = Target(url=other.url.encode())
    sent = Deferred.fromCoroutine(relay.send(client, target, b"", BODY))
    asked = await other.asked()
    draining = Deferred.fromCoroutine(relay.drain(5.0))
    clock.advance(4)
    assert not draining.called
    clock.advance(1)
    with pytest.raises(ShuttingDown):
        await sent
    await draining
    await until(lambda: asked.is_gone)
    assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_server_that_cannot_be_reached(http: HTTP) -> None:
    response = await http.request("POST", "/v1/moderations", data=BODY)
    await check_failed(response, "cannot be reached")


async def check_client_gone(http: HTTP) -> None:
    """The client's leaving is counted as such, not as a failure of the server."""
    metrics = await (await http.request("GET", "/metrics")).text()
    assert 'finish="client_gone"' in metrics
    assert 'finish="passthrough_failed"' not in metrics


async def check_failed(response: Any, words: str) -> None:
    document = json.loads(await response.content())
    assert (response.code, document["error"]["code"]) == (502, "passthrough_failed")
    assert error_errors(document) == []
    assert words in document["error"]["message"]
    # Where the operator's servers are is not the client's business.
    assert "127.0.0.1" not in document["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/rerank", "/v1/images/edits?a=b"]
)
@ensureDeferred
async def test_route_without_another_server_names_the_option(
    http: HTTP, path: str
) -> None:
    response = await http.request("POST", path, data=BODY)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (404, "not_found")
    assert "--passthrough /" in document["error"]["message"]


@ensureDeferred
async def test_encoded_name_of_the_route_is_found(
    http: HTTP, other: OtherServer
) -> None:
    sent = http.request("POST", "/v1/%61udio/speech", data=BODY)
    asked = await other.asked()
    assert asked.uri == b"/deep/audio/speech"
    asked.request.finish()
    assert (await sent).code == 200


@ensureDeferred
async def test_no_key_no_request(http: HTTP, other: OtherServer) -> None:
    response = await http.request("POST", "/v1/embeddings", key=None, data=BODY)
    assert response.code == 401
    assert other.asks == []
