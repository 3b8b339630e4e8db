"""CLIs used again by clients of every kind: what reaches the model is the same.

Beside `test_reuse`'s conversations: both APIs, kept responses, streams, clients that go
away in mid-answer, images, thinking that is given back, several calls at once whose
results come in another order and are long, demands for calls. ``CCPROXY_FUZZ_SEED``
as there; of ``CCPROXY_FUZZ`` a third.
"""

import base64
import copy
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.server.fake_upstream import Block, Reply, words
from tests.e2e.test_reuse import SEED, TOOLS, TRIES, bare, number
from tests.e2e.test_tools import calls
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy, Upstream, events
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
_PICTURE = f"data:image/png;base64,{PNG}"
_KEPT = ("role", "content", "tool_calls", "reasoning_details")


def model(body: Mapping[str, Any]) -> Reply:
    """Thinks often, calls several tools at once; the same for the same conversation."""
    chance = number(body)
    names = [tool["name"] for tool in body["tools"]]
    said = words(f" Well, {chance % 1000} it is.\n")
    thought = Block(("Let me ", "see."), is_thinking=True)
    hidden = Block(is_thinking=True, redacted="aGlkZGVu")
    match chance % 8:
        case 0 | 1 | 2 if names:
            uses = [
                Block(
                    ('{"b": 1.0, "a": ', f'"{position}"}}'),
                    tool_use=(f"toolu_{chance % 997}x{position}", name),
                )
                for position, name in enumerate((*names, names[0]))
            ]
            return calls(thought, *uses) if chance % 2 else calls(said, *uses)
        case 3:
            return Reply(blocks=(thought, said))
        case 4:
            return Reply(blocks=(thought, hidden, said))
        case 5 if chance % 3 == 0:
            return Reply(blocks=(said,), stop_reason="max_tokens")
    return Reply(blocks=(said,))


@define
class Chain:
    """A conversation of kept responses: what each server calls the last of them."""

    ids: tuple[str, str] | None = None
    results: list[Any] = field(factory=list)


