"""The scripted Messages API on the wire."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import pytest_twisted
import treq
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.upstream import Upstream, answer, start_upstream

_REACTOR: Any = reactor
BODY: Mapping[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 9,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}
Event = dict[str, Any]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    api = start_upstream(_REACTOR)
    yield api
    pytest_twisted.blockon(Deferred.fromCoroutine(api.stop()))


async def post(
    upstream: Upstream, body: Mapping[str, Any] = BODY, path: str = "/v1/messages"
) -> tuple[Any, str]:
    headers = Headers({"anthropic-beta": ["a-2026-01-01, b-2026-01-01"]})
    url = f"{upstream.url}{path}"
    response = await treq.post(url, json=body, headers=headers, persistent=False)
    return response, await response.text()


async def stream(upstream: Upstream, reply: Reply) -> list[Event]:
    """The events of an answer."""
    upstream.script(reply)
    _, text = await post(upstream)
    found = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


async def document(upstream: Upstream, reply: Reply) -> Event:
    """The same answer in one piece."""
    upstream.script(reply)
    _, text = await post(upstream, {**BODY, "stream": False})
    found: Event = json.loads(text)
    return found


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


@ensureDeferred
async def test_any_block_streams_as_it_was_written(upstream: Upstream) -> None:
    start = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
    delta = {"type": "input_json_delta", "partial_json": '{"query": "x"}'}
    whole = {**start, "input": {"query": "x"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1"}
    cited = {"type": "citations_delta", "citation": {"type": "char_location"}}
    text = {"type": "text_delta", "text": "so"}
    reply = Reply(
        blocks=(
            ScriptedBlock(raw=start, raw_deltas=(delta,), raw_document=whole),
            ScriptedBlock(raw=result),
            ScriptedBlock(raw={"type": "text", "text": ""}, raw_deltas=(text, cited)),
            ScriptedBlock(raw={"type": "hologram", "data": [1]}),
        )
    )
    events = await stream(upstream, reply)
    starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert starts == [start, result, {"type": "text", "text": ""}, reply.blocks[3].raw]
    deltas = [(e["index"], e["delta"]) for e in events if "index" in e and "delta" in e]
    assert deltas == [(0, delta), (2, text), (2, cited)]
    assert (await document(upstream, reply))["content"][:2] == [whole, result]


@ensureDeferred
async def test_an_empty_answer(upstream: Upstream) -> None:
    assert kinds(await stream(upstream, Reply())) == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert (await document(upstream, Reply()))["content"] == []


@ensureDeferred
async def test_pings_and_events_of_other_kinds(upstream: Upstream) -> None:
    odd = ((1, {"type": "something_new", "x": 1}),)
    reply = Reply(blocks=(words("a b"),), pings=True, raw_events=odd)
    events = await stream(upstream, reply)
    assert kinds(events) == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "ping",
        "something_new",
        "content_block_delta",
        "ping",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    "reason", ["pause_turn", "model_context_window_exceeded", "refusal"]
)
@ensureDeferred
async def test_why_it_ends_and_what_it_used(upstream: Upstream, reason: str) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    used = {
        "input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 1},
        "service_tier": "standard",
    }
    reply = answer(
        stop_reason=reason,
        stop_details=details,
        usage=used,
        final_usage={"server_tool_use": {"web_search_requests": 1}},
        message={"container": {"id": "c"}},
        output_tokens=7,
    )
    events = await stream(upstream, reply)
    message = events[0]["message"]
    assert message["usage"] == {**used, "output_tokens": 1}
    assert message["container"] == {"id": "c"}
    [end] = [event for event in events if event["type"] == "message_delta"]
    assert end["delta"] == {
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": details,
    }
    searched = {"server_tool_use": {"web_search_requests": 1}, "output_tokens": 7}
    assert end["usage"] == searched
    assert (await document(upstream, reply))["usage"] == {**used, **searched}


@ensureDeferred
async def test_where_it_breaks(upstream: Upstream) -> None:
    events = await stream(upstream, evolve(answer("a b"), overload_after=0))
    assert kinds(events) == ["message_start", "error"]
    upstream.script(evolve(answer("a b"), cut_after=1))
    with pytest.raises(ResponseFailed):
        await post(upstream)


@ensureDeferred
async def test_a_count_is_recorded_apart(upstream: Upstream) -> None:
    upstream.api.count_tokens = lambda body: len(body["messages"])
    response, text = await post(upstream, BODY, "/v1/messages/count_tokens?beta=true")
    assert json.loads(text) == {"input_tokens": 1}
    assert response.headers.getRawHeaders("request-id") == ["req_1"]
    assert [count.body for count in upstream.counts] == [BODY]
    _, text = await post(upstream, {}, "/api/hello")
    assert text == "{}"
    assert upstream.api.others == ["POST /api/hello"]
    assert (upstream.bodies, upstream.requests) == ([], [])


@ensureDeferred
async def test_requests_are_recorded_with_their_headers(upstream: Upstream) -> None:
    response, _ = await post(upstream, BODY, "/v1/messages?beta=true")
    assert response.headers.getRawHeaders("request-id") == ["req_1"]
    [request] = upstream.requests
    assert (request.path, request.body) == ("/v1/messages", BODY)
    assert request.headers["content-type"].startswith("application/json")
    assert request.betas == {"a-2026-01-01", "b-2026-01-01"}
    assert upstream.bodies == [BODY]


@ensureDeferred
async def test_what_the_provider_refuses_is_refused(upstream: Upstream) -> None:
    bad = {**BODY, "messages": [], "temperature": 0.5}
    response, text = await post(upstream, bad)
    error = {
        "type": "invalid_request_error",
        "message": "messages: at least one message is required",
    }
    assert (response.code, json.loads(text)) == (400, {"type": "error", "error": error})
    assert [violation.rule for violation in upstream.violations] == [2, 36]
    upstream.api.strict = False
    response, _ = await post(upstream, bad)
    assert response.code == 200
    upstream.reset()
    assert (upstream.violations, upstream.api.strict) == ([], True)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(
    "thought",
    [
        ScriptedBlock(("hm",), is_thinking=True),
        ScriptedBlock(is_thinking=True),
        ScriptedBlock(("hm",), is_thinking=True, signature="c2ln"),
        ScriptedBlock(redacted="c2VjcmV0"),
    ],
)
@ensureDeferred
async def test_thinking_may_come_back_where_it_was(
    upstream: Upstream, thought: ScriptedBlock, is_streamed: bool
) -> None:
    reply = Reply(blocks=(thought, words("so")))
    whole = await document(upstream, reply)
    content = whole["content"]
    if is_streamed and thought.redacted is None:
        events = await stream(upstream, reply)
        deltas = [event.get("delta", {}) for event in events]
        signed = [d["signature"] for d in deltas if "signature" in d]
        assert signed == [content[0]["signature"]]
    turns = [
        *BODY["messages"],
        {"role": "assistant", "content": content},
        {"role": "user", "content": "and?"},
    ]
    response, text = await post(upstream, {**BODY, "messages": turns})
    assert response.code == 200, text
    moved = [{"role": "user", "content": "first"}, *turns]
    response, text = await post(upstream, {**BODY, "messages": moved})
    assert response.code == 400
    assert "bound to a different conversation" in text
    upstream.api.prefix_mismatch = "drop"
    response, _ = await post(upstream, {**BODY, "messages": moved})
    assert response.code == 200


@ensureDeferred
async def test_arguments_that_a_limit_cut(upstream: Upstream) -> None:
    cut = ScriptedBlock(('{"a": "b',), tool_use=("toolu_1", "look"))
    events = await stream(upstream, Reply(blocks=(cut,), stop_reason="max_tokens"))
    assert [e["delta"]["partial_json"] for e in events if "index" in e and "delta" in e]
    whole = await document(upstream, Reply(blocks=(cut,)))
    assert whole["content"][0]["input"] == {}


@ensureDeferred
async def test_nothing_is_said_to_head(upstream: Upstream) -> None:
    """Older CLIs ask so; the server would complain of an answer."""
    with capturedLogs() as told:
        response = await treq.head(f"{upstream.url}/api/hello", persistent=False)
    assert (response.code, upstream.api.others) == (200, ["HEAD /api/hello"])
    assert not [event for event in told if "HEAD" in str(event.get("log_format"))]
