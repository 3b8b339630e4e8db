"""The demo server in this process, with the real CLI."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.server.demo import demo_script
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]


@ensureDeferred
async def test_demo_asks_nobody_else(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    response = await proxy(demo=True).chat("What is this?", model="opus")
    document = await response.json()
    text = document["choices"][0]["message"]["content"]
    assert "demo: a script answers" in text
    assert "claude-opus-5-5" in text
    assert "“What is this?”" in text
    assert document["usage"]["completion_tokens"] > 40
    assert upstream.bodies == []
    # Not even the CLI's own files go into the user's home.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["a " * 50, [{"type": "text", "text": "a " * 50}]])
def test_demo_quotes_only_the_beginning(content: object) -> None:
    turn = {"role": "user", "content": content}
    reply = demo_script({"model": "m", "messages": [turn]})
    text = "".join(reply.blocks[0].deltas)
    assert "“" + "a " * 12 + "…”" in text


@pytest.mark.parametrize(
    ("fields", "end", "told"),
    [
        ({}, "end_turn", "answers."),
        ({"max_tokens": 3}, "max_tokens", "Hello! This is"),
        ({"stop_sequences": ["never", " ccproxy", "demo"]}, "stop_sequence", "the"),
        ({"stop_sequences": ["demo"], "max_tokens": 1}, "max_tokens", "Hello!"),
    ],
)
def test_demo_keeps_to_limits(fields: dict[str, Any], end: str, told: str) -> None:
    turn = {"role": "user", "content": "x"}
    reply = demo_script({"model": "m", "messages": [turn], **fields})
    [block] = reply.blocks
    assert "".join(block.deltas).endswith(told)
    assert (reply.stop_reason, reply.output_tokens) == (end, len(block.deltas))
    assert reply.stop_sequence == (" ccproxy" if end == "stop_sequence" else None)
