"""Metrics, usage and limits on the real CLI: exactly what the upstream reported."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import treq
from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, words
from ccproxy.store.engine import sqlite_url
from ccproxy.store.inspection import read_usage
from ccproxy.web.access import key_id
from tests.support.mutations import WEATHER
from tests.support.server import KEY, RunningProxy, Upstream, answer
from tests.support.tool_calls import ONE
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
MODEL = "claude-sonnet-5-5"
TOKENS = {"input": 11, "cache_read": 3, "cache_write": 2, "output": 20}


async def metrics(proxy: RunningProxy) -> Mapping[str, float]:
    text = await (await proxy.get("/metrics")).text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines)}


def requests(found: Mapping[str, float]) -> dict[tuple[str, str, str, str], float]:
    counted = {}
    for name, value in found.items():
        if name.startswith("ccproxy_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
            key = (labels["route"], labels["model"], labels["status"], labels["finish"])
            counted[key] = value
    return counted


def tokens(found: Mapping[str, float]) -> dict[str, float]:
    name = 'ccproxy_tokens_total{{kind="{}",model="{}"}}'
    return {kind: found[name.format(kind, MODEL)] for kind in TOKENS}


def cost(found: Mapping[str, float]) -> float:
    return round(found[f'ccproxy_cost_usd_total{{model="{MODEL}"}}'], 9)


def served(found: Mapping[str, float]) -> dict[str, float]:
    name = 'ccproxy_questions_served_total{{served="{}"}}'
    kinds = ("suspended", "idle", "spare", "new")
    return {k: found[name.format(k)] for k in kinds if found[name.format(k)]}


async def usage(proxy: RunningProxy) -> Mapping[str, Any]:
    document: Mapping[str, Any] = await (await proxy.get("/usage?days=2")).json()
    return document


@ensureDeferred
async def test_figures_of_a_session_that_is_used_again(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """The CLI tells one sum for all that it has answered; each is counted once."""
    server = proxy(max_processes=1, spares=0, state_dir=tmp_path)
    await server.ready()
    for question in (["one"], ["one", "two"], ["other"]):
        upstream.script(answer())
        said: list[Any] = [{"role": "user", "content": question[0]}]
        if len(question) > 1:
            said.append({"role": "assistant", "content": "one two three"})
            said.append({"role": "user", "content": question[1]})
        stream = question == ["other"]
        response = await server.chat(*said, stream=stream)
        assert response.code == 200
        await response.content()
    # The CLI is still being rewound when its client has the whole answer.
    await server.settled()
    found = await metrics(server)
    assert requests(found) == {("POST /chat/completions", MODEL, "200", "stop"): 3}
    assert tokens(found) == {kind: 3 * count for kind, count in TOKENS.items()}
    # The CLI has its own list of prices.
    assert cost(found) > 0
    # The first look had it initialized, so that it was as good as a spare.
    assert served(found) == {"spare": 1, "idle": 2}
    assert found["ccproxy_cli_starts_total"] == 1
    assert found['ccproxy_cli_sessions{state="idle"}'] == 1
    first = f'ccproxy_first_token_seconds_count{{model="{MODEL}",served="idle"}}'
    assert found[first] == 2
    assert found["ccproxy_queue_seconds_count"] == 3
    assert found["ccproxy_open_streams"] == 0

    document = await usage(server)
    [line] = document["lines"]
    assert (line["model"], line["key"], line["client"]) == (MODEL, key_id(KEY), "none")
    assert line["answers"] == 3
    assert line["cost_usd"] == cost(found)
    sums = [line[f"{kind}_tokens"] for kind in TOKENS]
    assert sums == [3 * count for count in TOKENS.values()]

    # The table reads the same file, also while the server has it open.
    [(_, totals)] = read_usage(sqlite_url(tmp_path / "responses.sqlite"), "").lines
    assert totals.cost_nanodollars == round(cost(found) * 1e9)


@ensureDeferred
async def test_a_call_has_a_cost_of_its_own(proxy: Start, upstream: Upstream) -> None:
    server = proxy(max_processes=1, spares=0)
    await server.ready()
    upstream.replies(ONE, answer("Sunny."))
    tool = {"type": "function", "function": WEATHER}
    asked = {"role": "user", "content": "Weather in Paris?"}
    first = await (await server.chat(asked, tools=[tool])).json()
    message = first["choices"][0]["message"]
    await server.settled()
    once = cost(await metrics(server))
    assert once > 0
    [call] = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sun"}
    await treq.content(await server.chat(asked, message, result, tools=[tool]))
    found = await metrics(server)
    assert requests(found) == {
        ("POST /chat/completions", MODEL, "200", "tool_use"): 1,
        ("POST /chat/completions", MODEL, "200", "stop"): 1,
        ("GET /metrics", "", "200", "none"): 1,
    }
    assert served(found) == {"spare": 1, "idle": 1}
    assert tokens(found) == {kind: 2 * count for kind, count in TOKENS.items()}
    assert cost(found) == round(2 * once, 9)
    assert (await usage(server))["total"]["cost_usd"] == cost(found)


@ensureDeferred
async def test_retries_and_failures(proxy: Start, upstream: Upstream) -> None:
    server = proxy(max_processes=1, spares=0)
    await server.ready()
    upstream.replies(Reply(status=529, error=("overloaded_error", "busy")), answer())
    await treq.content(await server.chat("hello"))
    upstream.script(Reply(status=400, error=("invalid_request_error", "no")))
    failed = await server.chat("hello")
    await failed.content()
    found = await metrics(server)
    retries = [
        (name, count)
        for name, count in found.items()
        if name.startswith("ccproxy_upstream_retry_delay_seconds_count")
    ]
    name = 'ccproxy_upstream_retry_delay_seconds_count{reason="overloaded"}'
    assert retries == [(name, 1)]
    assert failed.code == 400
    # What failed has no model, and what it used is not known.
    assert tokens(found) == TOKENS
    assert sum(requests(found).values()) == 2
    await until(lambda: server.processes == 0)
    found = await metrics(server)
    assert found['ccproxy_cli_stops_total{cause="unusable"}'] == 1


@ensureDeferred
async def test_limits_of_a_subscription(proxy: Start, upstream: Upstream) -> None:
    """The CLI tells them to those who are logged in, when they change."""
    server = proxy(
        max_processes=1,
        spares=0,
        environment={
            "ANTHROPIC_API_KEY": "",
            "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy",
        },
    )
    await server.ready()
    resets = int(time.time()) + 3600
    unified = "anthropic-ratelimit-unified"
    headers = {
        f"{unified}-status": "allowed",
        f"{unified}-5h-status": "allowed",
        f"{unified}-5h-utilization": "0.62",
        f"{unified}-5h-reset": str(resets),
        f"{unified}-7d-status": "allowed",
        f"{unified}-7d-utilization": "0.31",
        f"{unified}-7d-reset": str(resets + 86_400),
        f"{unified}-representative-claim": "five_hour",
        f"{unified}-reset": str(resets),
    }
    upstream.script(Reply(blocks=(words("one two"),), headers=headers))
    response = await server.chat("hello")
    await response.content()
    assert not [
        name
        for name, _ in response.headers.getAllRawHeaders()
        if name.lower().startswith(b"x-ratelimit")
    ]
    # Older versions do not tell the state of each window.
    told = {
        each["window"]: (each["used"], each["status"] or "allowed", each["resets_at"])
        for each in (await (await server.get("/ready")).json())["rate_limits"]
    }
    assert told == {
        "five_hour": (0.62, "allowed", resets),
        "seven_day": (0.31, "allowed", resets + 86_400),
    }
    found = await metrics(server)
    assert found['ccproxy_rate_limit_used_ratio{window="five_hour"}'] == 0.62
    name = 'ccproxy_rate_limit_reset_timestamp_seconds{window="seven_day"}'
    assert found[name] == resets + 86_400
    kept = {limit["window"] for limit in (await usage(server))["rate_limits"]}
    assert kept == set(told)
