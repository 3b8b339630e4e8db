"""What the proxy hands out it takes back, on the real CLI.

``tests/unit/api/test_taken_back.py`` tries many more answers, without a CLI.
``CCPROXY_FUZZ=100`` tries more than the suite has time for.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import Deferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock
from tests.support import scripted_answers
from tests.support.blocking import in_greenlet
from tests.support.naming import named
from tests.support.scripted_answers import FALLBACK, SIGNATURE, UNKNOWN, ScriptedAnswer
from tests.support.sdk_clients import (
    ChatClient,
    MessagesClient,
    ResponsesClient,
    SDKClient,
)
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.taken_back import handed_out, held

Start = Callable[..., RunningProxy]

TRIES = int(os.environ.get("CCPROXY_FUZZ", "9"))
CLIENTS = (ChatClient(), ResponsesClient(), MessagesClient({"type": "adaptive"}))
_USAGE = {"output_tokens": 20}


@st.composite
def answers(draw: st.DrawFn) -> ScriptedAnswer:
    """Answers that are whole, of blocks that the scripted provider knows."""
    drawn = draw(scripted_answers.scripted_answers())
    unknown = (UNKNOWN["type"], FALLBACK["type"])
    kept = [block for block in drawn.blocks if block.type not in unknown]
    return evolve(
        drawn, blocks=tuple(kept), usage=_USAGE, reason=drawn.reason or "end_turn"
    )


def reply(said: ScriptedAnswer) -> Reply:
    return Reply(
        blocks=tuple(
            ScriptedBlock(
                raw=block.start,
                raw_deltas=block.deltas,
                raw_document=_document(block.start),
            )
            for block in said.blocks
        ),
        stop_reason=said.reason or "",
        stop_sequence=said.stop.get("stop_sequence"),
        stop_details=said.stop.get("stop_details"),
        output_tokens=20,
    )


def _document(start: Mapping[str, Any]) -> Mapping[str, Any]:
    is_thinking = start["type"] == "thinking"
    return {**start, "signature": SIGNATURE} if is_thinking else start


@ensureDeferred
async def test_taken_back(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    @settings(
        max_examples=TRIES,
        deadline=None,
        suppress_health_check=tuple(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(answers(), st.sampled_from(CLIENTS), st.booleans())
    def check(said: ScriptedAnswer, client: SDKClient, stream: bool) -> None:
        taken_back = _taken_back(server, upstream, said, client, stream=stream)
        blockon(Deferred.fromCoroutine(taken_back))

    await in_greenlet(check)


async def _taken_back(
    server: RunningProxy,
    upstream: Upstream,
    said: ScriptedAnswer,
    client: SDKClient,
    *,
    stream: bool,
) -> None:
    upstream.reset()
    upstream.replies(reply(said), answer("Fine."))
    asked = {**json.loads(client.first()), "stream": stream}
    response = await server.post(client.path, asked)
    text = await response.text()
    assert response.code == 200, text
    told = [json.loads(data) for data in events(text) if data != "[DONE]"]
    got = client.read_stream(told) if stream else client.read(json.loads(text))
    assert got is not None
    handed_out(said, got, client)
    response = await server.post(client.path, client.second(got))
    assert response.code == 200, await response.text()
    held(got, upstream.bodies[-1], named(response.headers) or ())
    assert upstream.violations == []


@ensureDeferred
async def test_halves_of_a_pair_in_two_deltas(proxy: Start, upstream: Upstream) -> None:
    upstream.script(Reply(blocks=(ScriptedBlock(("a\ud83d", "\ude00b", "\ud83d")),)))
    document = await (await proxy().chat("hello")).json()
    assert document["choices"][0]["message"]["content"] == "a😀b\ufffd"
