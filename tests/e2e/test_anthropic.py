"""The official anthropic package as the client, on the real CLI."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from ccproxy.claude.process.binary import read_version
from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.comparison import differences
from tests.support.mutations import WEATHER
from tests.support.server import KEY, RunningProxy, Upstream, answer
from tests.support.tool_calls import BASH, ONE, TWO, call, calls, native
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

MODEL = "claude-sonnet-5-5"
CONVERSATION: Any = {
    "model": "sonnet",
    "max_tokens": 4321,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "uno"},
        {"role": "user", "content": [{"type": "text", "text": "two ✓"}]},
    ],
}
TOOLS: Any = [
    {
        "name": tool["name"],
        "description": "What it does.",
        "input_schema": tool["parameters"],
    }
    for tool in (WEATHER, BASH)
]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
THOUGHT = ScriptedBlock(("Let me", " think."), is_thinking=True, signature="c2ln")
ADAPTIVE: Any = {"type": "adaptive"}


def client(server: RunningProxy, **options: Any) -> anthropic.Anthropic:
    # A retry is for a test to ask for.
    about = {"base_url": server.url, "api_key": KEY, "max_retries": 0, **options}
    return anthropic.Anthropic(**about)


def question(text: str = "hello", **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return {"model": "sonnet", "max_tokens": 99, "messages": messages, **fields}


async def create(server: RunningProxy, **fields: Any) -> Any:
    def ask() -> Any:
        with client(server) as api:
            return api.messages.create(**fields)

    return await deferToThread(ask)


def assert_as_sent(upstream: Upstream, sent: Any) -> None:
    """One request went up, and it is what the client sent."""
    [body] = upstream.bodies
    assert differences(sent, body) == []


@ensureDeferred
async def test_create(proxy: Start, upstream: Upstream) -> None:
    message = await create(proxy(), **CONVERSATION)
    [block] = message.content
    assert (block.type, block.text) == ("text", "one two three")
    assert (message.role, message.model) == ("assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id.startswith("msg_")
    assert message._request_id.startswith("req_")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 20)
    assert usage.cache_read_input_tokens == 3
    assert usage.cache_creation_input_tokens == 2
    assert_as_sent(upstream, CONVERSATION)


@ensureDeferred
async def test_the_key_as_x_api_key(proxy: Start) -> None:
    server = proxy()

    def ask() -> Any:
        headers: Any = {"x-api-key": KEY, "authorization": anthropic.Omit()}
        with client(server) as api:
            return api.messages.create(**question(), extra_headers=headers)

    assert (await deferToThread(ask)).content[0].text == "one two three"


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_async(proxy: Start, upstream: Upstream, stream: bool) -> None:
    server = proxy()

    async def ask() -> str:
        about: Any = {"base_url": server.url, "api_key": KEY}
        async with anthropic.AsyncAnthropic(**about) as api:
            if not stream:
                message: Any = await api.messages.create(**CONVERSATION)
                text: str = message.content[0].text
                return text
            async with api.messages.stream(**CONVERSATION) as events:
                return "".join([text async for text in events.text_stream])

    assert await deferToThread(lambda: asyncio.run(ask())) == "one two three"
    assert_as_sent(upstream, CONVERSATION)


@ensureDeferred
async def test_events_come_in_their_order(proxy: Start, upstream: Upstream) -> None:
    upstream.script(calls(THOUGHT, words("Let me look."), *TWO.blocks))
    server = proxy()

    def ask() -> list[Any]:
        with client(server) as api:
            fields = question(stream=True, tools=TOOLS, thinking=ADAPTIVE)
            return list(api.messages.create(**fields))

    events = await deferToThread(ask)
    assert events[0].type == "message_start"
    assert events[0].message.usage.input_tokens == 11
    assert [e.type for e in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2].delta.stop_reason == "tool_use"
    opened = [e.content_block.type for e in events if e.type == "content_block_start"]
    assert opened == ["thinking", "text", "tool_use", "tool_use"]
    assert [e.index for e in events if e.type == "content_block_stop"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("reply", "fields"),
    [
        (answer(), {}),
        (answer("a\u2028b \U0001f600 c"), {}),
        (TWO, {"tools": TOOLS}),
        (Reply(blocks=(THOUGHT, words("So it is."))), {"thinking": ADAPTIVE}),
        (
            Reply(blocks=(THOUGHT, words("So it is."))),
            {"thinking": {"type": "adaptive", "display": "omitted"}},
        ),
        (
            Reply(blocks=(ScriptedBlock(redacted="cmVk"), words("So."))),
            {"thinking": ADAPTIVE},
        ),
        (answer(stop_reason="max_tokens"), {}),
        (answer(stop_reason="refusal"), {}),
        (
            answer(stop_reason="stop_sequence", stop_sequence="X"),
            {"stop_sequences": ["X"]},
        ),
    ],
)
@ensureDeferred
async def test_a_stream_accumulates_to_the_message(
    proxy: Start, upstream: Upstream, reply: Reply, fields: Any
) -> None:
    upstream.script(reply)
    server = proxy()

    def ask() -> tuple[Any, Any]:
        with client(server) as api:
            whole = api.messages.create(**question(**fields))
            with api.messages.stream(**question(**fields)) as stream:
                return whole, stream.get_final_message()

    whole, streamed = await deferToThread(ask)
    told = [message.model_dump(exclude={"id"}) for message in (whole, streamed)]
    for block in told[1]["content"]:
        # The helper's own.
        block.pop("parsed_output", None)
    assert told[0] == told[1]
    assert whole.stop_reason == reply.stop_reason
    assert whole.stop_sequence == reply.stop_sequence


@ensureDeferred
async def test_thinking_is_shown_to_who_asks(proxy: Start, upstream: Upstream) -> None:
    upstream.script(Reply(blocks=(THOUGHT, words("So it is."))))
    server = proxy()
    quiet = await create(server, **question())
    assert [block.type for block in quiet.content] == ["text"]
    shown = await create(server, **question(thinking=ADAPTIVE))
    assert [block.type for block in shown.content] == ["thinking", "text"]
    assert shown.content[0].thinking == "Let me think."
    assert shown.content[0].signature == "c2ln"


@ensureDeferred
async def test_thinking_is_asked_for_by_the_models_name(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.script(Reply(blocks=(THOUGHT, words("So it is."))))
    server = proxy()
    shown = await create(
        server, **question(model="claude-haiku-4-5-thinking", max_tokens=5000)
    )
    assert [block.type for block in shown.content] == ["thinking", "text"]
    hidden = await create(server, **question(model="claude-haiku-4-5", max_tokens=5000))
    assert [block.type for block in hidden.content] == ["text"]
    off = question(model="haiku-thinking", thinking={"type": "disabled"})
    hidden = await create(server, **off)
    assert [block.type for block in hidden.content] == ["text"]
    thinking = [body.get("thinking", {}).get("type") for body in upstream.bodies]
    assert thinking[0] in ("adaptive", "enabled")
    assert thinking[-1] == "disabled"


@ensureDeferred
async def test_thinking_given_back_with_its_signature(
    proxy: Start, upstream: Upstream
) -> None:
    redacted = ScriptedBlock(redacted="cmVk")
    first = Reply(blocks=(THOUGHT, redacted, words("So it is.")))
    upstream.replies(first, answer())
    server = proxy()
    message = await create(server, **question(thinking=ADAPTIVE))
    history: list[Any] = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [b.to_dict() for b in message.content]},
        {"role": "user", "content": "and now?"},
    ]
    assert history[1]["content"] == [
        {"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": "So it is."},
    ]
    upstream.bodies.clear()
    fields = question(thinking=ADAPTIVE, messages=history)
    await create(server, **fields)
    assert_as_sent(upstream, fields)


@ensureDeferred
async def test_thinking_that_a_client_leaves_out_is_put_back(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(calls(THOUGHT, *ONE.blocks), answer("done"))
    server = proxy()
    fields: Any = question(tools=TOOLS)
    message = await create(server, **fields)
    assert [block.type for block in message.content] == ["text", "tool_use"]
    fields["messages"] += [
        {"role": "assistant", "content": [b.to_dict() for b in message.content]},
        {"role": "user", "content": [result("toolu_1", "sunny")]},
    ]
    upstream.bodies.clear()
    await create(server, **fields)
    thought = {"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"}
    told = [dict(turn) for turn in fields["messages"]]
    told[1]["content"] = [thought, *told[1]["content"]]
    assert_as_sent(upstream, {**fields, "messages": told})


def result(identifier: str, content: Any, **fields: Any) -> Any:
    about = {"type": "tool_result", "tool_use_id": identifier}
    return {**about, "content": content, **fields}


@ensureDeferred
async def test_tools_and_results(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(TWO, answer("done"))
    server = proxy()
    fields: Any = question(tools=TOOLS, tool_choice={"type": "auto"})
    message = await create(server, **fields)
    assert message.stop_reason == "tool_use"
    assert [(b.id, b.name, b.input) for b in message.content] == [
        ("toolu_1", "get_weather", {"city": "Paris"}),
        ("toolu_2", "get_weather", {"city": "Oslo"}),
    ]
    image = {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": "image/png",
            "data": b64encode(PNG).decode(),
        },
    }
    results = [
        # In their own order, as they came.
        result("toolu_2", "no such city", is_error=True),
        result("toolu_1", [{"type": "text", "text": "sunny"}, image]),
    ]
    fields["messages"] += [
        {"role": "assistant", "content": [b.to_dict() for b in message.content]},
        {"role": "user", "content": results},
    ]
    assert_as_sent(upstream, {**fields, "messages": fields["messages"][:1]})
    upstream.bodies.clear()
    last = await create(server, **fields)
    assert last.content[0].text == "done"
    assert_as_sent(upstream, fields)


@ensureDeferred
async def test_choices_reach_the_model(proxy: Start, upstream: Upstream) -> None:
    server = proxy()
    upstream.script(ONE)
    forced = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    message = await create(server, **question(tools=TOOLS, tool_choice=forced))
    assert message.stop_reason == "tool_use"
    # This model refuses to be forced, so that it is told in words.
    [body] = upstream.bodies
    assert body["tools"] == TOOLS
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "call of the tool `get_weather`" in body["messages"][-1]["content"]
    upstream.reset()
    fields = question(tools=TOOLS, tool_choice={"type": "none"})
    await create(server, **fields)
    assert_as_sent(upstream, fields)


@ensureDeferred
async def test_a_model_that_can_be_forced_is(proxy: Start, upstream: Upstream) -> None:
    upstream.script(calls(call("toolu_1", "Oslo")))
    any_of_them = {"type": "any", "disable_parallel_tool_use": True}
    fields = {
        **question(tools=TOOLS, tool_choice=any_of_them),
        "model": "older",
    }
    server = proxy(model_map=(("older", "claude-opus-4-8"),))
    message = await create(server, **fields)
    assert message.stop_reason == "tool_use"
    assert upstream.bodies[0]["model"] == "claude-opus-4-8"
    assert_as_sent(upstream, fields)


@ensureDeferred
async def test_images_and_documents(proxy: Start, upstream: Upstream) -> None:
    blocks: Any = [
        {
            "type": "image",
            "source": {"type": "url", "url": "https://example.org/cat.png"},
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a\nb"},
            "title": "notes",
            "context": "taken in a hurry",
            "citations": {"enabled": False},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "text", "text": "What is that?"},
    ]
    fields = question(messages=[{"role": "user", "content": blocks}])
    await create(proxy(), **fields)
    assert_as_sent(upstream, fields)


CITATION = {
    "type": "web_search_result_location",
    "url": "https://x.org",
    "title": "X",
    "cited_text": "sunny",
    "encrypted_index": "ZQ==",
}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "weather"},
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://x.org",
            "title": "X",
            "encrypted_content": "ZQ==",
            "page_age": None,
        }
    ],
}
CITED = {"type": "text", "text": "It is sunny.", "citations": [CITATION]}
SEARCHED = Reply(
    blocks=(
        ScriptedBlock(
            raw={"type": "text", "text": "", "citations": []},
            raw_deltas=(
                {"type": "citations_delta", "citation": CITATION},
                {"type": "text_delta", "text": "It is sunny."},
            ),
            raw_document=CITED,
        ),
        ScriptedBlock(
            raw={**SEARCH, "input": {}},
            raw_deltas=(
                {"type": "input_json_delta", "partial_json": '{"query": '},
                {"type": "input_json_delta", "partial_json": '"weather"}'},
            ),
            raw_document=SEARCH,
        ),
        ScriptedBlock(raw=FOUND),
    ),
    stop_reason="pause_turn",
    final_usage={"server_tool_use": {"web_search_requests": 1}},
    message={"container": {"id": "c", "expires_at": "2026-11-28T00:00:00Z"}},
    final_fields={"context_management": {"applied_edits": []}},
)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_a_search_by_the_provider(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.script(SEARCHED)
    server = proxy()
    search: Any = {"type": "web_search_20260209", "name": "web_search", "max_uses": 2}
    fields = question("How is the weather?", tools=[search, *TOOLS])

    def ask() -> Any:
        with client(server) as api:
            if not stream:
                return api.messages.create(**fields)
            with api.messages.stream(**fields) as events:
                return events.get_final_message()

    message = await deferToThread(ask)
    told = [block.to_dict() for block in message.content]
    assert told == [CITED, SEARCH, FOUND]
    assert message.stop_reason == "pause_turn"
    assert message.usage.server_tool_use.web_search_requests == 1
    assert message.container.id == "c"
    if not stream:
        # The SDK's stream reads this field with the interface of betas only.
        assert message.to_dict()["context_management"] == {"applied_edits": []}
    assert_as_sent(upstream, fields)
    # It goes on when it is given all that back.
    upstream.reset()
    turn = {"role": "assistant", "content": told}
    again = {**fields, "messages": [*fields["messages"], turn]}
    await create(server, **again)
    assert_as_sent(upstream, again)


@ensureDeferred
async def test_effort_and_a_schema(proxy: Start, upstream: Upstream) -> None:
    upstream.script(answer('{"city": "Oslo"}'))
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    config: Any = {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    fields = question(output_config=config)
    message = await create(proxy(fresh=True), **fields)
    assert json.loads(message.content[0].text) == {"city": "Oslo"}
    assert message.stop_reason == "end_turn"
    assert_as_sent(upstream, fields)
    assert upstream.bodies[0]["output_config"] == config


@ensureDeferred
async def test_tool_runner(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(ONE, answer("It is sunny."))
    server = proxy()
    asked: list[str] = []
    refusals: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: where.
        """
        asked.append(city)
        return "sunny"

    def note(response: Any) -> None:
        if response.status_code == 400:
            response.read()
            refusals.append(response.json()["error"]["details"]["error_code"])

    def run() -> Any:
        http = anthropic.DefaultHttpxClient(event_hooks={"response": [note]})
        with client(server, http_client=http) as api:
            fields = question("How is Paris?", tools=[get_weather])
            return api.beta.messages.tool_runner(**fields).until_done()

    message = await deferToThread(run)
    assert message.content[0].text == "It is sunny."
    assert asked == ["Paris"]
    # It has asked for a thread once, and then has sent all.
    assert refusals == ["thread_unsupported_request"]
    turns = [role for role, _ in native(upstream.bodies[-1])]
    assert turns == ["user", "assistant", "user"]


