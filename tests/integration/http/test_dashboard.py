"""The dashboard over HTTP: its page, and its event stream."""

import json
import re
from typing import Any

import pytest
import treq
from pytest_twisted import ensureDeferred

from ccproxy.api.admin.dashboard import INTERVAL_SECONDS
from ccproxy.core.stream import Finished, TextDelta, Usage
from ccproxy.web.access import key_id
from tests.integration.http.conftest import AUTHORIZATION, HTTP, chat_bytes
from tests.support.backend import ScriptedRequest, started
from tests.support.raw import RawClient, request
from tests.support.server import KEY
from tests.support.waiting import until

SECRET = "a-word-nobody-else-would-say"
USAGE = Usage(input_tokens=3, output_tokens=2)
PARTS = {
    "/dashboard": "text/html",
    "/dashboard/app.js": "text/javascript",
    "/dashboard/style.css": "text/css",
    "/dashboard/icon.svg": "image/svg+xml",
}


async def watch(http: HTTP) -> RawClient:
    client = await http.connect()
    client.send(request("GET", "/dashboard/events", authorization=AUTHORIZATION))
    await client.expect(b"event: now")
    return client


def heard(client: RawClient, name: str) -> list[Any]:
    """What was told under a name."""
    pattern = rf"event: {name}\ndata: (.*)\n\n"
    return [json.loads(d) for d in re.findall(pattern, client.received.decode())]


async def look(http: HTTP, client: RawClient, name: str, count: int) -> Any:
    """The latest under a name, once there are so many."""

    def found() -> bool:
        http.clock.advance(INTERVAL_SECONDS)
        return len(heard(client, name)) >= count

    await until(found)
    return heard(client, name)[-1]


@ensureDeferred
@pytest.mark.parametrize("path", PARTS)
async def test_page_is_served_without_a_key_and_has_none(http: HTTP, path: str) -> None:
    response = await http.request("GET", path, key=None)
    text = await response.text()
    assert response.code == 200
    [kind] = response.headers.getRawHeaders("content-type")
    assert kind == f"{PARTS[path]}; charset=utf-8"
    assert KEY not in text
    assert key_id(KEY) not in text
    # Nobody else is asked, or told.
    assert set(re.findall(r"https?://[^\s\"'/]+", text)) <= {"http://www.w3.org"}


@ensureDeferred
@pytest.mark.parametrize("path", PARTS)
async def test_page_may_load_nothing_but_its_own(http: HTTP, path: str) -> None:
    response = await http.request("GET", path, key=None)
    await treq.content(response)
    [policy] = response.headers.getRawHeaders("content-security-policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert {rules[f"{k}-src"] for k in ("script", "style", "connect", "img")} == {
        "'self'"
    }
    assert "unsafe" not in policy
    assert response.headers.getRawHeaders("x-content-type-options") == ["nosniff"]
    assert response.headers.getRawHeaders("referrer-policy") == ["no-referrer"]


@ensureDeferred
async def test_page_keeps_to_its_policy(http: HTTP) -> None:
    page = await (await http.request("GET", "/dashboard", key=None)).text()
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", page)
    loaded = re.findall(r"(?:src|href)=\"([^\"#]+)\"", page)
    assert {f"/{part}" for part in loaded} == set(PARTS) - {"/dashboard"}
    script = await (await http.request("GET", "/dashboard/app.js", key=None)).text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|\beval\b|EventSource\(", script
    )


@ensureDeferred
@pytest.mark.parametrize("path", ["/dashboard/events", "/v1/dashboard/events"])
async def test_event_stream_needs_the_key(http: HTTP, path: str) -> None:
    for query, key in (("", None), ("", "wrong"), (f"?key={KEY}", None)):
        response = await http.request("GET", path + query, key=key)
        assert response.code == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


