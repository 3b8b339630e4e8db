"""The official openai package as the client, on the real CLI."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply
from tests.support.openai_client import client
from tests.support.server import KEY, RunningProxy, Upstream, answer, spoken, system

Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

CONVERSATION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "uno"},
    {"role": "user", "content": [{"type": "text", "text": "two ✓"}]},
]


def assert_native(upstream: Upstream) -> None:
    [body] = upstream.bodies
    assert system(body) == ["Be brief."]
    assert spoken(body) == [
        ("user", ["one"]),
        ("assistant", ["uno"]),
        ("user", ["two ✓"]),
    ]


@ensureDeferred
async def test_sync(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def ask() -> Any:
        with client(server) as api:
            return api.chat.completions.create(model="opus", messages=CONVERSATION)

    completion = await deferToThread(ask)
    assert completion.choices[0].message.content == "one two three"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == 36
    assert completion.model == "claude-opus-5-5"
    assert_native(upstream)


@ensureDeferred
async def test_sync_streamed(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def ask() -> list[Any]:
        with client(server) as api:
            return list(
                api.chat.completions.create(
                    model="sonnet",
                    messages=CONVERSATION,
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )

    chunks = await deferToThread(ask)
    texts = [c.choices[0].delta.content for c in chunks if c.choices]
    assert "".join(text or "" for text in texts) == "one two three"
    assert chunks[-1].usage.prompt_tokens == 16
    assert_native(upstream)


@ensureDeferred
async def test_stream_helper(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def ask() -> Any:
        with (
            client(server) as api,
            api.chat.completions.stream(model="sonnet", messages=CONVERSATION) as s,
        ):
            kinds = [event.type for event in s]
            return kinds, s.get_final_completion()

    kinds, completion = await deferToThread(ask)
    assert kinds.count("content.delta") >= 3
    assert kinds[-1] == "content.done"
    assert completion.choices[0].message.content == "one two three"
    assert_native(upstream)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_async(proxy: Start, upstream: Upstream, stream: bool) -> None:
    server = proxy()

    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY) as api:
            if not stream:
                completion = await api.chat.completions.create(
                    model="haiku", messages=CONVERSATION
                )
                return completion.choices[0].message.content or ""
            chunks = await api.chat.completions.create(
                model="haiku", messages=CONVERSATION, stream=True
            )
            texts = [c.choices[0].delta.content or "" async for c in chunks]
            return "".join(texts)

    assert await deferToThread(lambda: asyncio.run(ask())) == "one two three"
    assert_native(upstream)


@ensureDeferred
async def test_conversation_of_several_turns(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(answer("uno"), answer("dos"), answer("tres"))
    server = proxy()

    def talk() -> list[str]:
        messages: list[Any] = []
        with client(server) as api:
            for text in ("one", "two", "three"):
                messages.append({"role": "user", "content": text})
                completion = api.chat.completions.create(
                    model="sonnet", messages=messages
                )
                messages.append(completion.choices[0].message.model_dump())
        return [m["content"] for m in messages]

    said = await deferToThread(talk)
    assert said == ["one", "uno", "two", "dos", "three", "tres"]
    assert spoken(upstream.bodies[-1]) == [
        ("user", ["one"]),
        ("assistant", ["uno"]),
        ("user", ["two"]),
        ("assistant", ["dos"]),
        ("user", ["three"]),
    ]


@ensureDeferred
async def test_models(proxy: Start) -> None:
    server = proxy()

    def ask() -> tuple[list[str], str, Any]:
        with client(server) as api:
            names = [model.id for model in api.models.list()]
            one = api.models.retrieve("claude-opus-5-5").id
            api.chat.completions.create(model="sonnet", messages=CONVERSATION)
            return names, one, api.models.retrieve("sonnet")

    names, one, sonnet = await deferToThread(ask)
    # The CLI tells the sizes of a model with its answer.
    assert sonnet.context_length == sonnet.context_window > 100_000
    assert 0 < sonnet.max_output_tokens < sonnet.context_length
    assert {"haiku", "sonnet", "opus", "claude-sonnet-5-5"} <= set(names)
    assert len(names) == len(set(names))
    assert one == "claude-opus-5-5"


ERRORS = [
    pytest.param(
        {"api_key": "wrong"},
        {},
        openai.AuthenticationError,
        "invalid_api_key",
        id="key",
    ),
    pytest.param(
        {}, {"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", id="model"
    ),
    pytest.param(
        {},
        {"modalities": ["text", "audio"]},
        openai.BadRequestError,
        "unsupported_value",
        id="field",
    ),
    pytest.param(
        {},
        {"messages": [{"role": "user", "content": "x" * 33 * 2**20}]},
        openai.APIStatusError,
        "request_too_large",
        id="size",
    ),
]


@pytest.mark.parametrize(("options", "fields", "kind", "code"), ERRORS)
@ensureDeferred
async def test_errors_are_what_the_package_knows(
    proxy: Start,
    options: dict[str, Any],
    fields: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
) -> None:
    server = proxy()

    def ask() -> openai.APIStatusError:
        with (
            client(server).with_options(max_retries=0, **options) as api,
            pytest.raises(kind) as caught,
        ):
            api.chat.completions.create(
                **{"model": "sonnet", "messages": CONVERSATION, **fields}
            )
        return caught.value

    error = await deferToThread(ask)
    assert error.code == code
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


@ensureDeferred
async def test_rate_limit_error(proxy: Start, upstream: Upstream) -> None:
    upstream.script(
        Reply(
            status=429,
            error=("rate_limit_error", "slow down"),
            headers={"retry-after": "1"},
        )
    )
    server = proxy()

    def ask() -> openai.RateLimitError:
        with (
            client(server, max_retries=0) as api,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            api.chat.completions.create(model="sonnet", messages=CONVERSATION)
        return caught.value

    error = await deferToThread(ask)
    assert error.code == "rate_limit_exceeded"
    assert float(error.response.headers["retry-after"]) >= 1
