"""The provider's web search for clients of OpenAI's APIs, on the real CLI.

The scripted API searches as the provider does: it pauses the answer after the call, and
cites what it has found.
"""

from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.chunks import chunks_of
from tests.support.openai_client import client
from tests.support.server import KEY, RunningProxy, Upstream
from tests.support.spec import (
    chunk_errors,
    document_errors,
    response_errors,
    response_event_errors,
)

Start = Callable[..., RunningProxy]

SHARED = {"server_tools": ("web_search",)}
QUESTION = {"role": "user", "content": "How is the weather?"}
MORE = {"role": "user", "content": "And tomorrow?"}
URL = "https://weather.example/oslo"
CITATION = {
    "type": "web_search_result_location",
    "url": URL,
    "title": "Oslo",
    "cited_text": "sunny",
    "encrypted_index": "ZW5jIGluZGV4",
}
CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "weather 😀 Oslo"},
}
PAGE = {
    "type": "web_search_result",
    "url": URL,
    "title": "Oslo",
    "encrypted_content": "ZW5jIGNvbnRlbnQ=",
    "page_age": None,
}
FOUND: dict[str, Any] = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [PAGE],
}
FAILED = {
    **FOUND,
    "content": {
        "type": "web_search_tool_result_error",
        "error_code": "max_uses_exceeded",
    },
}
BEFORE, CITED = "I look 😀 it up. ", "It is sunny 🌞."
CITED_BLOCK = {"type": "text", "text": CITED, "citations": [CITATION]}
TEXT = f"{BEFORE}{CITED} Fine."


def calling() -> ScriptedBlock:
    pieces = ('{"query": "wea', 'ther 😀 Oslo"}')
    return ScriptedBlock(
        raw={**CALL, "input": {}},
        raw_deltas=tuple(
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces
        ),
        raw_document=CALL,
    )


def searched() -> Reply:
    """What follows the call."""
    cited = ScriptedBlock(
        raw={"type": "text", "text": "", "citations": []},
        raw_deltas=(
            {"type": "text_delta", "text": CITED[:5]},
            {"type": "citations_delta", "citation": CITATION},
            {"type": "text_delta", "text": CITED[5:]},
        ),
        raw_document=CITED_BLOCK,
    )
    return Reply(
        blocks=(ScriptedBlock(raw=FOUND), cited, words(" Fine.")),
        final_usage={"server_tool_use": {"web_search_requests": 1}},
    )


PAUSED = Reply(blocks=(words(BEFORE), calling()), stop_reason="pause_turn")


def script(body: Mapping[str, Any]) -> Reply:
    last = body["messages"][-1]
    return searched() if last["role"] == "assistant" else PAUSED


