"""The scripted prompt cache counts as the provider's does."""

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.server.fake_upstream import RecordedRequest
from tests.support.prompt_cache import (
    CachingAPI,
    Count,
    PromptCache,
    blocks,
    minimum_tokens,
)
from tests.support.upstream import answer

LONG = "word " * 2000
TTLS = {"5m": {"type": "ephemeral"}, "1h": {"type": "ephemeral", "ttl": "1h"}}


def text(said: str, ttl: str | None = None) -> dict[str, Any]:
    marker = {} if ttl is None else {"cache_control": TTLS[ttl]}
    return {"type": "text", "text": said, **marker}


def body(*said: Any, **fields: Any) -> dict[str, Any]:
    told = [text(s) if isinstance(s, str) else s for s in said]
    messages = [{"role": "user", "content": told}]
    return {"model": "claude-sonnet-5-5", "messages": messages, **fields}


def ask(cache: PromptCache, request: Mapping[str, Any]) -> Count:
    count, begin = cache.look_up(request)
    begin()
    return count


def test_what_was_written_is_read() -> None:
    cache = PromptCache()
    first = ask(cache, body(text(LONG, "5m")))
    assert (first.read, first.uncached) == (0, 0)
    assert first.cost == 1.25 * first.tokens
    second = ask(cache, body(LONG, text("more", "5m"), "end"))
    assert second.read == first.tokens
    new = second.written["5m"]
    assert second.tokens == second.read + new + second.uncached
    assert second.cost == 0.1 * second.read + 1.25 * new + second.uncached
    assert second.usage["cache_read_input_tokens"] == second.read


def test_an_entry_is_there_when_its_answer_begins() -> None:
    cache = PromptCache()
    _, begin = cache.look_up(body(text(LONG, "5m")))
    assert ask(PromptCache(), body(text(LONG, "5m"))).read == 0
    assert cache.look_up(body(text(LONG, "5m")))[0].read == 0
    begin()
    assert cache.look_up(body(text(LONG, "5m")))[0].read > 0


@pytest.mark.parametrize(("between", "is_found"), [(19, True), (20, False)])
def test_a_breakpoint_looks_twenty_blocks_back(between: int, is_found: bool) -> None:
    cache = PromptCache()
    ask(cache, body(text(LONG, "5m")))
    more = [f"block {n}" for n in range(between - 1)]
    assert (ask(cache, body(LONG, *more, text("end", "5m"))).read > 0) is is_found


@pytest.mark.parametrize(("ttl", "price"), [("5m", 1.25), ("1h", 2.0)])
def test_an_entry_lives_from_its_last_use(ttl: str, price: float) -> None:
    cache, seconds = PromptCache(), {"5m": 300.0, "1h": 3600.0}[ttl]
    request = body(text(LONG, ttl))
    first = ask(cache, request)
    assert first.cost == price * first.tokens
    for _ in range(3):
        cache.now += seconds - 1
        assert ask(cache, request).read == first.tokens
    cache.now += seconds
    assert ask(cache, request).read == 0


def test_a_short_beginning_is_not_written() -> None:
    assert minimum_tokens("claude-opus-4-6") == 4096
    assert minimum_tokens("claude-opus-5-5") == 512
    assert ask(PromptCache(), body(text("short", "5m"))).written == {}


@pytest.mark.parametrize(
    "change",
    [
        {"tool_choice": {"type": "none"}},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "low"}},
    ],
)
def test_some_changes_lose_the_messages_only(change: dict[str, Any]) -> None:
    cache = PromptCache()
    fields = {"system": [text(LONG, "5m")]}
    ask(cache, body(text(LONG, "5m"), **fields))
    system = blocks(body("a", **fields))[0].tokens
    assert ask(cache, body(text(LONG, "5m"), **fields, **change)).read == system


@pytest.mark.parametrize(
    "change",
    [
        {"model": "claude-opus-5-5"},
        {"tools": [{"name": "look"}]},
        {"output_config": {"format": {"type": "json_schema"}}},
    ],
)
def test_other_changes_lose_everything(change: dict[str, Any]) -> None:
    cache = PromptCache()
    fields = {"system": [text(LONG, "5m")]}
    ask(cache, body(text(LONG, "5m"), **fields))
    assert ask(cache, body(text(LONG, "5m"), **{**fields, **change})).read == 0


def test_the_attribution_counts_behind_a_gateway_only() -> None:
    def told(code: str) -> dict[str, Any]:
        attribution = text(f"x-anthropic-billing-header: cc_version=2.{code};")
        return body("a", system=[attribution, text(LONG, "5m")])

    for is_gateway in (False, True):
        cache = PromptCache(counts_attribution=is_gateway)
        ask(cache, told("a"))
        assert (ask(cache, told("b")).read == 0) is is_gateway


def test_the_automatic_breakpoint_costs_what_one_at_the_last_block_does() -> None:
    own, automatic = PromptCache(), PromptCache()
    for number in range(1, 4):
        said = [f"{LONG} {n}" for n in range(number)]
        marked = body(*said[:-1], text(said[-1], "5m"))
        top = body(*said, cache_control=TTLS["5m"])
        assert ask(own, marked) == ask(automatic, top)


def test_the_api_tells_what_its_cache_has_counted() -> None:
    clock: Any = Clock()
    api = CachingAPI(clock, PromptCache(), strict=False)
    held: Deferred[None] = Deferred()
    api.script = lambda _: answer(before=held)
    request = RecordedRequest("/v1/messages", {}, body(text(LONG, "5m")))
    assert api.reply_to(request).usage["cache_creation_input_tokens"] > 2000
    assert api.reply_to(request).usage["cache_read_input_tokens"] == 0
    held.callback(None)
    assert api.reply_to(request).usage["cache_read_input_tokens"] > 2000
    assert [count.read > 0 for count in api.counted] == [False, False, True]
