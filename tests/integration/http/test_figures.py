"""Metrics and usage, over HTTP."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
import pytest_twisted
import treq
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.address import (
    HostnameAddress,
    IPv4Address,
    IPv6Address,
    UNIXAddress,
)
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.test.requesthelper import DummyRequest

from ccproxy.api.admin.documents import usage_document
from ccproxy.api.admin.routes import is_local
from ccproxy.core.blocks import Block, thinking_block
from ccproxy.core.errors import Cause, ClaudeFailed, Overloaded
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    ThinkingDelta,
    Usage,
)
from ccproxy.core.usage import UsageTotals
from ccproxy.server.metrics import UsageRecorder
from ccproxy.store.engine import sqlite_url
from ccproxy.store.store import Store
from ccproxy.web.access import key_id
from ccproxy.web.observer import RequestOutcome
from tests.integration.http.conftest import BODIES, HTTP, chat_bytes
from tests.support.backend import ScriptedBackend, ScriptedRequest, site, started
from tests.support.log_texts import DATABASE_FAILED
from tests.support.server import KEY
from tests.support.waiting import until

_REACTOR: Any = reactor
SAID = started("Hi.")
USAGE = Usage(input_tokens=3, output_tokens=2)


async def counted(http: HTTP) -> dict[str, float]:
    """The requests, by route, model, status and finish."""
    response = await http.request("GET", "/metrics")
    assert response.code == 200
    kind = response.headers.getRawHeaders("content-type")
    assert kind == ["text/plain; version=0.0.4; charset=utf-8"]
    text = await response.text()
    found = {}
    for line in text.splitlines():
        if line.startswith("ccproxy_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            key = "{route}|{model}|{status}|{finish}".format(**labels)
            found[key] = float(line.rpartition(" ")[2])
    return found


async def streams(http: HTTP) -> float:
    text = await (await http.request("GET", "/metrics")).text()
    [line] = re.findall(r"^ccproxy_open_streams (.*)$", text, re.MULTILINE)
    return float(line)


@ensureDeferred
@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/usage", "/v1/usage"])
async def test_figures_need_the_key(http: HTTP, path: str) -> None:
    for key in (None, "wrong"):
        response = await http.request("GET", path, key=key)
        assert response.code == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


@ensureDeferred
async def test_answers_are_counted_by_their_end(http: HTTP) -> None:
    ends: list[Event] = [
        Finished("end_turn", USAGE, cost_usd=0.25),
        Finished("max_tokens", USAGE),
        Failed(Overloaded("try later")),
    ]

    def answer(ask: ScriptedRequest) -> None:
        ask.tell(*SAID, ends.pop(0))

    http.backend.asked = answer
    for stream in (False, True, False):
        await treq.content(await http.chat("hello", stream=stream))
    route = "POST /chat/completions|test-model"
    found = await counted(http)
    assert found == {
        f"{route}|200|stop": 1,
        f"{route}|200|length": 1,
        f"{route}|503|overloaded": 1,
    }
    # Those who ask for the metrics are counted too, afterwards.
    again = await counted(http)
    assert again == {**found, "GET /metrics||200|none": 1}


@ensureDeferred
@pytest.mark.parametrize("stream", [False, True])
async def test_messages_are_counted_like_chats(http: HTTP, stream: bool) -> None:
    end = Finished("end_turn", USAGE, cost_usd=0.25)
    http.backend.asked = lambda ask: ask.tell(*SAID, end)
    message = {"role": "user", "content": "hello"}
    body = {"messages": [message], "max_tokens": 9, "stream": stream}
    await treq.content(await http.request("POST", "/v1/messages", json=body))
    assert await counted(http) == {"POST /messages|test-model|200|stop": 1}


CALL = Block.make("tool_use", at="", id="toolu_1", name="f", input={})
# Where an answer can be cut.
CUT: Sequence[Sequence[Event]] = [
    (),
    started("half")[1:],
    (ContentBlockStart(thinking_block("", "")), ThinkingDelta("half")),
    (ContentBlockStart(CALL), InputJSONDelta('{"a":')),
]
ERRORS = [Overloaded("x"), ClaudeFailed("x", cause=Cause.CONNECTION_LOST)]
REPORTED = Usage(input_tokens=5, cache_read_tokens=7, output_tokens=1)


async def tokens(http: HTTP) -> dict[str, float]:
    """The tokens, by kind."""
    text = await (await http.request("GET", "/metrics")).text()
    line = r'^ccproxy_tokens_total{kind="(\w+)",model="test-model"} (.*)$'
    found = re.findall(line, text, re.MULTILINE)
    return {kind: float(count) for kind, count in found if float(count)}


@ensureDeferred
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
async def test_a_cut_answer_is_counted_with_the_tokens_that_were_reported(
    http: HTTP, path: str, stream: bool
) -> None:
    cuts = [(*blocks, Failed(error)) for blocks in CUT for error in ERRORS]
    for cut in cuts:
        told = (MessageStart("test-model", REPORTED), *cut)
        http.backend.asked = lambda ask, told=told: ask.tell(*told)
        body = {**BODIES[path], "stream": stream}
        await treq.content(await http.request("POST", path, json=body))
    once = {"input": 5, "cache_read": 7, "output": 1}
    assert await tokens(http) == {k: n * len(cuts) for k, n in once.items()}


@ensureDeferred
async def test_the_tokens_of_a_client_that_hangs_up_are_counted(http: HTTP) -> None:
    begun = MessageStart("test-model", REPORTED)
    http.backend.asked = lambda ask: ask.tell(begun, *SAID[1:])
    client = await http.connect()
    client.send(chat_bytes("hello", stream=True, n=2))
    await client.expect(b"Hi.")
    client.abort()
    await until(lambda: http.backend.asks[0].cancelled)
    assert await tokens(http) == {"input": 10, "cache_read": 14, "output": 2}


@ensureDeferred
async def test_what_clients_make_up_makes_no_series(http: HTTP) -> None:
    for number in range(3):
        await http.request("GET", f"/nothing/{number}")
        await http.chat("hello", model=f"nonsense-{number}")
        await http.request("GET", f"/models/nonsense-{number}")
        await http.request("POST", f"/models/{number}", key="wrong", data=b"body")
    assert await counted(http) == {
        "no route||404|not_found": 3,
        "POST /chat/completions||404|model_not_found": 3,
        "GET /models/<path:name>||404|model_not_found": 3,
        # Refused before anybody looked where it was to go.
        "no route||401|invalid_api_key": 3,
    }


@ensureDeferred
async def test_a_client_that_hangs_up_is_counted_and_its_stream_is_closed(
    http: HTTP,
) -> None:
    http.backend.asked = lambda ask: ask.tell(*SAID)
    assert await streams(http) == 0
    client = await http.connect()
    client.send(chat_bytes("hello", stream=True))
    await client.expect(b"Hi.")
    assert await streams(http) == 1
    client.abort()
    await until(lambda: http.backend.asks[0].cancelled)
    assert await streams(http) == 0
    found = await counted(http)
    assert found["POST /chat/completions|test-model|499|client_gone"] == 1


@ensureDeferred
async def test_ready_tells_the_limits(http: HTTP) -> None:
    document = await (await http.request("GET", "/ready")).json()
    assert document["rate_limits"] == []
    assert document["storage"] == "ok"


@pytest.mark.threads
@ensureDeferred
@pytest.mark.parametrize(("lines", "is_apart"), [(3, False), (1_000, True)])
async def test_a_long_usage_report_is_encoded_in_a_thread(
    http: HTTP, monkeypatch: pytest.MonkeyPatch, lines: int, is_apart: bool
) -> None:
    threads = []

    def document(*about: Any) -> bytes:
        threads.append(get_ident())
        return usage_document(*about)

    monkeypatch.setattr("ccproxy.api.admin.routes.usage_document", document)
    for number in range(lines):
        http.store.usage.add("m", "-", f"client-{number}", UsageTotals(answers=1))
    report = await (await http.request("GET", "/usage")).json()
    assert len(report["lines"]) == lines
    assert [each != get_ident() for each in threads] == [is_apart]


@ensureDeferred
async def test_a_failed_database_is_reported_and_no_reason_to_restart(
    http: HTTP,
) -> None:
    http.store.database.has_failed = True
    response = await http.request("GET", "/ready")
    document = await response.json()
    assert (response.code, document["ready"]) == (200, True)
    assert document["storage"] == "failed"
    assert DATABASE_FAILED in document["message"]


# Without a key


@pytest.fixture
def open_port(http: HTTP) -> Iterator[int]:
    """A server whose operator lets the metrics be read."""
    factory = site(http.backend, http.store, _REACTOR, http.clock, open_metrics=True)
    port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")
    yield port.getHost().port

    async def stop() -> None:
        await maybeDeferred(port.stopListening)
        await factory.drain(0.5)

    pytest_twisted.blockon(Deferred.fromCoroutine(stop()))


@ensureDeferred
async def test_open_metrics_need_no_key_and_nothing_else_is_open(
    open_port: int,
) -> None:
    async def code(path: str) -> int:
        url = f"http://127.0.0.1:{open_port}{path}"
        response = await treq.get(url, persistent=False)
        await response.content()
        status: int = response.code
        return status

    assert await code("/metrics") == 200
    assert await code("/usage") == 401
    assert await code("/models") == 401


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (IPv4Address("TCP", "127.0.0.1", 80), True),
        (IPv4Address("TCP", "127.8.9.1", 80), True),
        (IPv6Address("TCP", "::1", 80), True),
        (UNIXAddress(b"/run/ccproxy.sock"), True),
        (IPv4Address("TCP", "192.0.2.1", 80), False),
        (IPv4Address("TCP", "10.0.0.1", 80), False),
        (IPv6Address("TCP", "2001:db8::1", 80), False),
        (HostnameAddress(b"localhost", 80), False),
    ],
)
def test_what_is_local(address: Any, local: bool) -> None:
    request: Any = DummyRequest([b"metrics"])
    request.getHost = lambda: address
    assert is_local(request) is local


# The ledger


class Book:
    """A ledger that only remembers."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, *line: Any, conversation: str) -> None:
        self.lines.append((*line, conversation))


