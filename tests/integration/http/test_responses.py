"""Responses that are stored, fetched again and continued."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from tests.integration.http.conftest import HTTP
from tests.integration.http.responses import START, ask, create, get, streamed, turns
from tests.support.backend import FINISHED
from tests.support.events import call_start, in_blocks
from tests.support.requests import told_content
from tests.support.server import events
from tests.support.spec import (
    item_list_errors,
    response_errors,
    response_event_errors,
)
from tests.support.waiting import until

pytestmark = pytest.mark.threads


THOUGHT = ThinkingDelta("hm"), SignatureDelta("signed")


@ensureDeferred
async def test_response_can_be_fetched_as_it_was(http: HTTP) -> None:
    made = await create(http, metadata={"a": "b"})
    kept = await get(http, f"/v1/responses/{made['id']}")
    assert kept == made
    assert kept["store"] is True
    assert response_errors(kept) == []
    assert await get(http, f"/responses/{made['id']}") == made


@ensureDeferred
async def test_response_is_deleted_for_good(http: HTTP) -> None:
    made = await create(http)
    path = f"/v1/responses/{made['id']}"
    assert await ask(http, "DELETE", path) == {
        "id": made["id"],
        "object": "response",
        "deleted": True,
    }
    for method, route in (
        ("GET", path),
        ("DELETE", path),
        ("GET", f"{path}?stream=true"),
        ("GET", f"{path}/input_items"),
        ("POST", f"{path}/cancel"),
    ):
        error = (await ask(http, method, route, 404))["error"]
        assert error["code"] == "not_found"
        assert made["id"] in error["message"]


@ensureDeferred
async def test_what_is_not_to_be_kept_is_not(http: HTTP, tmp_path: Any) -> None:
    made = await create(http, "the moon is made of cheese", store=False)
    assert made["store"] is False
    error = await get(http, f"/v1/responses/{made['id']}", 404)
    assert error["error"]["code"] == "not_found"
    await http.store.stop()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"cheese" not in path.read_bytes()


@pytest.mark.parametrize("after", [None, 0, 3, 7, 99])
@ensureDeferred
async def test_stream_can_be_heard_again_from_anywhere(
    http: HTTP, after: int | None
) -> None:
    deltas = [TextDelta(text) for text in ("one", " two", " three")]
    first = await streamed(http, START, *deltas, FINISHED)
    assert first.endswith("data: [DONE]\n\n")
    told = [json.loads(data) for data in events(first)[:-1]]
    name = told[0]["response"]["id"]
    query = "" if after is None else f"&starting_after={after}"
    again = await http.request("GET", f"/v1/responses/{name}?stream=true{query}")
    assert again.headers.getRawHeaders("content-type") == [
        "text/event-stream; charset=utf-8"
    ]
    text = (await again.content()).decode()
    heard = list(events(text))
    assert heard.pop() == "[DONE]"
    begin = 0 if after is None else after + 1
    assert [json.loads(data) for data in heard] == told[begin:]
    assert text == first[len(first) - len(text) :]


@ensureDeferred
async def test_answer_in_one_piece_is_a_stream_too(http: HTTP) -> None:
    made = await create(http)
    again = await http.request("GET", f"/v1/responses/{made['id']}?stream=true")
    heard = events(await again.text())
    told = [json.loads(data) for data in heard[:-1]]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert all(response_event_errors(event) == [] for event in told)
    assert told[-1]["response"] == made


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("starting_after=3", "starting_after"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("stream=maybe", "stream"),
    ],
)
@ensureDeferred
async def test_query_that_means_nothing(http: HTTP, query: str, param: str) -> None:
    error = await get(http, f"/v1/responses/resp_1?{query}", 400)
    assert error["error"]["param"] == param


@ensureDeferred
async def test_chain_is_asked_natively(http: HTTP) -> None:
    one = await create(http, "one", instructions="Be brief.")
    two = await create(http, "two", previous_response_id=one["id"])
    assert two["previous_response_id"] == one["id"]
    await create(http, "three", previous_response_id=two["id"], instructions="Loud!")
    asked = http.backend.asks[-1]
    assert turns(asked) == [
        ("user", ["one"]),
        ("assistant", ["re: one"]),
        ("user", ["two"]),
        ("assistant", ["re: two"]),
        ("user", ["three"]),
    ]
    # Instructions are not inherited.
    assert asked.request.system == "Loud!"
    await create(http, "other", previous_response_id=one["id"])
    assert turns(http.backend.asks[-1])[-1] == ("user", ["other"])
    assert len(turns(http.backend.asks[-1])) == 3


@ensureDeferred
async def test_thinking_is_continued_with_its_signature(http: HTTP) -> None:
    body = {"input": "one"}
    pending = http.request("POST", "/v1/responses", json=body)
    await until(lambda: http.backend.asks)
    events: list[Event] = [START, *THOUGHT, TextDelta("uno"), FINISHED]
    http.backend.asks[-1].tell(*in_blocks(events))
    made = await (await pending).json()
    assert "encrypted_content" not in made["output"][0]
    await create(http, "two", previous_response_id=made["id"])
    wanted = [
        {"type": "thinking", "thinking": "hm", "signature": "signed"},
        {"type": "text", "text": "uno"},
    ]
    asked = http.backend.asks[-1].request
    assert told_content(asked.messages[1]) == wanted
    assert asked.thinking_models == {"signed": "test-model"}
    # And by their ids: as a reference, and as an item whose seal was not asked for.
    reasoning, message = made["output"]
    items = [
        {"role": "user", "content": "one"},
        reasoning,
        {"type": "item_reference", "id": message["id"]},
        {"role": "user", "content": "two"},
    ]
    await create(http, items)  # type: ignore[arg-type]  # an input of items
    asked = http.backend.asks[-1].request
    assert told_content(asked.messages[1]) == wanted
    query = "include[]=reasoning.encrypted_content"
    shown = await get(http, f"/v1/responses/{made['id']}?{query}")
    assert shown["output"][0]["encrypted_content"]
    assert response_errors(shown) == []


@ensureDeferred
async def test_unknown_past_is_told(http: HTTP) -> None:
    for body, param, code in (
        (
            {"previous_response_id": "resp_none"},
            "previous_response_id",
            "previous_response_not_found",
        ),
        (
            {"input": [{"type": "item_reference", "id": "msg_none"}]},
            "input[0].id",
            "invalid_request",
        ),
    ):
        document = {"input": "hello", **body}
        error = await ask(http, "POST", "/v1/responses", 400, json=document)
        assert (error["error"]["param"], error["error"]["code"]) == (param, code)
    error = await ask(
        http, "POST", "/v1/responses", 404, json={"input": "x", "conversation": "c"}
    )
    assert error["error"]["param"] == "conversation"
    assert http.backend.asks == []


@ensureDeferred
async def test_failure_in_mid_stream_is_kept_and_not_continued(http: HTTP) -> None:
    failure = Failed(ClaudeFailed("it broke"))
    text = await streamed(http, START, TextDelta("half"), failure)
    last = json.loads(events(text)[-2])
    assert last["type"] == "response.failed"
    name = last["response"]["id"]
    kept = await get(http, f"/v1/responses/{name}")
    assert kept == last["response"]
    assert kept["error"]["message"] == "it broke"
    error = await ask(
        http,
        "POST",
        "/v1/responses",
        400,
        json={"input": "x", "previous_response_id": name},
    )
    assert "is failed" in error["error"]["message"]


@ensureDeferred
async def test_pages_of_the_input(http: HTTP) -> None:
    one = await create(http, "one")
    items: Any = [
        {"role": "user", "content": "two"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    two = await create(http, items, previous_response_id=one["id"])
    path = f"/v1/responses/{two['id']}/input_items"
    whole = await get(http, f"{path}?order=asc")
    assert item_list_errors(whole) == []
    assert [item["type"] for item in whole["data"]] == [
        *("message", "message", "message", "function_call"),
        *("function_call_output", "message", "message"),
    ]
    assert whole["data"][1] == one["output"][0]
    names = [item["id"] for item in whole["data"]]
    assert len(set(names)) == 7
    assert (whole["first_id"], whole["last_id"]) == (names[0], names[-1])
    assert not whole["has_more"]
    page = await get(http, f"{path}?limit=2&after={names[5]}")
    assert [item["id"] for item in page["data"]] == [names[4], names[3]]
    assert page["has_more"]
    for query, param in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=msg_none", "after"),
    ):
        error = await get(http, f"{path}?{query}", 400)
        assert error["error"]["param"] == param


@pytest.mark.parametrize("said", [b'"\xff"', b"01", b"1e"])
@ensureDeferred
async def test_field_that_nobody_reads_has_to_be_sound(http: HTTP, said: bytes) -> None:
    body = b'{"input":[{"role":"user","content":"x","f":' + said + b"}]}"
    error = await ask(http, "POST", "/v1/responses", 400, data=body)
    assert error["error"]["code"] == "invalid_request"
    assert http.backend.asks == []


@ensureDeferred
async def test_call_that_was_cut_off_is_left_out_of_the_chain(http: HTTP) -> None:
    pending = http.request("POST", "/v1/responses", json={"input": "one"})
    await until(lambda: http.backend.asks)
    cut: list[Event] = [
        call_start("t", "f"),
        InputJSONDelta('{"a'),
        Finished("max_tokens"),
    ]
    http.backend.asks[-1].tell(*in_blocks([START, TextDelta("look"), *cut]))
    made = await (await pending).json()
    assert made["status"] == "incomplete"
    await create(http, "two", previous_response_id=made["id"])
    assert turns(http.backend.asks[-1]) == [
        ("user", ["one"]),
        ("assistant", ["look"]),
        ("user", ["two"]),
    ]


@ensureDeferred
async def test_item_that_comes_again_has_an_id_of_its_own(http: HTTP) -> None:
    again: Any = [{"role": "user", "content": "x", "id": "msg_a"}] * 2
    one = await create(http, again)
    two = await create(http, again, previous_response_id=one["id"])
    listed = await get(http, f"/v1/responses/{two['id']}/input_items")
    names = [item["id"] for item in listed["data"]]
    assert len(set(names)) == len(names) == 5