@ensureDeferred
async def test_models(proxy: Start) -> None:
    server = proxy()

    def ask() -> tuple[list[Any], Any]:
        with client(server) as api:
            return list(api.models.list(limit=2)), api.models.retrieve("opus")

    models, opus = await deferToThread(ask)
    names = [model.id for model in models]
    assert {"haiku", "sonnet", "opus"} <= {*names}
    assert len({*names}) == len(names) > 2
    assert (opus.id, opus.type, opus.display_name) == ("opus", "model", "opus")
    assert opus.created_at.year == 1970


def failing(status: int, kind: str) -> Reply:
    return Reply(status=status, error=(kind, "so it is"))


TOO_LARGE = [{"role": "user", "content": "x" * 34_000_000}]
ERRORS = [
    ({"model": "gpt-4o"}, answer(), anthropic.NotFoundError, "not_found_error"),
    ({"messages": []}, answer(), anthropic.BadRequestError, "invalid_request_error"),
    (
        {"messages": TOO_LARGE},
        answer(),
        anthropic.ContentTooLargeError,
        "request_too_large",
    ),
    (
        {"stream": True},
        failing(429, "rate_limit_error"),
        anthropic.RateLimitError,
        "rate_limit_error",
    ),
    (
        {},
        failing(529, "overloaded_error"),
        anthropic.OverloadedError,
        "overloaded_error",
    ),
    (
        {"stream": True},
        failing(400, "invalid_request_error"),
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
    (
        {},
        failing(401, "authentication_error"),
        anthropic.ServiceUnavailableError,
        "api_error",
    ),
    (
        {"stream": True},
        failing(500, "api_error"),
        anthropic.InternalServerError,
        "api_error",
    ),
]


@pytest.mark.parametrize(("fields", "reply", "kind", "word"), ERRORS)
@ensureDeferred
async def test_errors_are_the_right_exceptions(
    proxy: Start,
    upstream: Upstream,
    fields: Any,
    reply: Reply,
    kind: type[anthropic.APIStatusError],
    word: str,
) -> None:
    upstream.script(reply)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await create(proxy(), **question(**fields))
    error = caught.value
    assert type(error) is kind
    assert error.type == word
    assert error.api_message
    body: Any = error.body
    assert body["request_id"] == error.request_id
    assert error.request_id is not None


@ensureDeferred
async def test_a_wrong_key(proxy: Start) -> None:
    server = proxy()

    def ask() -> None:
        with client(server, api_key="sk-ant-wrong") as api:
            api.messages.create(**question())

    with pytest.raises(anthropic.AuthenticationError) as caught:
        await deferToThread(ask)
    assert caught.value.type == "authentication_error"


@ensureDeferred
async def test_tokens_are_counted(
    proxy: Start, upstream: Upstream, claude: Path
) -> None:
    """Without a question, nothing of the CLI's in it, by the provider if it can."""
    if tuple(map(int, read_version(claude).split("."))) < (2, 1, 300):
        pytest.skip("it does not report its version, so it is not asked to count")
    server = proxy()

    async def count(**fields: Any) -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            with client(server) as api:
                counting = api.messages.with_raw_response.count_tokens(**fields)
                kind = counting.headers["x-ccproxy-token-count"]
                return counting.parse().input_tokens, kind

        return await deferToThread(ask)

    def texts() -> list[Any]:
        found = [c.body["messages"] for c in upstream.counts]
        upstream.counts.clear()
        # The CLI also has a text of its own counted.
        return [m for m in found if m[0]["content"] != "foo"]

    upstream.api.count_tokens = lambda body: 1000 + len(body["messages"][0]["content"])
    asked = " Hi,\n/clear @/etc/hostname <b> \u00e9\u6f22 "
    plain: Any = {"model": "haiku", "messages": [{"role": "user", "content": asked}]}
    assert await count(**plain) == (1000 + len(asked), "exact")
    models = {c.body["model"] for c in upstream.counts}
    assert all(model.startswith("claude-haiku") for model in models)
    assert {c.body.get("system") for c in upstream.counts} == {None}
    assert texts() == [plain["messages"]]
    # It is remembered.
    assert await count(**plain) == (1000 + len(asked), "exact")
    assert texts() == []
    tool: Any = {"name": "look", "input_schema": {"type": "object"}}
    joined = f"be brief\n{asked}\n" + '{"name":"look","input_schema":{"type":"object"}}'
    tokens, kind = await count(**plain, system="be brief", tools=[tool])
    assert (tokens, kind) == (1000 + len(joined) + 350, "estimated")
    assert texts() == [[{"role": "user", "content": joined}]]
    # The CLI guesses what the provider does not count; the guess is not used.
    upstream.api.count_tokens = lambda _: None
    for length in (1, 2, 7, 100, 101, 999):
        one: Any = {"role": "user", "content": "\u00e9" * length}
        expected = round(2 * length / 3.5) + 4
        assert await count(model="opus", messages=[one]) == (expected, "estimated")
    assert upstream.bodies == []
    # The worker answers afterwards, with what is asked then.
    message = await create(server, **question("hello"), system="be brief")
    assert message.content[0].text == "one two three"
    [body] = upstream.bodies
    assert body["messages"][0]["content"][0]["text"] == "hello"
    assert body["system"][-1]["text"] == "be brief"


@ensureDeferred
async def test_an_error_within_a_stream(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    cut = answer("one two three", hold_after=2, held=held, cut_after=2)
    upstream.replies(cut, answer("other words"))
    server = proxy()
    seen: list[str] = []

    def ask() -> None:
        with client(server) as api, api.messages.stream(**question()) as stream:
            seen.extend(stream.text_stream)

    asked = deferToThread(ask)
    await until(lambda: "".join(seen) == "one two")
    held.callback(None)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await asked
    assert caught.value.type == "api_error"
    assert "does not continue" in (caught.value.api_message or "")
    assert "".join(seen) == "one two"


SEARCHING: Any = {
    "name": "ToolSearch",
    "description": "Finds tools.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}
DEFERRED: Any = {
    "name": "create_page",
    "description": "Makes a page.",
    "defer_loading": True,
    "input_schema": {"type": "object"},
}


@ensureDeferred
async def test_tools_that_a_tool_of_the_clients_has_found(
    proxy: Start, upstream: Upstream
) -> None:
    """Claude Code's way: a tool named as one of its own tells which are loaded."""
    server = proxy()
    used = ScriptedBlock(('{"query": "page"}',), tool_use=("toolu_1", "ToolSearch"))
    upstream.script(Reply(blocks=(used,), stop_reason="tool_use"))
    fields = question("make a page", tools=[SEARCHING, DEFERRED])
    message = await create(server, **fields)
    [block] = message.content
    assert (block.name, block.input) == ("ToolSearch", {"query": "page"})
    assert_as_sent(upstream, fields)
    upstream.reset()
    found = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "tool_reference", "tool_name": "create_page"}],
    }
    fields["messages"] += [
        {"role": "assistant", "content": [block.to_dict()]},
        {"role": "user", "content": [found]},
    ]
    await create(server, **fields)
    assert_as_sent(upstream, fields)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_a_call_with_a_number_beyond_all_others(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    """It is JSON; that JavaScript makes ``null`` of it is named when it comes back."""
    server = proxy()
    used = ScriptedBlock(('{"n": 1e400}',), tool_use=("toolu_1", TOOLS[0]["name"]))
    upstream.script(Reply(blocks=(used,), stop_reason="tool_use"))
    fields = question("how many?", tools=TOOLS)
    response = await server.post("/v1/messages", {**fields, "stream": stream})
    text = await response.text()
    assert response.code == 200
    assert "1e400" in text
    upstream.reset()
    turn = b'{"type":"tool_use","id":"toolu_1","name":"%s","input":{"n":1e400}}'
    turn %= TOOLS[0]["name"].encode()
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "many"}
    fields["messages"] += [
        {"role": "assistant", "content": ["TURN"]},
        {"role": "user", "content": [result]},
    ]
    body = json.dumps(fields).encode().replace(b'"TURN"', turn)
    response = await server.post("/v1/messages", body)
    assert response.code == 200
    adjusted = response.headers.getRawHeaders("x-ccproxy-adjusted")
    assert adjusted == ["messages[1].content[0].input"]
    assert await response.json()
    assert native(upstream.bodies[0])[1][1][0]["input"] == {"n": None}
