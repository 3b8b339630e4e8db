"""Items that come back from the store as the client sent them, or named."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.integration.http.conftest import HTTP
from tests.integration.http.responses import ask, create, get
from tests.support.folding import exact
from tests.support.spec import conversation_items_errors, item_list_errors
from tests.support.waiting import until

pytestmark = pytest.mark.threads

NUMBERS = "[1.0, 1e3, 1E400, -0.0, 0.10, 12345678901234567890123]"


def message(text: str, identifier: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "input_text", "text": text, **fields}
    about = {"type": "message", "id": identifier, "status": "completed"}
    return {**about, "role": "user", "content": [part]}


def call(identifier: str, arguments: str) -> dict[str, Any]:
    about = {"type": "function_call", "id": f"fc_{identifier}", "name": "f"}
    return {
        **about,
        "call_id": identifier,
        "arguments": arguments,
        "status": "completed",
    }


def result(identifier: str, output: str) -> dict[str, Any]:
    return {
        "type": "function_call_output",
        "id": f"fco_{identifier}",
        "call_id": identifier,
        "output": output,
        "status": "completed",
    }


ITEMS = [
    message("hello", "msg_1", prompt_cache_breakpoint={"mode": "explicit"}),
    call("a", ""),
    result("a", ""),
    call("b", '{"x": 1E400, "x": 2.0}'),
    result("b", "\U0001f600"),
    call("c", '{"cut off'),
    result("c", "null"),
    call("d", "null"),
    result("d", "d"),
    message("thanks", "msg_2", of_tomorrow={"a": 1}),
]


async def told(http: HTTP, route: str, items: Any, **fields: Any) -> tuple[Any, str]:
    """The items as they are stored, and the fields that are named as adjusted."""
    if route == "responses":
        body = {"input": items, **fields}
        pending = http.request("POST", "/v1/responses", json=body)
        await until(lambda: bool(http.backend.asks))
        http.backend.asks.pop().answer("yes")
        path = "input_items?order=asc"
    else:
        body = {"items": items}
        pending = http.request("POST", "/v1/conversations", json=body)
        path = "items?order=asc"
    response = await pending
    made = await response.json()
    assert response.code == 200, made
    listed = await get(http, f"/v1/{route}/{made['id']}/{path}")
    named = response.headers.getRawHeaders("x-ccproxy-adjusted") or []
    return listed, ", ".join(named)


@pytest.mark.parametrize("route", ["responses", "conversations"])
@ensureDeferred
async def test_items_are_as_they_were_sent(http: HTTP, route: str) -> None:
    listed, _ = await told(http, route, ITEMS)
    assert listed["data"] == ITEMS
    assert item_list_errors(listed) == []
    assert conversation_items_errors(listed) == []


@pytest.mark.parametrize("route", ["responses", "conversations"])
@ensureDeferred
async def test_an_id_that_is_not_kept_is_named(http: HTTP, route: str) -> None:
    items = [
        message("one", "msg_1"),
        message("two", "msg 2\u00e9"),
        message("three", "msg_1"),
        message("four", ""),
        {"role": "user", "content": "five"},
        {"role": "user", "content": "six", "id": None},
    ]
    listed, named = await told(http, route, items)
    ids = [item["id"] for item in listed["data"]]
    assert len({*ids}) == len(ids)
    assert ids[0] == "msg_1"
    at = "input" if route == "responses" else "items"
    assert named == f"{at}[1].id, {at}[2].id, {at}[3].id"
    # Nothing is stored, so nothing is renamed.
    if route == "responses":
        asked = http.request(
            "POST", "/v1/responses", json={"input": items, "store": False}
        )
        await until(lambda: bool(http.backend.asks))
        http.backend.asks.pop().answer("yes")
        assert not (await asked).headers.hasHeader("x-ccproxy-adjusted")


@pytest.mark.parametrize("route", ["responses", "conversations"])
@ensureDeferred
async def test_items_have_the_form_of_the_document(http: HTTP, route: str) -> None:
    items = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b", "more": 1}]},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": {"a": 1.0}},
        {"type": "function_call_output", "call_id": "1", "output": None},
        {"type": "function_call", "call_id": "2", "name": "f"},
        {"type": "function_call_output", "call_id": "2", "output": "x"},
        {"type": "function_call", "call_id": "3", "name": "f", "arguments": None},
        {"type": "function_call_output", "call_id": "3", "output": "x"},
        {"role": "user", "content": "d"},
    ]
    listed, _ = await told(http, route, items)
    assert item_list_errors(listed) == []
    assert conversation_items_errors(listed) == []
    stored = listed["data"]
    assert stored[0]["content"] == [{"type": "input_text", "text": "a"}]
    assert stored[1]["content"] == [{"type": "input_text", "text": "b", "more": 1}]
    assert stored[2]["content"][0]["type"] == "output_text"
    found = [item["arguments"] for item in stored if "arguments" in item]
    assert found == ['{"a":1.0}', "", ""]
    assert stored[4]["output"] == ""


@ensureDeferred
async def test_numbers_are_stored_as_they_were_spelled(http: HTTP) -> None:
    said = json.dumps([message("hello", "msg_1", of_tomorrow=None)])
    body = f'{{"input": {said}}}'.replace("null", NUMBERS).encode()
    pending = http.request("POST", "/v1/responses", data=body)
    await until(lambda: bool(http.backend.asks))
    http.backend.asks[-1].answer("yes")
    made = await (await pending).json()
    listed = await http.request("GET", f"/v1/responses/{made['id']}/input_items")
    [item] = dict(exact(await listed.text()))["data"]
    [part] = dict(item)["content"]
    assert dict(part)["of_tomorrow"] == exact(NUMBERS)


@ensureDeferred
async def test_a_chain_has_what_was_sent(http: HTTP) -> None:
    first = await create(http, "one")
    again = [{**message("two", first["output"][0]["id"])}]
    body = {"input": again, "previous_response_id": first["id"]}
    pending = http.request("POST", "/v1/responses", json=body)
    await until(lambda: len(http.backend.asks) > 1)
    http.backend.asks[-1].answer("yes")
    response = await pending
    assert response.headers.getRawHeaders("x-ccproxy-adjusted") == ["input[0].id"]
    name = (await response.json())["id"]
    items = await ask(http, "GET", f"/v1/responses/{name}/input_items")
    assert len({item["id"] for item in items["data"]}) == len(items["data"])