def answer_in(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of the assistant's turn, without breakpoints."""
    [turn] = [m for m in body["messages"] if m["role"] == "assistant"]
    return [
        {k: v for k, v in b.items() if k != "cache_control"} for b in turn["content"]
    ]


WHOLE = [
    {"type": "text", "text": BEFORE},
    CALL,
    FOUND,
    CITED_BLOCK,
    {"type": "text", "text": " Fine."},
]


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_responses(proxy: Start, upstream: Upstream, stream: bool) -> None:
    upstream.script(script)
    server = proxy(**SHARED)
    place = {"type": "approximate", "city": "Oslo", "country": "NO"}
    tool: Any = {
        "type": "web_search",
        "filters": {"allowed_domains": ["weather.example"]},
        "user_location": place,
    }
    own: Any = {"type": "function", "name": "web_search", "parameters": None}
    fields: dict[str, Any] = {
        "model": "opus",
        "tools": [own, tool],
        "include": ["web_search_call.action.sources"],
        "max_tool_calls": 3,
        "store": False,
    }

    def ask(given: Any) -> Any:
        with client(server) as api:
            if not stream:
                return api.responses.create(input=given, **fields)
            told = list(api.responses.create(input=given, stream=True, **fields))
            for event in told:
                assert response_event_errors(event.to_dict()) == []
            return told[-1].response

    response = await deferToThread(ask, [QUESTION])
    document = response.to_dict()
    assert response_errors(document) == []
    before, search, message = document["output"]
    assert before["content"][0]["text"] == BEFORE
    assert search["status"] == "completed"
    assert search["action"]["query"] == "weather 😀 Oslo"
    assert search["action"]["sources"] == [{"type": "url", "url": URL}]
    [part] = message["content"]
    [note] = part["annotations"]
    assert part["text"][note["start_index"] : note["end_index"]] == CITED
    assert (note["url"], note["title"]) == (URL, "Oslo")
    # The usage is the sum of both parts.
    assert document["usage"]["output_tokens"] == 40
    first, second = upstream.bodies
    *_, sent = first["tools"]
    names = [each["name"] for each in first["tools"]]
    assert len(set(names)) == 2
    assert sent == {
        "type": "web_search_20260209",
        "name": "web_search",
        "allowed_callers": ["direct"],
        "allowed_domains": ["weather.example"],
        "max_uses": 3,
        "user_location": place,
    }
    assert second["tools"] == first["tools"]
    assert second["messages"][:-1] == first["messages"]
    assert answer_in(second) == WHOLE[:2]
    # What was found goes back, encrypted contents too.
    upstream.reset()
    upstream.script(script)
    given = [QUESTION, *(item.to_dict() for item in response.output), MORE]
    await deferToThread(ask, given)
    assert answer_in(upstream.bodies[0]) == WHOLE


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_chat_completions(proxy: Start, upstream: Upstream, stream: bool) -> None:
    upstream.script(script)
    server = proxy(**SHARED)
    place = {"type": "approximate", "approximate": {"city": "Oslo"}}
    fields: dict[str, Any] = {
        "model": "opus",
        "web_search_options": {"user_location": place, "search_context_size": "low"},
    }

    def ask(messages: Any) -> Any:
        with client(server) as api:
            if not stream:
                made = api.chat.completions.create(messages=messages, **fields)
                assert document_errors(made.to_dict()) == []
                return made
            with api.chat.completions.stream(messages=messages, **fields) as told:
                for event in told:
                    if event.type == "chunk":
                        assert chunk_errors(event.chunk.to_dict()) == []
                return told.get_final_completion()

    message = (await deferToThread(ask, [QUESTION])).choices[0].message.to_dict()
    assert message["content"] == TEXT
    [note] = message["annotations"]
    cited = note["url_citation"]
    assert TEXT[cited["start_index"] : cited["end_index"]] == CITED
    assert cited["url"] == URL
    first, second = upstream.bodies
    [tool] = first["tools"]
    assert tool["user_location"] == {"type": "approximate", "city": "Oslo"}
    assert answer_in(second) == WHOLE[:2]
    # What was found goes back, encrypted contents too.
    upstream.reset()
    upstream.script(script)
    turn = {"role": "assistant", "content": TEXT, "annotations": [note]}
    response = await server.chat(QUESTION, turn, MORE, **fields)
    assert answer_in(upstream.bodies[0]) == WHOLE
    named = response.headers.getRawHeaders("x-ccproxy-ignored")
    assert named == ["web_search_options.search_context_size"]
    # It is left out if the conversation is another one, and then it is named.
    upstream.reset()
    upstream.script(script)
    other = {"role": "user", "content": "How is it?"}
    response = await server.chat(other, turn, MORE, **fields)
    [named] = response.headers.getRawHeaders("x-ccproxy-ignored")
    assert "messages[1].annotations" in named
    assert answer_in(upstream.bodies[0]) == [{"type": "text", "text": TEXT}]


@ensureDeferred
async def test_a_messages_client_continues_itself(
    proxy: Start, upstream: Upstream
) -> None:
    """The client has asked for the raw API, whose SDKs go on after a pause."""
    upstream.script(script)
    server = proxy(**SHARED)

    def ask(*messages: Any, model: str = "opus", **fields: Any) -> Any:
        with anthropic.Anthropic(base_url=server.url, api_key=KEY) as api:
            about: Any = {"model": model, "max_tokens": 5000, "messages": messages}
            return api.messages.create(**about, **fields)

    tool: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    paused = await deferToThread(ask, QUESTION, tools=[tool])
    assert paused.stop_reason == "pause_turn"
    content = [block.to_dict() for block in paused.content]
    assert [tool] == upstream.bodies[0]["tools"]
    turn = {"role": "assistant", "content": content}
    done = await deferToThread(ask, QUESTION, turn, tools=[tool])
    assert [block.to_dict() for block in done.content] == WHOLE[2:]
    assert done.usage.server_tool_use.web_search_requests == 1
    # The name of the model asks for the same.
    upstream.reset()
    upstream.script(script)
    await deferToThread(ask, QUESTION, model="opus:online")
    assert [t["name"] for t in upstream.bodies[0]["tools"]] == ["web_search"]


@ensureDeferred
async def test_an_error_of_the_search_is_told_and_pauses_have_an_end(
    proxy: Start, upstream: Upstream
) -> None:
    failing = (calling(), ScriptedBlock(raw=FAILED))
    upstream.script(Reply(blocks=(*failing, words("I could not."))))
    server = proxy(**SHARED)
    search = {"type": "web_search"}
    response = await server.post("/v1/responses", {"input": "x", "tools": [search]})
    item, _ = (await response.json())["output"]
    assert (item["status"], item["error"]) == ("failed", {"code": "max_uses_exceeded"})
    response = await server.chat("x", tools=[search])
    [choice] = (await response.json())["choices"]
    error = {"tool": "web_search", "code": "max_uses_exceeded"}
    assert choice["message"]["server_tool_errors"] == [error]
    response = await server.chat("x", tools=[search], stream=True)
    told = [chunk["choices"][0]["delta"] for chunk in chunks_of(await response.text())]
    [errors] = [d["server_tool_errors"] for d in told if "server_tool_errors" in d]
    assert errors == [{"index": 0, **error}]
    upstream.reset()
    upstream.script(PAUSED)
    response = await server.chat("x", web_search_options={})
    [choice] = (await response.json())["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["native_finish_reason"] == "pause_turn"
    assert choice["message"]["content"] == BEFORE * 11
    assert len(upstream.bodies) == 11


@ensureDeferred
async def test_it_is_off_by_default(proxy: Start, upstream: Upstream) -> None:
    response = await proxy().chat("x", web_search_options={"filters": {}})
    named = response.headers.getRawHeaders("x-ccproxy-ignored")
    assert named == ["web_search_options"]
    assert upstream.bodies[0]["tools"] == []
