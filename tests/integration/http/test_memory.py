"""The limits of what the server holds in memory for its clients."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from wsproto.events import CloseConnection

from ccproxy.api.responses.input.items import MOST_ITEMS
from ccproxy.config.limits import ConnectionLimits
from ccproxy.core.errors import ServerFull
from ccproxy.web.memory import MemoryBudget
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.integration.http.responses import ask, create, get
from tests.support.raw import request
from tests.support.waiting import until
from tests.support.websocket import open_socket

pytestmark = pytest.mark.threads

_REACTOR: Any = reactor
MEGA = 10**6


def message(text: str) -> Any:
    return {"type": "message", "role": "user", "content": text}


async def error_of(http: HTTP, status: int, **fields: Any) -> Any:
    response = await http.request("POST", "/v1/responses", json=fields)
    document = await response.json()
    assert response.code == status, document
    return document["error"]


def test_small_data_does_not_count() -> None:
    budget = MemoryBudget(100_000)
    holders = [budget.holder() for _ in range(100)]
    for holder in holders:
        holder.add(60_000)
    assert budget.held_bytes == 0
    # What it has had counts as soon as it is large.
    holders[0].add(10_000)
    assert budget.held_bytes == 70_000
    with pytest.raises(ServerFull, match="--memory-limit"):
        holders[1].add(10_000)
    other = holders[0].hand_over()
    holders[0].release()
    assert budget.held_bytes == 70_000
    # What is there cannot be refused.
    holders[1].set(80_000, is_there=True)
    assert budget.held_bytes == 150_000
    other.release()
    holders[1].set(75_000)
    assert budget.held_bytes == 75_000


@ensureDeferred
async def test_stored_conversation_over_the_limit_is_not_continued(
    serve: Callable[..., HTTP],
) -> None:
    http = serve(max_body=10_000)
    http.backend.asked = lambda asked: asked.answer("yes")
    made = await ask(http, "POST", "/v1/conversations", json={})
    items = {"items": [message("x" * 4000)]}
    path = f"/v1/conversations/{made['id']}/items"
    listed = [await ask(http, "POST", path, json=items) for _ in range(2)]
    await create(http, input="go on", conversation=made["id"], store=False)
    listed.append(await ask(http, "POST", path, json=items))
    error = await error_of(http, 400, input="go on", conversation=made["id"])
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "conversation"
    assert "10,000, see --max-body" in error["message"]
    # A reference takes the place of the item, each time.
    reference = {"type": "item_reference", "id": listed[0]["data"][0]["id"]}
    await create(http, input=[reference] * 2, store=False)
    error = await error_of(http, 400, input=[reference] * 3)
    assert error["code"] == "context_length_exceeded"
    response = await http.request(
        "POST", "/v1/conversations", json={"items": [reference] * 3}
    )
    assert (response.code, (await response.json())["error"]["param"]) == (400, "items")
    # A chain of responses.
    last = None
    for _ in range(3):
        last = await create(http, input="x" * 4500, previous_response_id=last)
        last = last["id"]
    error = await error_of(http, 400, input="x" * 4500, previous_response_id=last)
    assert error["param"] == "previous_response_id"


@ensureDeferred
async def test_conversation_with_too_many_items_is_not_continued(
    serve: Callable[..., HTTP],
) -> None:
    http = serve(max_body=4 * MEGA)
    http.backend.asked = lambda asked: asked.answer("yes")
    many = [message("x")] * (MOST_ITEMS - 2)
    first = await create(http, input=many)
    second = await create(http, input="x", previous_response_id=first["id"])
    error = await error_of(http, 400, input="x", previous_response_id=second["id"])
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "previous_response_id"
    assert "15,002 items, more than 15,000" in error["message"]
    error = await error_of(http, 400, input=[message("x")] * (MOST_ITEMS + 1))
    assert error["param"] == "input"


@ensureDeferred
async def test_page_ends_before_it_is_too_large(serve: Callable[..., HTTP]) -> None:
    http = serve(max_body=4 * MEGA)
    made = await ask(http, "POST", "/v1/conversations", json={})
    path = f"/v1/conversations/{made['id']}/items"
    for name in "abc":
        await ask(http, "POST", path, json={"items": [message(name * 3 * MEGA)]})
    found = []
    page: Any = {"has_more": True, "last_id": ""}
    while page["has_more"]:
        after = f"&after={page['last_id']}" if page["last_id"] else ""
        page = await get(http, f"{path}?order=asc{after}")
        assert len(page["data"]) == 1
        found += [item["content"][0]["text"][0] for item in page["data"]]
    assert found == ["a", "b", "c"]


@ensureDeferred
async def test_page_is_held_until_its_client_has_read_it(
    serve: Callable[..., HTTP],
) -> None:
    limits = ConnectionLimits(memory_limit=30 * MEGA)
    http = serve(max_body=25 * MEGA, limits=limits)
    items = {"items": [message("x" * 20 * MEGA)]}
    made = await ask(http, "POST", "/v1/conversations", json=items)
    path = f"/v1/conversations/{made['id']}/items"
    client = await http.connect()
    client.transport.pauseProducing()
    client.send(request("GET", path, authorization=AUTHORIZATION))
    await until(lambda: any(c._unread for c in http.site._channels))
    refused = await http.request("GET", path)
    assert refused.code == 503
    assert refused.headers.getRawHeaders("retry-after") == ["2"]
    assert (await refused.json())["error"]["code"] == "overloaded"
    client.transport.resumeProducing()
    await until(lambda: http.site.memory.held_bytes == 0)
    client.abort()
    await get(http, path)


@ensureDeferred
async def test_background_response_holds_its_request_until_it_is_over(
    serve: Callable[..., HTTP],
) -> None:
    limits = ConnectionLimits(memory_limit=MEGA)
    http = serve(max_body=MEGA, limits=limits)
    made = await ask(
        http,
        "POST",
        "/v1/responses",
        json={"input": "x" * 600_000, "background": True},
    )
    await until(lambda: http.backend.asks)
    assert http.site.memory.held_bytes > 600_000
    error = await error_of(http, 503, input="x" * 600_000)
    assert "--memory-limit" in error["message"]
    http.backend.asks[-1].answer("yes")
    await until(lambda: http.site.memory.held_bytes == 0)
    assert (await get(http, f"/v1/responses/{made['id']}"))["status"] == "completed"


@ensureDeferred
async def test_history_of_a_websocket_has_a_limit(serve: Callable[..., HTTP]) -> None:
    http = serve(max_body=200_000)
    http.backend.asked = lambda asked: asked.answer("yes")
    headers = {"authorization": AUTHORIZATION}
    client = await open_socket(_REACTOR, http.number, headers)
    fields: Any = {"input": "x" * 90_000, "store": False}
    last = None
    for count in range(3):
        [*_, end] = await client.turn(**fields, previous_response_id=last)
        last = end["response"]["id"]
        # The message is no longer held, but what is remembered of it is.
        held_bytes = http.site.memory.held_bytes
        assert 0 <= held_bytes - 90_000 * (count + 1) < 9000
    [*_, end] = await client.turn(input="x", store=False, previous_response_id=last)
    assert end["type"] == "error"
    client.say(CloseConnection(1000))
    await client.lost()
    await until(lambda: http.site.memory.held_bytes == 0)


@ensureDeferred
async def test_websocket_closes_if_there_is_no_room_for_a_message(
    serve: Callable[..., HTTP],
) -> None:
    http = serve(max_body=MEGA, limits=ConnectionLimits(memory_limit=MEGA))
    other = http.site.memory.holder()
    other.set(MEGA)
    headers = {"authorization": AUTHORIZATION}
    client = await open_socket(_REACTOR, http.number, headers)
    client.send({"type": "response.create", "input": "x" * 100_000})
    await until(lambda: client.closed is not None)
    assert client.closed is not None
    assert client.closed[0] == 1013
    await client.lost()
    assert http.site.memory.held_bytes == MEGA
