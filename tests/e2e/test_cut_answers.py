"""Answers that the upstream cuts, on the real CLI."""

import json
from collections.abc import Callable

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.support.chunks import chunks_of, text_of
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

WHOLE = "one two three four five"


@ensureDeferred
async def test_the_whole_second_answer(proxy: Start, upstream: Upstream) -> None:
    first = answer("something else entirely that was cut", cut_after=3)
    upstream.replies(first, answer(WHOLE))
    response = await proxy().chat("hello")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == WHOLE
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"]["prompt_tokens"] == 16
    assert len(upstream.bodies) == 2


async def stream(proxy: Start, upstream: Upstream, first: str, **cut: int) -> str:
    """Stream an answer whose upstream is cut when the client has three words."""
    held: Deferred[None] = Deferred()
    upstream.replies(answer(first, hold_after=3, held=held, **cut), answer(WHOLE))
    response = await proxy().chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b'" three"' in b"".join(received))
    held.callback(None)
    await done
    return b"".join(received).decode()


@ensureDeferred
async def test_a_stream_goes_on_where_it_was(proxy: Start, upstream: Upstream) -> None:
    text = await stream(proxy, upstream, "one two three and so on", cut_after=3)
    assert len(upstream.bodies) == 2
    assert text_of(chunks_of(text)) == WHOLE
    assert text.endswith("data: [DONE]\n\n")


@ensureDeferred
async def test_a_stream_that_would_contradict_itself_ends_with_an_error(
    proxy: Start, upstream: Upstream
) -> None:
    text = await stream(proxy, upstream, "another two three four", cut_after=3)
    assert len(upstream.bodies) == 2
    *told, last = events(text)
    assert text_of([json.loads(data) for data in told]) == "another two three"
    assert json.loads(last)["error"]["code"] == "claude_failed"
    assert "does not continue" in json.loads(last)["error"]["message"]
    assert "[DONE]" not in text


@ensureDeferred
async def test_a_provider_that_is_overloaded_in_mid_answer_is_told(
    proxy: Start, upstream: Upstream
) -> None:
    """The CLI would ask for an answer in one piece then: an unannounced request."""
    upstream.script(answer(WHOLE, overload_after=3))
    response = await proxy().chat("hello")
    assert response.code == 503
    assert (await response.json())["error"]["code"] == "overloaded"
    assert len(upstream.bodies) == 1
    text = await stream(proxy, upstream, "one two three and so on", overload_after=3)
    assert len(upstream.bodies) == 2
    *told, last = events(text)
    assert text_of([json.loads(data) for data in told]) == "one two three"
    assert json.loads(last)["error"]["code"] == "overloaded"
    assert "[DONE]" not in text
