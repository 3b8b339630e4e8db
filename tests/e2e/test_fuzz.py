"""Any tools and any history: an answer or a clear refusal, and nothing left over.

The real CLI is behind it. ``CCPROXY_FUZZ=500`` tries more than the suite has time for.
"""

import copy
import json
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import DeferredSemaphore, gatherResults

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.fitting_replies import fitting_reply
from tests.support.mutations import CHAT, FORMAT, ODD, RESPONSES, places
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.spec import (
    document_errors,
    error_errors,
    response_errors,
)
from tests.support.tool_calls import calls

Start = Callable[..., RunningProxy]

TRIES = int(os.environ.get("CCPROXY_FUZZ", "16"))
SEED = int(os.environ.get("CCPROXY_FUZZ_SEED", "4"))


def mutated(body: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """A request with a few things wrong, or only odd."""
    made = copy.deepcopy(dict(body))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        node, key = rng.choice(places(made))
        match rng.randrange(5):
            case 0 | 1:
                node[key] = copy.deepcopy(rng.choice(ODD))
            case 2:
                del node[key]
            case 3:
                other, place = rng.choice(places(made))
                node[key] = copy.deepcopy(other[place])
            case 4 if isinstance(node, list):
                node.insert(rng.randrange(len(node) + 1), copy.deepcopy(node[key]))
            case 4:
                node[str(rng.choice(ODD))] = node[key]
        if not made:
            break
    return made


def requests(rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    made = []
    for _ in range(TRIES):
        path, body = rng.choice(
            [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)]
        )
        if rng.random() < 0.2:
            form = {"type": "json_schema", "json_schema": FORMAT}
            flat = {"type": "json_schema", **FORMAT}
            body = {**body, "response_format": form, "text": {"format": flat}}
        body = {**body, "stream": rng.random() < 0.5}
        made.append((path, mutated(body, rng)))
    return made


def model(body: Mapping[str, Any]) -> Reply:
    """Say or call something, of what is offered; the same for the same request.

    Which of two requests at a time comes first is up to the machine.
    """
    told = [body["messages"], body.get("tools"), body.get("tool_choice")]
    rng = random.Random(json.dumps(told))
    names = [tool["name"] for tool in body.get("tools", [])]
    choice = body.get("tool_choice") or {"type": "auto"}
    if "format" in body.get("output_config", {}) and choice["type"] in ("auto", "none"):
        return fitting_reply(body)
    if choice["type"] == "tool":
        names = [choice["name"]]
    if not names or choice["type"] == "none":
        return answer()
    if choice["type"] == "auto" and rng.random() < 0.4:
        return answer()
    chosen = rng.sample(names, min(len(names), rng.choice((1, 2))))
    blocks = [
        ScriptedBlock(('{"input": "', 'a"}'), tool_use=(f"toolu_{rng.random()}", name))
        for name in chosen
    ]
    return calls(words("Let me see."), *blocks)


@ensureDeferred
async def test_any_tools_and_history(proxy: Start, upstream: Upstream) -> None:
    rng = random.Random(SEED)
    upstream.script(model)
    server = proxy(max_processes=2)
    seen: dict[int, int] = {}

    async def send(path: str, body: dict[str, Any]) -> None:
        response = await server.post(path, body)
        text = await response.text()
        shown = json.dumps(body)
        seen[response.code] = seen.get(response.code, 0) + 1
        if response.code != 200:
            assert 400 <= response.code < 500, (text, shown)
            error = json.loads(text)
            assert error_errors(error) == []
            assert error["error"]["message"], shown
        elif body.get("stream") is True:
            told = events(text)
            assert told[-1] == "[DONE]", (text[-500:], shown)
        else:
            check = document_errors if "chat" in path else response_errors
            assert check(json.loads(text)) == [], shown

    few = DeferredSemaphore(3)
    await gatherResults(
        [few.run(send, path, body) for path, body in requests(rng)],
        consumeErrors=True,
    )
    # Neither everything nor nothing is refused.
    assert seen[200] > TRIES // 8
    assert seen[400] > TRIES // 8
    # All that is left waits for results, and can be sent away.
    await server.idle()