def test_only_what_was_answered_is_written_down() -> None:
    book: Any = Book()
    keeper = UsageRecorder(book)
    end = RequestOutcome(
        id="req_1",
        is_error=False,
        answering_seconds=None,
        route="POST /chat/completions",
        status=200,
        finish="stop",
        model="m",
        usage=USAGE,
        cost_usd=0.0002273,
        seconds=1.0,
        key="1a2b3c4d",
        client="curl",
        conversation="c",
    )
    keeper.request_ended(end)
    nothings: list[dict[str, Any]] = [{"usage": None}, {"model": ""}]
    for nothing in nothings:
        keeper.request_ended(evolve(end, **nothing))
    keeper.request_ended(evolve(end, cost_usd=None))
    [(model, key, client, totals, talk), (_, _, _, free, _)] = book.lines
    assert (model, key, client, talk) == ("m", "1a2b3c4d", "curl", "c")
    assert (totals.answers, totals.usage) == (1, USAGE)
    assert (totals.cost_nanodollars, free.cost_nanodollars) == (227_300, 0)


@pytest.mark.threads
@ensureDeferred
async def test_usage_is_told(tmp_path: Path) -> None:
    now = 1700000000.0
    store = Store(
        url=lambda: sqlite_url(tmp_path / "responses.sqlite"),
        reactor=_REACTOR,
        wall_seconds=lambda: now,
        keep_time=None,
        keep_size=None,
    )
    backend = ScriptedBackend()
    backend.asked = lambda ask: ask.tell(
        *SAID, Finished("end_turn", USAGE, cost_usd=0.25)
    )
    factory = site(backend, store, _REACTOR, _REACTOR, records_usage=True)
    port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    headers = {"authorization": f"Bearer {KEY}", "user-agent": "OpenAI/Python 3.54.0"}
    options: Any = {"headers": headers, "persistent": False}
    body = {"messages": [{"role": "user", "content": "hello"}]}
    for path, json in (
        ("/v1/chat/completions", body),
        ("/v1/chat/completions", {**body, "stream": True}),
        ("/v1/responses", {"input": "hello", "store": False}),
    ):
        await treq.content(await treq.post(url + path, json=json, **options))
    other = await treq.get(f"{url}/usage?since=7d", **options)
    assert (other.code, "there are: days" in await other.text()) == (400, True)
    wrong = await treq.get(f"{url}/usage?days=0", **options)
    assert wrong.code == 400
    await wrong.content()
    by = await treq.get(f"{url}/usage?by=colour", **options)
    assert (by.code, "day, model, key" in await by.text()) == (400, True)
    document = await (await treq.get(f"{url}/usage?days=1", **options)).json()
    path = f"{url}/usage?by=conversation"
    conversations = (await (await treq.get(path, **options)).json())["lines"]
    await maybeDeferred(port.stopListening)
    await factory.drain(0.5)
    await store.stop()
    [line] = document["lines"]
    assert line == {
        "answers": 3,
        "input_tokens": 9,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 6,
        "thinking_tokens": 0,
        "cache_read_ratio": 0.0,
        "cost_usd": 0.75,
        "day": "2023-11-14",
        "model": "test-model",
        "key": key_id(KEY),
        "client": "openai-python",
    }
    # The three requests begin alike.
    [conversation] = conversations
    assert len(conversation.pop("conversation")) == 16
    assert conversation == {k: v for k, v in line.items() if k != "model"}
    assert document["since"] == "2023-11-14"
    assert KEY not in str(document)
