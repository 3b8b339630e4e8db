"""CLIs that are used again: what reaches the model is what a new one would send.

The real CLI is behind it. ``CCPROXY_FUZZ=300`` compares more than the suite has time
for; ``CCPROXY_FUZZ_SEED`` takes other conversations.
"""

import copy
import json
import os
import random
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from attrs import define, field
from pytest_twisted import ensureDeferred

from ccproxy.demo import Block, Reply, words
from tests.e2e.test_tools import BASH, WEATHER, calls
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]

TRIES = int(os.environ.get("CCPROXY_FUZZ", "30"))
SEED = int(os.environ.get("CCPROXY_FUZZ_SEED", "5"))


_FOLDER = re.compile(r"/\S*/ccproxy-\w+")


def bare(body: Mapping[str, Any]) -> dict[str, Any]:
    """An upstream body without what is the CLI's alone.

    That is: the session's id, the marks of its cache, and where in the conversation
    its own notes stand. What they say is compared.
    """
    made = copy.deepcopy(dict(body))
    del made["metadata"]
    turns: list[Any] = []
    notes: list[str] = []
    efforts = set()
    for message in made.pop("messages"):
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        for block in content:
            block.pop("cache_control", None)
        if message["role"] == "system":
            notes += [_FOLDER.sub("", block["text"]) for block in content]
            efforts.add(json.dumps(message.get("output_config")))
        else:
            turns.append((message["role"], content))
    for block in made["system"]:
        block.pop("cache_control", None)
    for tool in made["tools"]:
        tool.pop("cache_control", None)
    # A conversation with one turn has its effort in the note itself.
    efforts.discard("null")
    return {**made, "turns": turns, "notes": notes, "efforts": sorted(efforts)}


def number(body: Mapping[str, Any]) -> int:
    """The same for the same conversation."""
    turns = json.dumps(bare(body)["turns"]).encode()
    return int.from_bytes(blake2b(turns, digest_size=6).digest(), "big")


def model(body: Mapping[str, Any]) -> Reply:
    """Says something else in each conversation, and always the same in one."""
    chance = number(body)
    names = [tool["name"] for tool in body["tools"]]
    said = words(f"Well, {chance % 1000} it is. ")
    if "StructuredOutput" in names:
        form = Block(('{"a": ', f'"{chance}"}}'), tool_use=("toolu_s", names[-1]))
        return calls(form)
    match chance % 12:
        case 0 | 1 if names:
            use = (f"toolu_{chance % 5}", names[chance % len(names)])
            return calls(said, Block(('{"city": ', '"Oslo"}'), tool_use=use))
        case 2:
            thought = Block(("Let me ", "see."), is_thinking=True)
            return Reply(blocks=(thought, said))
        case 3:
            return Reply(blocks=(said,), stop_reason="max_tokens")
        case 4:
            return Reply(blocks=(said,), stop_reason="refusal")
        case 5:
            return Reply(status=400, error=("invalid_request_error", "no such luck"))
        case 6:
            return Reply(blocks=(said, words("And more.")))
        case 7:
            return Reply(blocks=(words(" \n"), said))
    return Reply(blocks=(said,))


TOOLS: list[list[Any]] = [
    [],
    [{"type": "function", "function": WEATHER}],
    [{"type": "function", "function": BASH}, {"type": "function", "function": WEATHER}],
]
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "form",
        "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}


@define
class Client:
    """Someone with several conversations, who goes back and changes them."""

    rng: random.Random
    histories: list[list[Any]] = field(factory=lambda: [[]])

    def request(self) -> dict[str, Any]:
        """The next request; what is in it depends on the answers so far."""
        rng = self.rng
        history = rng.choice(self.histories)
        match rng.randrange(8):
            case 0:
                history = []
                self.histories.append(history)
            case 1 if history:
                # A branch, or an answer asked for again.
                history = copy.deepcopy(history[: rng.randrange(len(history))])
                self.histories.append(history)
            case 2 if history:
                edited = rng.choice(history)
                if isinstance(edited.get("content"), str) and edited["role"] != "tool":
                    edited["content"] += " (edited)"
        while history and history[-1]["role"] == "tool":
            # Not only half of the results.
            history.pop()
        last = history[-1] if history else {}
        if last.get("tool_calls"):
            history += [
                {"role": "tool", "tool_call_id": call["id"], "content": "fine"}
                for call in last["tool_calls"]
            ]
        if history[-1:] == [] or history[-1]["role"] != "tool" or rng.random() < 0.2:
            said = rng.choice(("Hello", "Go on", "@/etc/hostname", "/clear", "Why? "))
            history.append({"role": "user", "content": f"{said} {rng.randrange(100)}"})
        self.current = history
        system = [{"role": "system", "content": rng.choice(("Be brief.", "Be kind."))}]
        body: dict[str, Any] = {"messages": [*system[: rng.randrange(2)], *history]}
        if rng.random() < 0.3:
            body["model"] = rng.choice(("opus", "haiku"))
        if rng.random() < 0.3:
            body["reasoning_effort"] = rng.choice(("low", "high"))
        if rng.random() < 0.3:
            body["max_tokens"] = rng.choice((50, 1000))
        if rng.random() < 0.2:
            body["stop"] = ["END"]
        if rng.random() < 0.6:
            body["tools"] = rng.choice(TOOLS[1:])
            if rng.random() < 0.2:
                body["parallel_tool_calls"] = False
        elif rng.random() < 0.2:
            body["response_format"] = FORM
        return copy.deepcopy(body)

    def answered(self, message: Mapping[str, Any] | None) -> None:
        """Take the answer into the conversation; without one, leave it."""
        if message is None:
            self.histories = [h for h in self.histories if h is not self.current]
            self.histories = self.histories or [[]]
        elif message["content"] or message.get("tool_calls"):
            self.current.append({k: v for k, v in message.items() if k in _KEPT})

    current: list[Any] = field(factory=list)


_CUT = ("length", "content_filter")
_KEPT = ("role", "content", "tool_calls")


async def send(
    server: RunningProxy, upstream: Upstream, body: Mapping[str, Any]
) -> tuple[int, Any, list[Any]]:
    """What the client is told, and what the model was."""
    upstream.bodies.clear()
    response = await server.post("/v1/chat/completions", body)
    document = await response.json()
    for unlike in ("id", "created"):
        document.pop(unlike, None)
    return response.code, document, [bare(sent) for sent in upstream.bodies]


@ensureDeferred
async def test_the_model_cannot_tell(proxy: Start, upstream: Upstream) -> None:
    again = proxy(spares=0, max_processes=8)
    anew = proxy(reuse="off", max_suspended=0, spares=0, max_processes=1)
    upstream.script(model)
    client = Client(random.Random(SEED))
    before = again.starts
    for position in range(TRIES):
        body = client.request()
        seen = await send(again, upstream, body)
        wanted = await send(anew, upstream, body)
        assert seen[:2] == wanted[:2], (position, json.dumps(body))
        # A CLI that was cut short is killed, in a race with a question of its own.
        cut = seen[0] == 200 and seen[1]["choices"][0]["finish_reason"] in _CUT
        for one, other in zip(seen[2], wanted[2], strict=not cut):
            for part in other:
                assert one[part] == other[part], (part, position, json.dumps(body))
        client.answered(seen[1]["choices"][0]["message"] if seen[0] == 200 else None)
    # Half of the answers would do; a third of them end in a way that ends the CLI.
    assert again.starts - before < TRIES * 0.6
