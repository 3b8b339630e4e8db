"""What goes up is read from the provider's prompt cache, as the scripted one counts.

`benchmarks/cache.py` has whole conversations.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock
from tests.support.prompt_cache import Count, PromptCache
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

LONG = "You are careful, and say so in each of these many words. " * 200
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def counted(bodies: Sequence[Mapping[str, Any]]) -> list[Count]:
    """What the cache counts if these requests come one after the other."""
    cache = PromptCache()
    counts = []
    for body in bodies:
        count, begin = cache.look_up(body)
        begin()
        counts.append(count)
    return counts


async def ask(server: RunningProxy, path: str, request: Mapping[str, Any]) -> Any:
    response = await server.post(path, request)
    assert response.code == 200, await response.text()
    return await response.json()


@ensureDeferred
async def test_compaction_reads_the_conversation(
    proxy: Start, upstream: Upstream
) -> None:
    server = proxy()
    request = {"model": "sonnet", "instructions": LONG, "tools": [LOOK]}
    said: list[Any] = [{"role": "user", "content": LONG + "one"}]
    for text in ("two", "three"):
        told = await ask(server, "/v1/responses", {**request, "input": said})
        said += [*told["output"], {"role": "user", "content": text}]
    await ask(server, "/v1/responses/compact", {**request, "input": said[:-1]})
    first, second, compaction = counted(upstream.bodies)
    assert first.read == 0
    assert second.read == first.tokens
    assert compaction.read == second.tokens
    assert upstream.bodies[-1]["tools"] == upstream.bodies[0]["tools"]


@ensureDeferred
async def test_a_request_that_begins_alike_waits_for_the_first(
    proxy: Start, upstream: Upstream
) -> None:
    server = proxy()
    held: Deferred[None] = Deferred()
    upstream.replies(answer("uno", before=held), answer("dos"))
    system = {"role": "system", "content": LONG * 2}
    one, two = (
        Deferred.fromCoroutine(
            ask(
                server,
                "/v1/chat/completions",
                {"messages": [system, {"role": "user", "content": text}]},
            )
        )
        for text in ("one", "two")
    )
    await until(lambda: len(upstream.bodies) == 1 and server.backend.queued == 1)
    held.callback(None)
    await one
    await two
    first, second = counted(upstream.bodies)
    assert second.read > 0.9 * first.tokens


@ensureDeferred
async def test_a_second_question_reads_the_first(
    proxy: Start, upstream: Upstream
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    upstream.replies(answer('{"n": "one"}'), answer('{"n": 1}'))
    request = {
        "model": "sonnet",
        "messages": [
            {"role": "system", "content": LONG},
            {"role": "user", "content": LONG},
        ],
        "response_format": form,
    }
    told = await ask(proxy(), "/v1/chat/completions", request)
    assert json.loads(told["choices"][0]["message"]["content"]) == {"n": 1}
    first, second = counted(upstream.bodies)
    # The proxy's words stand behind the breakpoint.
    assert second.read == first.tokens - first.uncached > 0
    assert second.uncached < 200


@ensureDeferred
async def test_a_required_call_that_is_asked_for_again_reads_the_first(
    proxy: Start, upstream: Upstream
) -> None:
    call = ScriptedBlock(("{}",), tool_use=("toolu_1", "look"))
    upstream.replies(answer("no"), Reply(blocks=(call,), stop_reason="tool_use"))
    request = {
        "model": "sonnet",
        "instructions": LONG,
        "input": LONG,
        "tools": [LOOK],
        "tool_choice": "required",
    }
    await ask(proxy(), "/v1/responses", request)
    first, second = counted(upstream.bodies)
    assert second.read == first.tokens - first.uncached > 0
    assert second.uncached < 200
