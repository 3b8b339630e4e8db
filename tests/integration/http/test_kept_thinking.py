"""Stored thinking of Responses is sent only where the provider takes it.

The provider's rules are those of the scripted Messages API: its signatures are bound
to the model and to everything that stands before them.
"""

import json
from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import (
    Event,
    Finished,
    InputJSONDelta,
    MessageStart,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from tests.integration.http.conftest import HTTP
from tests.support.backend import FINISHED, ScriptedBackend, ScriptedQuestion
from tests.support.composed import BETAS, OPUS, composed, upstream
from tests.support.events import call_start, in_blocks
from tests.support.provider_rules import violations
from tests.support.provider_thinking import sign
from tests.support.waiting import until

pytestmark = pytest.mark.threads

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
OTHER = {**LOOK, "description": "Look at it closely."}
SEALS = "reasoning.encrypted_content"
FIRST: dict[str, Any] = {"instructions": "Be brief.", "tools": [LOOK]}


@pytest.fixture(autouse=True)
def composing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions have the prefix that the composer finds."""
    plainly = ScriptedBackend.prepare

    async def prepare(
        self: ScriptedBackend, request: MessagesRequest, *, owner: str = ""
    ) -> ScriptedQuestion:
        question = await plainly(self, request, owner=owner)
        return evolve(question, prefix=composed(request, OPUS).prefix)

    monkeypatch.setattr(ScriptedBackend, "prepare", prepare)


def body_of(request: MessagesRequest) -> dict[str, Any]:
    """What would go up."""
    return upstream(composed(request, OPUS).body, OPUS)


def thinking_of(body: dict[str, Any]) -> list[str]:
    """The thinking that goes up."""
    blocks = [b for m in body["messages"] for b in m["content"] if isinstance(b, dict)]
    return [block["thinking"] for block in blocks if block["type"] == "thinking"]


async def respond(
    http: HTTP, said: Any, *answer: Event, thinks: str = "", **fields: Any
) -> tuple[Any, dict[str, Any]]:
    """A response, and the body that would go up for it, which the provider takes."""
    count = len(http.backend.asks)
    document = {"input": said, **fields}
    pending = http.request("POST", "/v1/responses", json=document)
    await until(lambda: len(http.backend.asks) > count)
    asked = http.backend.asks[-1]
    body = body_of(asked.request)
    assert violations(body, betas=BETAS) == []
    thought = (ThinkingDelta(thinks), SignatureDelta(sign(body, []))) if thinks else ()
    asked.tell(*in_blocks([MessageStart(OPUS), *thought, *answer]))
    response = await pending
    made = await response.json()
    assert response.code == 200, made
    return made, body


@pytest.mark.parametrize(
    ("changes", "stays"),
    [
        ({}, ["one"]),
        ({"instructions": "Be loud."}, []),
        ({"instructions": None}, []),
        ({"tools": [OTHER]}, []),
        ({"tools": None}, []),
    ],
)
@ensureDeferred
async def test_chain_whose_beginning_changes(
    http: HTTP, changes: dict[str, Any], stays: list[str]
) -> None:
    said = TextDelta("uno"), FINISHED
    one, _ = await respond(http, "one", *said, thinks="one", **FIRST)
    fields = {**FIRST, **changes, "previous_response_id": one["id"]}
    two, body = await respond(http, "two", *said, thinks="two", **fields)
    assert thinking_of(body) == stays
    # What was thought behind the new beginning is good behind it.
    fields["previous_response_id"] = two["id"]
    _, body = await respond(http, "three", *said, **fields)
    assert thinking_of(body) == [*stays, "two"]
    # Back at the old one, only what was thought behind that is.
    fields = {**FIRST, "previous_response_id": two["id"]}
    _, body = await respond(http, "three", *said, **fields)
    assert thinking_of(body) == (["one", "two"] if not changes else ["one"])


@pytest.mark.parametrize("stores", [True, False])
@ensureDeferred
async def test_thinking_of_a_tool_loop(http: HTTP, stores: bool) -> None:
    """With and without a store: the seal is in the item."""
    called = (
        *(call_start("toolu_1", "look"), InputJSONDelta('{"at": [1.0, "é"]}')),
        Finished("tool_use"),
    )
    given: list[Any] = [{"role": "user", "content": "one"}]
    fields: dict[str, Any] = {**FIRST, "store": stores}
    fields["include"] = [SEALS]
    one, _ = await respond(http, given, *called, thinks="one", **fields)
    *_, call = one["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
    said = TextDelta("uno"), FINISHED
    given += [*one["output"], result]
    two, body = await respond(http, given, *said, thinks="two", **fields)
    assert thinking_of(body) == ["one"]
    given += [*two["output"], {"role": "user", "content": "two"}]
    _, body = await respond(http, given, *said, **fields)
    assert thinking_of(body) == ["one", "two"]
    _, body = await respond(http, given, *said, **{**fields, "tools": [OTHER]})
    assert thinking_of(body) == []


@ensureDeferred
async def test_history_that_the_client_has_changed(http: HTTP) -> None:
    """What was thought before the change still fits, what came after it does not."""
    said = TextDelta("uno"), FINISHED
    fields: dict[str, Any] = {"store": False, "include": [SEALS]}
    given: list[Any] = [{"role": "user", "content": "one"}]
    one, _ = await respond(http, given, *said, thinks="one", **fields)
    given += [*one["output"], {"role": "user", "content": "two"}]
    two, _ = await respond(http, given, *said, thinks="two", **fields)
    given += [*two["output"], {"role": "user", "content": "three"}]
    given[len(one["output"]) + 1] = {"role": "user", "content": "another two"}
    _, body = await respond(http, given, *said, **fields)
    assert json.dumps(body["messages"]).count("another two") == 1
    assert thinking_of(body) == ["one"]