@ensureDeferred
async def test_request_is_told_from_its_beginning_to_its_end(http: HTTP) -> None:
    client = await watch(http)
    assert heard(client, "hello") == [{"version": "1.2.3", "at": 1700000000.0}]
    assert heard(client, "now")[0]["going"] == []
    asking = await http.connect()
    asking.send(chat_bytes(SECRET, stream=True))
    [going] = (await look(http, client, "now", 2))["going"]
    assert going["route"] == "POST /chat/completions"
    assert (going["model"], going["answering_at"]) == ("", None)
    assert going["key"] == key_id(KEY)
    [ask] = http.backend.asks
    ask.tell(*started(SECRET))
    [going] = (await look(http, client, "now", 3))["going"]
    assert going["model"] == "test-model"
    assert 0 <= 1700000000.0 - going["answering_at"] <= 2 * INTERVAL_SECONDS
    http.clock.advance(2)
    ask.tell(Finished("end_turn", USAGE, cost_usd=0.25))
    [end] = await look(http, client, "ended", 1)
    assert end["id"] == going["id"]
    assert (end["finish"], end["is_error"], end["remedy"]) == ("stop", False, None)
    assert (end["prompt_tokens"], end["output_tokens"]) == (3, 2)
    assert end["cost_usd"] == 0.25
    assert 2 <= end["seconds"] - end["first_token_seconds"] < 4
    assert heard(client, "now")[-1]["going"] == []
    # Neither what was asked nor what was answered.
    assert SECRET in asking.received.decode()
    assert SECRET not in client.received.decode()
    asking.abort()
    client.abort()


@ensureDeferred
async def test_error_is_told_with_what_helps_and_not_with_what_was_said(
    http: HTTP,
) -> None:
    response = await http.chat("hello", model=SECRET)
    assert SECRET in await response.text()
    client = await watch(http)
    [end] = await look(http, client, "ended", 1)
    assert (end["status"], end["finish"]) == (404, "model_not_found")
    assert "--model-map" in end["remedy"]
    assert SECRET not in client.received.decode()
    client.abort()


@ensureDeferred
async def test_deltas_cost_whoever_looks_on_nothing(http: HTTP) -> None:
    def begin(ask: ScriptedRequest) -> None:
        ask.tell(*started("x"))

    http.backend.asked = begin
    asking = await http.connect()
    asking.send(chat_bytes("hello", stream=True))
    await asking.expect(b'"content":"x"')
    client = await watch(http)
    before = client.received
    for _ in range(50):
        http.backend.asks[0].tell(TextDelta("y"))
        http.clock.advance(INTERVAL_SECONDS / 10)
    await asking.expect(b'"content":"y"')
    assert client.received == before
    asking.abort()
    client.abort()
    await until(lambda: http.backend.asks[0].cancelled)


@ensureDeferred
async def test_client_that_hangs_up_is_no_error(http: HTTP) -> None:
    client, asking = await watch(http), await http.connect()
    asking.send(chat_bytes("hello", stream=True))
    await until(lambda: http.backend.asks)
    asking.abort()
    [end] = await look(http, client, "ended", 1)
    assert (end["status"], end["finish"]) == (499, "client_gone")
    assert (end["is_error"], end["remedy"]) == (False, None)
    client.abort()


@ensureDeferred
async def test_nobody_looks_and_nothing_is_done(http: HTTP) -> None:
    client = await watch(http)
    assert http.clock.getDelayedCalls()
    client.abort()
    await until(lambda: not http.clock.getDelayedCalls())
    await treq.content(await http.chat("hello", model="nonsense"))
    assert http.clock.getDelayedCalls() == []


@ensureDeferred
async def test_household_is_not_shown(http: HTTP) -> None:
    before = await watch(http)
    before.abort()
    await until(lambda: not http.clock.getDelayedCalls())
    client = await watch(http)
    for path in ("/dashboard", "/usage", "/models", "/health", "/metrics", "/ready"):
        await treq.content(await http.request("GET", path))
    await treq.content(await http.chat("hello", model="nonsense"))
    ended = await look(http, client, "ended", 1)
    assert [end["finish"] for end in ended] == ["model_not_found"]
    assert all(now["going"] == [] for now in heard(client, "now"))
    client.abort()
