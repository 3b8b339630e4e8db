"""``POST /responses/compact``, and ``POST /responses/input_tokens``."""

import json

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from ccproxy.core.blocks import tool_use_block
from ccproxy.core.messages import ToolChoice
from ccproxy.core.stream import ContentBlockStart, ContentBlockStop, Finished
from tests.integration.http.conftest import HTTP
from tests.integration.http.responses import START, ask, create, turns
from tests.support.backend import FINISHED
from tests.support.spec import input_tokens_errors
from tests.support.waiting import until

pytestmark = pytest.mark.threads


@ensureDeferred
async def test_input_tokens_of_a_whole_conversation(http: HTTP) -> None:
    one = await create(http, "one")
    body = {
        "instructions": "be brief",
        "input": "two",
        "previous_response_id": one["id"],
        "seed": 1,
    }
    response = await http.request("POST", "/v1/responses/input_tokens", json=body)
    document = await response.json()
    assert document == {"object": "response.input_tokens", "input_tokens": 7}
    assert input_tokens_errors(document) == []
    assert response.headers.getRawHeaders("x-ccproxy-token-count") == ["exact"]
    assert response.headers.getRawHeaders("x-ccproxy-ignored") == ["seed"]
    [(request, _)] = http.backend.counted
    texts = [json.loads(b.raw)["text"] for m in request.messages for b in m.blocks]
    assert (request.system, texts) == ("be brief", ["one", "re: one", "two"])
    body = {"input": "x", "previous_response_id": "resp_0"}
    error = await ask(http, "POST", "/v1/responses/input_tokens", 400, json=body)
    assert error["error"]["code"] == "previous_response_not_found"
    assert len(http.backend.asks) == 1


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
    """What the cache depends on stays; a call is answered by a second request."""
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
    assert asked.tool_choice == ToolChoice("auto")
    assert asked.system == "Be brief."
    called = ContentBlockStart(tool_use_block("toolu_1", "look", {}))
    stopped = Finished("tool_use", usage=FINISHED.usage)
    http.backend.asks[-1].tell(START, called, ContentBlockStop(), stopped)
    await until(lambda: len(http.backend.asks) == 2)
    again = http.backend.asks[-1].request
    assert again == evolve(asked, tool_choice=ToolChoice("none"))
    http.backend.asks[-1].answer("They said one.")
    response = await pending
    assert response.code == 200
    assert (await response.json())["usage"]["total_tokens"] == 10


@ensureDeferred
async def test_compaction_without_a_summary_is_an_error(http: HTTP) -> None:
    body = {"model": "sonnet", "input": "one"}
    pending = http.request("POST", "/v1/responses/compact", json=body)
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].tell(START, Finished("end_turn"))
    response = await pending
    assert response.code == 502
