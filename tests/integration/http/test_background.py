"""Responses in the background: run, streamed, cancelled, and a failing database."""

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.core.errors import Cause, ClaudeFailed, StorageFailed
from ccproxy.core.stream import (
    Failed,
    TextDelta,
)
from ccproxy.store.engine import sqlite_url
from ccproxy.store.records import NewResponse
from ccproxy.store.responses import ResponseStore
from ccproxy.store.store import Store
from tests.conftest import ExpectedErrors
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.integration.http.responses import START, ask, create, get, streamed, turns
from tests.support.backend import FINISHED
from tests.support.raw import request
from tests.support.server import events
from tests.support.spec import (
    response_errors,
    response_event_errors,
)
from tests.support.waiting import until

pytestmark = pytest.mark.threads


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
    assert "not a background response" in error["error"]["message"]


@ensureDeferred
async def test_deleting_a_running_response_ends_it(http: HTTP) -> None:
    queued = await start(http)
    await until(lambda: http.backend.asks)
    await ask(http, "DELETE", f"/v1/responses/{queued['id']}")
    assert http.backend.asks[-1].cancelled
    await get(http, f"/v1/responses/{queued['id']}", 404)


@ensureDeferred
async def test_failure_in_the_background_is_found(
    http: HTTP, request_lines: list[str]
) -> None:
    queued = await start(http)
    await until(lambda: http.backend.asks)
    lost = ClaudeFailed("it broke", cause=Cause.PROCESS_ENDED)
    http.backend.asks[-1].tell(Failed(lost))
    kept = await get(http, f"/v1/responses/{queued['id']}")
    while kept["status"] in ("queued", "in_progress"):
        kept = await get(http, f"/v1/responses/{queued['id']}")
    assert kept["status"] == "failed"
    assert kept["error"] == {"code": "server_error", "message": "it broke"}
    await until(lambda: any(queued["id"] in line for line in request_lines))
    [line] = [line for line in request_lines if line.startswith(queued["id"])]
    assert " 502 claude_failed (process_ended) " in line


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
        patch.setattr("ccproxy.api.responses.output.stream.ResponseStream._delta", fail)
        asked.tell(TextDelta("x"))
    kept = await get(http, f"/v1/responses/{queued['id']}")
    while kept["status"] in ("queued", "in_progress"):
        kept = await get(http, f"/v1/responses/{queued['id']}")
    assert kept["status"] == "failed"
    assert "a fault of ours" not in json.dumps(kept)


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
