"""The routes of stored conversations."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.stream import Failed, InputJSONDelta, MessageStart
from tests.integration.http.conftest import HTTP
from tests.integration.http.responses import ask, create, get, turns
from tests.support.events import call_start
from tests.support.spec import (
    conversation_errors,
    conversation_items_errors,
    response_errors,
)
from tests.support.waiting import until

pytestmark = pytest.mark.threads

ITEMS: list[Any] = [
    {"type": "message", "role": "user", "content": "one"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "uno"}],
    },
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "https://example.org/a.png"},
            {"type": "input_file", "filename": "a.txt", "file_data": "aGVsbG8="},
        ],
    },
]


async def conversation(http: HTTP, **fields: Any) -> Any:
    return await ask(http, "POST", "/v1/conversations", json=fields)


@ensureDeferred
async def test_a_conversation_is_created_changed_and_deleted(http: HTTP) -> None:
    made = await conversation(http, metadata={"topic": "demo"})
    assert conversation_errors(made) == []
    path = f"/v1/conversations/{made['id']}"
    assert await get(http, path) == made
    changed = await ask(http, "POST", path, json={"metadata": {"topic": "other"}})
    assert changed == {**made, "metadata": {"topic": "other"}}
    assert await get(http, path) == changed
    assert await ask(http, "DELETE", path) == {
        "id": made["id"],
        "object": "conversation.deleted",
        "deleted": True,
    }
    for method, route, body in (
        ("GET", path, None),
        ("DELETE", path, None),
        ("POST", path, {"metadata": {}}),
        ("GET", f"{path}/items", None),
        ("POST", f"{path}/items", {"items": ITEMS}),
        ("GET", f"{path}/items/msg_1", None),
        ("DELETE", f"{path}/items/msg_1", None),
    ):
        error = await ask(http, method, route, 404, json=body)
        assert made["id"] in error["error"]["message"]


@ensureDeferred
async def test_items_are_added_listed_and_deleted(http: HTTP) -> None:
    made = await conversation(http, items=ITEMS[:1])
    path = f"/v1/conversations/{made['id']}/items"
    added = await ask(http, "POST", path, json={"items": ITEMS[1:]})
    assert conversation_items_errors(added) == []
    whole = await get(http, f"{path}?order=asc")
    assert conversation_items_errors(whole) == []
    assert whole["data"][1:] == added["data"]
    newest = await get(http, f"{path}?limit=1")
    assert newest["data"] == whole["data"][-1:]
    assert newest["has_more"]
    first = whole["data"][0]
    assert await get(http, f"{path}/{first['id']}") == first
    assert await ask(http, "DELETE", f"{path}/{first['id']}") == made
    await get(http, f"{path}/{first['id']}", 404)
    assert (await get(http, f"{path}?order=asc"))["data"] == whole["data"][1:]
    error = await get(http, f"{path}?after=msg_none", 400)
    assert error["error"]["param"] == "after"


@ensureDeferred
async def test_half_a_surrogate_pair_is_replaced_and_named(http: HTTP) -> None:
    said = {"role": "user", "content": "cut \ud83d"}
    about = {"metadata": {"topic": "\ude00"}, "items": [said]}
    response = await http.request("POST", "/v1/conversations", json=about)
    named = response.headers.getRawHeaders("x-ccproxy-adjusted")
    assert named == ["metadata.topic, items[0].content"]
    made = await response.json()
    assert made["metadata"] == {"topic": "\ufffd"}
    path = f"/v1/conversations/{made['id']}/items"
    [item] = (await get(http, path))["data"]
    assert item["content"][0]["text"] == "cut \ufffd"


@ensureDeferred
async def test_responses_continue_their_conversation(http: HTTP) -> None:
    made = await conversation(http, items=ITEMS[:2])
    one = await create(http, "two", conversation=made["id"])
    assert one["conversation"] == {"id": made["id"]}
    assert response_errors(one) == []
    assert turns(http.backend.asks[-1]) == [
        ("user", ["one"]),
        ("assistant", ["uno"]),
        ("user", ["two"]),
    ]
    await create(http, "three", conversation={"id": made["id"]})
    assert turns(http.backend.asks[-1])[3:] == [
        ("assistant", ["re: two"]),
        ("user", ["three"]),
    ]
    listed = await get(http, f"/v1/conversations/{made['id']}/items")
    assert [item["role"] for item in listed["data"]] == ["assistant", "user"] * 3
    # What is not to be kept leaves no trace in it.
    await create(http, "four", conversation=made["id"], store=False)
    again = await get(http, f"/v1/conversations/{made['id']}/items")
    assert again == listed
    body = {"input": "x", "previous_response_id": one["id"]}
    error = await ask(http, "POST", "/v1/responses", 400, json=body)
    assert made["id"] in error["error"]["message"]


@ensureDeferred
async def test_a_failed_answer_does_not_join_the_conversation(http: HTTP) -> None:
    made = await conversation(http)
    body = {"input": "one", "conversation": made["id"], "background": True}
    failed = await ask(http, "POST", "/v1/responses", json=body)
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    asked.tell(MessageStart("m"), call_start("t", "f"), InputJSONDelta('{"a'))
    asked.tell(Failed(ClaudeFailed("it broke")))
    while failed["status"] in ("queued", "in_progress"):
        failed = await get(http, f"/v1/responses/{failed['id']}")
    assert failed["output"][0]["arguments"] == '{"a'
    await create(http, "two", conversation=made["id"])
    assert turns(http.backend.asks[-1]) == [("user", ["two"])]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": ITEMS * 7}, "items"),
        ({"items": "x"}, "items"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: ""}}, "metadata"),
    ],
)
@ensureDeferred
async def test_an_invalid_conversation_is_refused(
    http: HTTP, body: dict[str, Any], param: str
) -> None:
    error = await ask(http, "POST", "/v1/conversations", 400, json=body)
    assert error["error"]["param"] == param


@ensureDeferred
async def test_an_item_of_another_provider_is_stored_but_not_sent(http: HTTP) -> None:
    foreign = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "aGVsbG8=",
    }
    made = await conversation(http, items=[ITEMS[0], foreign])
    path = f"/v1/conversations/{made['id']}/items"
    listed = await get(http, f"{path}?order=asc")
    assert conversation_items_errors(listed) == []
    assert listed["data"][1] == foreign
    count = len(http.backend.asks)
    body = {"input": "two", "conversation": made["id"]}
    pending = http.request("POST", "/v1/responses", json=body)
    await until(lambda: len(http.backend.asks) > count)
    assert turns(http.backend.asks[-1]) == [("user", ["one"]), ("user", ["two"])]
    http.backend.asks[-1].answer("done")
    response = await pending
    assert response.headers.getRawHeaders("x-ccproxy-ignored") == ["conversation"]
    await response.content()


@ensureDeferred
async def test_empty_conversation_needs_no_body(http: HTTP) -> None:
    made = await ask(http, "POST", "/v1/conversations")
    listed = await get(http, f"/v1/conversations/{made['id']}/items")
    assert listed["data"] == []
    assert conversation_items_errors(listed) == []


@ensureDeferred
async def test_a_conversation_has_each_id_once(http: HTTP) -> None:
    """A page that begins after an item begins after one only."""
    given = {"type": "message", "role": "user", "content": "x", "id": "msg_same"}
    made = await http.request("POST", "/v1/conversations", json={"items": [given]})
    name = (await made.json())["id"]
    path = f"/v1/conversations/{name}/items"
    for _ in range(2):
        added = await http.request("POST", path, json={"items": [given, given]})
        assert added.code == 200
        await added.content()
    page = await (await http.request("GET", path)).json()
    ids = [item["id"] for item in page["data"]]
    assert len(ids) == len(set(ids)) == 5
    assert "msg_same" in ids