@define
class Clients:
    """Several clients at once."""

    rng: random.Random
    histories: list[list[Any]] = field(factory=lambda: [[]])
    chains: list[Chain] = field(factory=lambda: [Chain()])
    history: list[Any] = field(factory=list)
    chain: Chain = field(factory=Chain)

    def settings(self) -> dict[str, Any]:
        rng = self.rng
        about: dict[str, Any] = {}
        if rng.random() < 0.2:
            about["model"] = rng.choice(("opus", "haiku"))
        if rng.random() < 0.2:
            about["parallel_tool_calls"] = False
        if rng.random() < 0.2:
            about["user"] = f"user {rng.randrange(9)}"
        return about

    def said(self) -> Any:
        rng = self.rng
        text = f"{rng.choice(('Hello', 'Go on', '/clear', ' Why? '))} {rng.random()}"
        if rng.random() < 0.8:
            return text
        picture = {"type": "image_url", "image_url": {"url": _PICTURE}}
        return [picture, {"type": "text", "text": text}]

    def result(self) -> str:
        return self.rng.choice(("fine", "long " * 9000, " \n", "@/etc/hostname"))

    def chat(self) -> dict[str, Any]:
        """A request of a chat client's."""
        rng = self.rng
        history = rng.choice(self.histories)
        if rng.random() < 0.2:
            history = copy.deepcopy(history[: rng.randrange(1 + len(history))])
            self.histories.append(history)
        while history and history[-1]["role"] == "tool":
            history.pop()
        if history and history[-1].get("tool_calls"):
            found = [
                {"role": "tool", "tool_call_id": call["id"], "content": self.result()}
                for call in history[-1]["tool_calls"]
            ]
            history += rng.sample(found, len(found))
        if not history or history[-1]["role"] != "tool" or rng.random() < 0.2:
            history.append({"role": "user", "content": self.said()})
        self.history = history
        system = [{"role": "system", "content": rng.choice(("Be brief.", "Be kind."))}]
        body = {**self.settings(), "messages": [*system[: rng.randrange(2)], *history]}
        if rng.random() < 0.3:
            body["reasoning_effort"] = rng.choice(("low", "high"))
        if rng.random() < 0.7:
            body["tools"] = rng.choice(TOOLS[1:])
            if rng.random() < 0.15:
                body["tool_choice"] = "required"
        return copy.deepcopy(body)

    def answered(self, message: Mapping[str, Any]) -> None:
        """Go on from a chat answer; with or without what was thought."""
        kept = _KEPT[: self.rng.choice((3, 4))]
        if message["content"] or message.get("tool_calls"):
            self.history.append({k: v for k, v in message.items() if k in kept})

    def responses(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A request of a Responses client's, for each of the two servers."""
        rng = self.rng
        chain = rng.choice(self.chains)
        if rng.random() < 0.2:
            chain = copy.deepcopy(chain) if rng.random() < 0.5 else Chain()
            self.chains.append(chain)
        self.chain = chain
        asked = [
            {"type": "function_call_output", "call_id": call, "output": self.result()}
            for call in rng.sample(chain.results, len(chain.results))
        ]
        if not asked:
            asked = [{"role": "user", "content": f"Go on {rng.random()}"}]
        body: dict[str, Any] = {**self.settings(), "input": asked}
        if rng.random() < 0.3:
            body["instructions"] = "Be brief."
        if rng.random() < 0.7:
            tools = rng.choice(TOOLS[1:])
            body["tools"] = [{"type": "function", **tool["function"]} for tool in tools]
        if chain.ids is None:
            return body, body
        one, other = ({"previous_response_id": each, **body} for each in chain.ids)
        return one, other


async def put(
    server: RunningProxy, upstream: Upstream, path: str, body: Mapping[str, Any]
) -> tuple[int, Any, list[Any]]:
    """What the client is told, and what the model was."""
    upstream.bodies.clear()
    response = await server.post(path, body)
    text = (await response.content()).decode()
    document: Any = text
    if not body.get("stream"):
        document = json.loads(text)
    return response.code, document, [bare(sent) for sent in upstream.bodies]


async def go_away(
    server: RunningProxy, upstream: Upstream, body: Mapping[str, Any]
) -> None:
    """Ask, and hang up in the middle of the answer."""
    held: Deferred[None] = Deferred()
    upstream.script(Reply(blocks=(words("SECRET " * 5),), hold_after=2, held=held))
    gone = upstream.api.gone
    client = await connect(reactor, server.number)
    sent = json.dumps({**body, "stream": True}).encode()
    about = {"authorization": f"Bearer {KEY}"}
    client.send(request("POST", "/v1/chat/completions", sent, **about))
    await client.expect(b"data: ")
    asked = len(upstream.bodies)
    await until(lambda: len(upstream.bodies) >= asked)
    await client.expect(b"SECRET")
    client.abort()
    await until(lambda: upstream.api.gone > gone)
    held.callback(None)
    upstream.script(model)


@ensureDeferred
async def test_the_model_cannot_tell_clients_apart(
    proxy: Start, upstream: Upstream
) -> None:
    again = proxy(spares=1, max_processes=4)
    anew = proxy(reuse="off", max_suspended=0, spares=0, max_processes=1)
    upstream.script(model)
    clients = Clients(random.Random(SEED))
    for position in range(TRIES // 3):
        where = (SEED, position)
        if clients.rng.random() < 0.4:
            one, other = clients.responses()
            seen = await put(again, upstream, "/v1/responses", one)
            wanted = await put(anew, upstream, "/v1/responses", other)
            assert (seen[0], wanted[0]) == (200, 200), (where, seen[1], wanted[1])
            clients.chain.ids = seen[1]["id"], wanted[1]["id"]
            clients.chain.results = [
                item["call_id"]
                for item in seen[1]["output"]
                if item["type"] == "function_call"
            ]
            is_cut = seen[1]["status"] == "incomplete"
        else:
            body = clients.chat()
            if clients.rng.random() < 0.15 and "tool_choice" not in body:
                await go_away(again, upstream, body)
                continue
            if clients.rng.random() < 0.3:
                body["stream"] = True
            seen = await put(again, upstream, "/v1/chat/completions", body)
            wanted = await put(anew, upstream, "/v1/chat/completions", body)
            assert (seen[0], wanted[0]) == (200, 200), (where, seen[1], wanted[1])
            if "stream" in body:
                is_cut = '"length"' in seen[1]
                assert events(seen[1])[-1] == events(wanted[1])[-1] == "[DONE]"
            else:
                [choice], [same] = seen[1]["choices"], wanted[1]["choices"]
                assert choice == same, where
                clients.answered(choice["message"])
                is_cut = choice["finish_reason"] == "length"
        for mine, theirs in zip(seen[2], wanted[2], strict=not is_cut):
            assert mine == theirs, (where, mine, theirs)
        assert "SECRET" not in json.dumps(seen[2]), where
