"""Responses that are stored, continued, made in the background, and fetched again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.core.errors import ClaudeFailed, StorageFailed
from ccproxy.core.messages import Text, ToolChoice
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from ccproxy.store.engine import sqlite_url
from ccproxy.store.records import NewResponse
from ccproxy.store.responses import ResponseStore
from ccproxy.store.store import Store
from tests.conftest import ExpectedErrors
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.backend import FINISHED, ScriptedRequest
from tests.support.events import call_start, in_blocks
from tests.support.raw import request
from tests.support.requests import told_content
from tests.support.server import events
from tests.support.spec import (
    item_list_errors,
    response_errors,
    response_event_errors,
)
from tests.support.waiting import until

pytestmark = pytest.mark.threads

START = MessageStart("test-model")
THOUGHT = ThinkingDelta("hm"), SignatureDelta("signed")


async def get(http: HTTP, path: str, code: int = 200, **options: Any) -> Any:
    return await ask(http, "GET", path, code, **options)


async def ask(
    http: HTTP, method: str, path: str, code: int = 200, **options: Any
) -> Any:
    response = await http.request(method, path, **options)
    document = await response.json()
    assert response.code == code, document
    return document


async def create(http: HTTP, text: str = "hello", **fields: Any) -> Any:
    """A response that is over."""
    count = len(http.backend.asks)
    pending = Deferred.fromCoroutine(
        ask(http, "POST", "/v1/responses", json={"input": text, **fields})
    )
    await until(lambda: len(http.backend.asks) > count or pending.called)
    if not pending.called:
        http.backend.asks[-1].answer(f"re: {text}")
    return await pending


async def streamed(http: HTTP, *told: Event) -> str:
    """The whole stream of an answer that is told."""
    count = len(http.backend.asks)
    body = {"input": "hello", "stream": True}
    pending = http.request("POST", "/v1/responses", json=body)
    await until(lambda: len(http.backend.asks) > count)
    # One by one, so that nothing is told in one piece.
    for event in told:
        http.backend.asks[-1].tell(event)
    text: str = await (await pending).text()
    return text


def turns(asked: ScriptedRequest) -> Sequence[tuple[str, list[str]]]:
    """What was asked: roles and texts."""
    return [
        (m.role, [b.value.text for b in m.blocks if isinstance(b.value, Text)])
        for m in asked.request.messages
    ]


# Kept, and asked for again


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


# Continued


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


@pytest.mark.parametrize(
    "item", [b'{"role":"user","content":"x","f":"\xff"}', b'{"role":"user","f":1e999}']
)
@ensureDeferred
async def test_field_that_nobody_reads_has_to_be_sound(http: HTTP, item: bytes) -> None:
    body = b'{"input":[' + item + b"]}"
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


# In the background


async def start(http: HTTP, **fields: Any) -> Any:
    body = {"input": "hello", "background": True, **fields}
    return await ask(http, "POST", "/v1/responses", json=body)


@ensureDeferred
async def test_background_response_goes_its_way_alone(http: HTTP) -> None:
    queued = await start(http)
    assert (queued["status"], queued["background"]) == ("queued", True)
    assert response_errors(queued) == []
    path = f"/v1/responses/{queued['id']}"
    assert (await get(http, path))["status"] == "queued"
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    asked.tell(START, TextDelta("half"))
    assert (await get(http, path))["status"] == "in_progress"
    asked.tell(FINISHED)
    done = await get(http, path)
    while done["status"] == "in_progress":
        done = await get(http, path)
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0]["text"] == "half"
    assert response_errors(done) == []
    await create(http, "two", previous_response_id=queued["id"])
    assert turns(http.backend.asks[-1])[1] == ("assistant", ["half"])


@ensureDeferred
async def test_background_stream_outlives_its_client(http: HTTP) -> None:
    client = await http.connect()
    body = json.dumps({"input": "hello", "background": True, "stream": True}).encode()
    client.send(request("POST", "/v1/responses", body, authorization=AUTHORIZATION))
    await client.expect(b"response.queued")
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    asked.tell(START, TextDelta("one"))
    await client.expect(b"one")
    name = client.received.partition(b'"id":"')[2].partition(b'"')[0].decode()
    client.abort()
    asked.tell(TextDelta(" two"))
    assert not asked.cancelled
    # Somebody else, or the same one again, goes on from where they were.
    again = await http.request(
        "GET", f"/v1/responses/{name}?stream=true&starting_after=2"
    )
    asked.tell(TextDelta(" three"), FINISHED)
    told = [json.loads(data) for data in events(await again.text())[:-1]]
    assert [event["sequence_number"] for event in told] == list(range(3, 3 + len(told)))
    assert told[-1]["type"] == "response.completed"
    text = told[-1]["response"]["output"][0]["content"][0]["text"]
    assert text == "one two three"
    whole = await http.request("GET", f"/v1/responses/{name}?stream=true")
    heard = [json.loads(data) for data in events(await whole.text())[:-1]]
    assert [event["type"] for event in heard[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert heard[3:] == told


@ensureDeferred
async def test_client_that_leaves_while_it_is_queued_leaves_no_orphan(
    http: HTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, held, begun = ResponseStore.begin, Deferred[None](), []

    async def slow(self: ResponseStore, new: Any) -> None:
        await begin(self, new)
        begun.append(new.id)
        await held

    monkeypatch.setattr(ResponseStore, "begin", slow)
    client = await http.connect()
    body = json.dumps({"input": "hello", "background": True}).encode()
    client.send(request("POST", "/v1/responses", body, authorization=AUTHORIZATION))
    await until(lambda: begun)
    client.abort()
    await client.lost()
    held.callback(None)
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].answer("done")
    kept = await get(http, f"/v1/responses/{begun[0]}")
    while kept["status"] in ("queued", "in_progress"):
        kept = await get(http, f"/v1/responses/{begun[0]}")
    assert kept["status"] == "completed"


@pytest.mark.parametrize("after", [None, 0, 5, 10**9])
@ensureDeferred
async def test_end_of_an_abandoned_response_is_told_from_anywhere(
    http: HTTP, tmp_path: Path, expected_errors: ExpectedErrors, after: int | None
) -> None:
    made = await create(http)
    other = Store(
        url=lambda: sqlite_url(tmp_path / "responses.sqlite"),
        reactor=reactor,
        wall_seconds=lambda: 1700000000.0,
        keep_time=None,
        keep_size=None,
    )
    document = {**made, "id": "resp_gone", "status": "queued", "output": []}
    await other.responses.begin(
        NewResponse(
            id="resp_gone",
            created_seconds=1700000000,
            status="in_progress",
            document=json.dumps(document).encode(),
            is_background=True,
            previous_id=None,
            conversation_id=None,
            input=(),
        )
    )
    await other.stop()
    expected_errors.allow("1 responses were left unfinished")
    query = "" if after is None else f"&starting_after={after}"
    response = await http.request("GET", f"/v1/responses/resp_gone?stream=true{query}")
    told = [json.loads(data) for data in events(await response.text())[:-1]]
    first = 0 if after is None else after + 1
    numbers = [event["sequence_number"] for event in told]
    assert numbers == list(range(first, first + len(told)))
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"] == await get(http, "/v1/responses/resp_gone")
    assert all(response_event_errors(event) == [] for event in told)


@pytest.mark.parametrize("begun", [False, True])
@ensureDeferred
async def test_background_response_can_be_cancelled(http: HTTP, begun: bool) -> None:
    queued = await start(http)
    path = f"/v1/responses/{queued['id']}"
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    if begun:
        asked.tell(START, TextDelta("half"))
    cancelled = await ask(http, "POST", f"{path}/cancel")
    assert cancelled["status"] == "cancelled"
    assert asked.cancelled
    assert response_errors(cancelled) == []
    assert [len(item["content"]) for item in cancelled["output"]] == [1] * begun
    assert await get(http, path) == cancelled
    # Once more is no mistake.
    assert await ask(http, "POST", f"{path}/cancel") == cancelled
    stream = await http.request("GET", f"{path}?stream=true")
    last = json.loads(events(await stream.text())[-2])
    assert last["type"] == "response.failed"
    assert last["response"] == cancelled


@ensureDeferred
async def test_only_background_responses_can_be_cancelled(http: HTTP) -> None:
    made = await create(http)
    error = await ask(http, "POST", f"/v1/responses/{made['id']}/cancel", 400)
    assert "not a background one" in error["error"]["message"]


@ensureDeferred
async def test_deleting_a_running_response_ends_it(http: HTTP) -> None:
    queued = await start(http)
    await until(lambda: http.backend.asks)
    await ask(http, "DELETE", f"/v1/responses/{queued['id']}")
    assert http.backend.asks[-1].cancelled
    await get(http, f"/v1/responses/{queued['id']}", 404)


@ensureDeferred
async def test_failure_in_the_background_is_found(http: HTTP) -> None:
    queued = await start(http)
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].tell(Failed(ClaudeFailed("it broke")))
    kept = await get(http, f"/v1/responses/{queued['id']}")
    while kept["status"] in ("queued", "in_progress"):
        kept = await get(http, f"/v1/responses/{queued['id']}")
    assert kept["status"] == "failed"
    assert kept["error"] == {"code": "server_error", "message": "it broke"}


@ensureDeferred
async def test_fault_in_the_background_is_an_end_too(
    http: HTTP, monkeypatch: pytest.MonkeyPatch, expected_errors: ExpectedErrors
) -> None:
    queued = await start(http)
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    asked.tell(START)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    expected_errors.allow("a fault of ours")
    with monkeypatch.context() as patch:
        patch.setattr("ccproxy.api.responses.stream.ResponseStream._delta", fail)
        asked.tell(TextDelta("x"))
    kept = await get(http, f"/v1/responses/{queued['id']}")
    while kept["status"] in ("queued", "in_progress"):
        kept = await get(http, f"/v1/responses/{queued['id']}")
    assert kept["status"] == "failed"
    assert "a fault of ours" not in json.dumps(kept)


# A store that does not do its part


def break_store(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StorageFailed("the proxy's database failed")

    for name in names:
        monkeypatch.setattr(ResponseStore, name, fail)


@ensureDeferred
async def test_answer_that_cannot_be_kept_is_an_error(
    http: HTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(http)
    break_store(monkeypatch, "save")
    pending = http.request("POST", "/v1/responses", json={"input": "two"})
    await until(lambda: len(http.backend.asks) == 2)
    http.backend.asks[-1].answer("uno")
    response = await pending
    assert response.code == 500
    error = (await response.json())["error"]
    assert error["code"] == "storage_failed"
    assert (await create(http, store=False))["status"] == "completed"


@ensureDeferred
async def test_stream_that_cannot_be_kept_fails_at_its_end(
    http: HTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(http)
    break_store(monkeypatch, "save")
    text = await streamed(http, START, TextDelta("uno"), TextDelta(" dos"), FINISHED)
    told = [json.loads(data) for data in events(text)[:-1]]
    # The answer was told as it came; only its end is another.
    deltas = [event["delta"] for event in told if "delta" in event]
    assert "".join(deltas) == "uno dos"
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert "database failed" in told[-1]["response"]["error"]["message"]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@ensureDeferred
async def test_background_response_that_cannot_be_kept_is_not_stuck(
    http: HTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(http)
    with monkeypatch.context() as patch:
        break_store(patch, "begin")
        error = await ask(
            http, "POST", "/v1/responses", 500, json={"input": "x", "background": True}
        )
        assert error["error"]["code"] == "storage_failed"
    assert len(http.backend.asks) == 1
    queued = await start(http)
    path = f"/v1/responses/{queued['id']}"
    await until(lambda: len(http.backend.asks) == 2)
    with monkeypatch.context() as patch:
        break_store(patch, "finish")
        http.backend.asks[-1].answer("uno")
        failed = await get(http, path)
        while failed["status"] in ("queued", "in_progress"):
            failed = await get(http, path)
        assert failed["status"] == "failed"
        kept = await http.store.responses.get(queued["id"])
        assert kept is not None
        assert kept.status in ("queued", "in_progress")
        http.clock.advance(5)
    # The store is told as soon as it listens again.
    http.clock.advance(5)
    while kept is not None and kept.status != "failed":
        kept = await http.store.responses.get(queued["id"])
    assert (await get(http, path))["status"] == "failed"


@ensureDeferred
async def test_input_tokens_are_not_guessed(http: HTTP) -> None:
    error = await ask(
        http, "POST", "/v1/responses/input_tokens", 501, json={"input": "x"}
    )
    assert error["error"]["code"] == "not_supported"


# Compaction


@ensureDeferred
async def test_conversation_becomes_one_item(http: HTTP) -> None:
    one = await create(http, "one")
    body = {"model": "sonnet", "previous_response_id": one["id"]}
    pending = http.request("POST", "/v1/responses/compact", json=body)
    await until(lambda: len(http.backend.asks) == 2)
    asked = http.backend.asks[-1]
    assert turns(asked)[:2] == [("user", ["one"]), ("assistant", ["re: one"])]
    assert turns(asked)[2][1][0].startswith("Summarize this whole conversation")
    asked.answer("They said one.")
    compacted = await (await pending).json()
    [item] = compacted["output"]
    assert compacted["object"] == "response.compaction"
    assert compacted["usage"]["total_tokens"] == 5
    assert "They said" not in json.dumps(compacted)
    await create(http, [item, {"role": "user", "content": "go on"}])  # type: ignore[arg-type]
    [(role, [summary]), last] = turns(http.backend.asks[-1])
    assert role == "user"
    assert summary.endswith("\n\nThey said one.")
    assert last == ("user", ["go on"])


@ensureDeferred
async def test_compaction_reads_the_cache_of_the_conversation(http: HTTP) -> None:
    """What the cache depends on stays, and no tool may be called."""
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    body = {
        "model": "sonnet",
        "input": "one",
        "instructions": "Be brief.",
        "tools": [tool],
        "tool_choice": "required",
    }
    pending = http.request("POST", "/v1/responses/compact", json=body)
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1].request
    assert [offered.value.name for offered in asked.tools] == ["look"]
    assert asked.tool_choice == ToolChoice("none")
    assert asked.system == "Be brief."
    http.backend.asks[-1].answer("They said one.")
    assert (await pending).code == 200


@ensureDeferred
async def test_compaction_without_a_summary_is_an_error(http: HTTP) -> None:
    body = {"model": "sonnet", "input": "one"}
    pending = http.request("POST", "/v1/responses/compact", json=body)
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].tell(START, Finished("end_turn"))
    response = await pending
    assert response.code == 502
