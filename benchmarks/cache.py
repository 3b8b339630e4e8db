"""What conversations cost with the provider's prompt cache, by scenario.

A real server with the real CLI asks a scripted API that counts as the provider's cache
does (``tests/support/prompt_cache.py``). So what is counted is what was sent. A price
is that of all input tokens; 1 is the price without a cache. Beside it is the ideal:
the client's own messages, in a cache that finds every block at any distance.

``python -m benchmarks.cache``; ``--only agent`` runs the scenarios with that word.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import define, evolve, field, frozen
from twisted.internet import reactor as _reactor
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from benchmarks.harness import print_machine, print_table
from ccproxy.claude.process.binary import find_claude
from ccproxy.config.settings import Settings
from ccproxy.server.fake_upstream import MessagesSite
from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.prompt_cache import CachingAPI, Count, PromptCache
from tests.support.server import RunningProxy, Upstream, start_proxy

reactor: Any = _reactor

MODEL = "claude-sonnet-5-5"
_CALLS = re.compile(r"calls=(\d+)")
_MINUTE = 60.0


def filler(name: str, size: int) -> str:
    """A text of some bytes; the same for the same name."""
    line = f"{name} says the same words in each request, and means them. "
    return (line * (size // len(line) + 1))[:size]


def model(body: Mapping[str, Any]) -> Reply:
    """Calls as many tools as the last message says, else answers with 1 kB."""
    last, number = str(body["messages"][-1]["content"]), len(body["messages"])
    count = int(found[-1]) if (found := _CALLS.findall(last)) else 0
    if not count:
        return Reply(blocks=(words(filler(f"answer {number}", 1000)),))
    thought = ScriptedBlock((filler(f"thought {number}", 400),), is_thinking=True)
    calls = [
        ScriptedBlock(
            (f'{{"path": "file{number}", "line": {n}}}',),
            tool_use=(f"toolu_{number}_{n}", "tool0"),
        )
        for n in range(count)
    ]
    return Reply(blocks=(thought, *calls), stop_reason="tool_use")


def tools(count: int) -> list[dict[str, Any]]:
    """Tools of 1 kB each."""
    properties = {"path": {"type": "string"}, "line": {"type": "integer"}}
    return [
        {
            "name": f"tool{n}",
            "description": filler(f"tool {n}", 850),
            "input_schema": {"type": "object", "properties": properties},
        }
        for n in range(count)
    ]


@define
class World:
    """One scenario: servers, the API that counts, and the ideal cache.

    Attributes:
        ideal_count: what the ideal cache has counted.
    """

    api: CachingAPI
    upstream: Upstream
    place: Path
    options: Mapping[str, Any]
    ideal: PromptCache
    ideal_count: Count = field(factory=Count)
    servers: list[RunningProxy] = field(factory=list)

    async def start(self, **options: Any) -> None:
        """Start a server with the state of the last one."""
        settings = {"spares": 0, "state_dir": self.place / "state", **self.options}
        server = start_proxy(
            reactor,
            self.upstream,
            self.place,
            claude_bin=find_claude(None, None),
            **{**settings, **options},
        )
        self.servers.append(server)
        await server.ready()

    async def restart(self) -> None:
        """Stop the server, and start another."""
        await self.servers.pop().stop()
        await self.start()

    def pass_time(self, minutes: float) -> None:
        """Let time pass for the caches."""
        for cache in (self.api.cache, self.ideal):
            cache.now += minutes * _MINUTE

    async def stop(self) -> None:
        for server in self.servers:
            await server.stop()
        await self.upstream.stop()


@define
class Talk:
    """One conversation, as its client has it; in the form of the Messages API.

    Attributes:
        path: of the API that the client uses.
        tail: a text that the client adds to the last message of each request only.
    """

    world: World
    name: str
    system: str = ""
    tools: list[dict[str, Any]] = field(factory=list)
    path: str = "/v1/chat/completions"
    tail: str = ""
    messages: list[dict[str, Any]] = field(factory=list)

    async def say(self, text: str, count: int = 1) -> None:
        """Send a message of the user; keep the answer, and no calls in it."""
        self.messages.append({"role": "user", "content": text})
        await self._ask(count)

    async def answer(self, size: int, calls: int) -> None:
        """Send the results of the calls in the last answer; the model calls again."""
        asked = [b for b in self.messages[-1]["content"] if b["type"] == "tool_use"]
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call["id"],
                "content": filler(call["id"], size // len(asked)) + f" calls={calls}",
            }
            for call in asked
        ]
        self.messages.append({"role": "user", "content": results})
        await self._ask(1)

    async def _ask(self, count: int) -> None:
        own: dict[str, Any] = {"model": MODEL, "messages": self._sent()}
        if self.tools:
            own["tools"] = self.tools
        if self.system:
            own["system"] = self.system
        for _ in range(count):
            counted, begin = self.world.ideal.look_up(own)
            begin()
            self.world.ideal_count += counted
        server = self.world.servers[-1]
        if self.path == "/v1/messages":
            thinking = {"type": "adaptive", "display": "summarized"}
            request = {**own, "max_tokens": 9999, "thinking": thinking}
        else:
            request = chat_request(own, count)
        response = await server.post(self.path, request)
        text = await response.text()
        if response.code != 200:
            raise SystemExit(f"{self.name}: {response.code} {text[:500]}")
        document = await response.json()
        told = document.get("content") or answer_of(document["choices"][0]["message"])
        self.messages.append({"role": "assistant", "content": told})

    def _sent(self) -> list[dict[str, Any]]:
        if not self.tail:
            return list(self.messages)
        *before, last = self.messages
        content = last["content"]
        said = [{"type": "text", "text": content}]
        parts = said if isinstance(content, str) else content
        tail = {"type": "text", "text": f"{self.tail} {len(before)}"}
        return [*before, {**last, "content": [*parts, tail]}]


def chat_request(own: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The request of a chat client with the same conversation."""
    told: list[dict[str, Any]] = []
    if "system" in own:
        told.append({"role": "system", "content": own["system"]})
    for message in own["messages"]:
        told.extend(_chat_messages(message))
    request: dict[str, Any] = {"model": own["model"], "messages": told}
    if "tools" in own:
        request["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool["name"],
                    "description": tool["description"],
                    "parameters": tool["input_schema"],
                },
            }
            for tool in own["tools"]
        ]
    return {**request, "n": count} if count > 1 else request


def _chat_messages(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content, role = message["content"], message["role"]
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    texts = [b for b in content if b["type"] == "text"]
    if role == "assistant":
        calls = [_call(b) for b in content if b["type"] == "tool_use"]
        said = "".join(b["text"] for b in texts) or None
        told: dict[str, Any] = {"role": role, "content": said}
        return [{**told, "tool_calls": calls} if calls else told]
    results = [
        {"role": "tool", "tool_call_id": b["tool_use_id"], "content": b["content"]}
        for b in content
        if b["type"] == "tool_result"
    ]
    return [*results, {"role": role, "content": texts}] if texts else results


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(block["input"])
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def answer_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a chat client's answer."""
    said = message.get("content")
    calls = [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls") or ()
    ]
    return [*([{"type": "text", "text": said}] if said else []), *calls]


def _talk(world: World, name: str, **fields: Any) -> Talk:
    return Talk(world, name, system=filler("be helpful", 6000), **fields)


def _agent(world: World, name: str, **fields: Any) -> Talk:
    system = filler("you are a coding agent", 20_000)
    return Talk(world, name, system=system, tools=tools(30), **fields)


def _question(talk: Talk, number: int) -> str:
    return filler(f"{talk.name} question {number}", 400)


async def one(world: World, **fields: Any) -> None:
    talk = _talk(world, "one", **fields)
    for number in range(20):
        await talk.say(_question(talk, number))


async def restarts(world: World) -> None:
    talk = _talk(world, "one")
    for number in range(20):
        if number % 5 == 4:
            await world.restart()
        await talk.say(_question(talk, number))


async def in_turn(world: World) -> None:
    talks = [_talk(world, name) for name in ("one", "two")]
    for number in range(20):
        for talk in talks:
            await talk.say(_question(talk, number))


async def six(world: World) -> None:
    talks = [_talk(world, f"talk {n}") for n in range(6)]
    for number in range(12):
        said = [talk.say(_question(talk, number)) for talk in talks]
        await gatherResults([Deferred.fromCoroutine(each) for each in said])


async def one_off(world: World) -> None:
    talk = _talk(world, "one")
    for number in range(20):
        await talk.say(_question(talk, number))
        await Talk(world, f"once {number}").say(f"a short question, number {number}")


async def same_system(world: World) -> None:
    for number in range(20):
        talk = _talk(world, f"{number} asks once")
        await talk.say(_question(talk, number))


async def pauses(world: World, minutes: float) -> None:
    talk = _talk(world, "one")
    for number in range(20):
        await talk.say(_question(talk, number))
        world.pass_time(minutes)


async def tail(world: World, **fields: Any) -> None:
    clock = filler("the time is", 400)
    talk = Talk(world, "one", tail=clock, **fields)
    # Without a system prompt, the first question is as long as one.
    if not talk.system:
        talk.messages = [
            {"role": "user", "content": filler("be helpful", 6000)},
            {"role": "assistant", "content": filler("yes", 100)},
        ]
    for number in range(20):
        await talk.say(_question(talk, number))


async def without_tools(world: World) -> None:
    """A client that sends the calls of an agent, but not its tools."""
    talk = _talk(world, "one")
    for number in range(20):
        call = {
            "type": "tool_use",
            "id": f"toolu_{number}",
            "name": f"tool{number}",
            "input": {},
        }
        result = {
            "type": "tool_result",
            "tool_use_id": call["id"],
            "content": filler(f"result {number}", 1000),
        }
        talk.messages += [
            {"role": "user", "content": _question(talk, number)},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": filler(f"done {number}", 400)},
        ]
        await talk.say("And now?")


async def agent(world: World, calls: int = 1, **fields: Any) -> None:
    talk = _agent(world, "agent", **fields)
    await talk.say(f"{_question(talk, 0)} calls={calls}")
    for number in range(39):
        if number == 19:
            await world.restart()
        await talk.answer(5000, calls)


async def agents(world: World) -> None:
    talks = [_agent(world, name) for name in ("first agent", "second agent")]
    for talk in talks:
        await talk.say(f"{_question(talk, 0)} calls=1")
    for _ in range(39):
        for talk in talks:
            await talk.answer(5000, 1)


async def at_once(world: World) -> None:
    talks = [_agent(world, f"{name} agent") for name in "abcdef"]
    said = [talk.say(_question(talk, 0)) for talk in talks]
    await gatherResults([Deferred.fromCoroutine(each) for each in said])


async def choices(world: World) -> None:
    for number in range(5):
        talk = _talk(world, f"talk {number}")
        await talk.say(_question(talk, number), 4)


@frozen
class Scenario:
    """A row of the table.

    Attributes:
        options: of the server.
        ttl: the time to live of the ideal.
        delay_seconds: until an answer begins.
    """

    name: str
    run: Callable[[World], Awaitable[None]]
    options: Mapping[str, Any] = field(factory=dict)
    ttl: str = "5m"
    delay_seconds: float = 0.0
    counts_attribution: bool = False


_MESSAGES = "/v1/messages"
SCENARIOS = (
    Scenario("one conversation", one),
    Scenario("one conversation, Messages API", lambda w: one(w, path=_MESSAGES)),
    Scenario("with restarts of the server", restarts),
    Scenario("two in turn", in_turn, {"max_processes": 1}),
    Scenario("six on two processes", six, {"max_processes": 2}),
    Scenario("one with one-off questions between", one_off),
    Scenario("one-off questions with one system prompt", same_system),
    Scenario(
        "a tail that changes in each request",
        lambda w: tail(w, system=filler("be helpful", 6000)),
    ),
    Scenario("a tail, without a system prompt", tail),
    Scenario("calls of ever more tools, without `tools`", without_tools),
    Scenario("four minutes between", lambda w: pauses(w, 4)),
    Scenario("ten minutes between", lambda w: pauses(w, 10)),
    Scenario(
        "ten minutes between, --cache-ttl 1h",
        lambda w: pauses(w, 10),
        {"cache_ttl": "1h"},
        "1h",
    ),
    Scenario("agent, a restart in the middle", agent),
    Scenario("agent, Messages API", lambda w: agent(w, path=_MESSAGES)),
    Scenario("agent, 12 calls at a time", lambda w: agent(w, 12)),
    Scenario("two agents in turn", agents, {"max_processes": 1}),
    Scenario("n = 4", choices, delay_seconds=0.3),
    Scenario("six agents at once", at_once, delay_seconds=3.0),
    Scenario(
        "six agents at once, --cache-wait 0",
        at_once,
        {"cache_wait": 0.0},
        delay_seconds=3.0,
    ),
    Scenario(
        "two agents in turn, behind a gateway that keeps the attribution",
        agents,
        {"max_processes": 1},
        counts_attribution=True,
    ),
)


async def price(scenario: Scenario) -> tuple[int, float, float]:
    """Run a scenario: the number of requests, the price, and the ideal."""
    api = CachingAPI(
        reactor, PromptCache(counts_attribution=scenario.counts_attribution)
    )
    if scenario.delay_seconds:

        def delayed(body: Mapping[str, Any]) -> Reply:
            begins: Deferred[None] = task.deferLater(reactor, scenario.delay_seconds)
            return evolve(model(body), before=begins)

        api.script = delayed
    else:
        api.script = model
    port = reactor.listenTCP(0, MessagesSite(api, reactor), interface="127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="ccproxy-benchmark-") as name:
        world = World(
            api,
            Upstream(api, port, True),
            Path(name),
            scenario.options,
            PromptCache(is_ideal=True, ideal_ttl=scenario.ttl),
        )
        await world.start()
        try:
            await scenario.run(world)
        finally:
            await world.stop()
    if api.violations:
        raise SystemExit(f"{scenario.name}: {api.violations[0]}")
    total = sum(api.counted, Count())
    ideal = world.ideal_count
    return len(api.counted), total.cost / total.tokens, ideal.cost / ideal.tokens


async def run(chosen: Sequence[Scenario]) -> None:
    rows = []
    for scenario in chosen:
        count, found, ideal = await price(scenario)
        marks = (f"{found:.2f}", f"{ideal:.2f}", f"{found - ideal:+.3f}")
        rows.append((scenario.name, str(count), *marks))
        print(*rows[-1], file=sys.stderr)
    print_table(("scenario", "requests", "price", "ideal", "difference"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a word in the scenario's name")
    only = parser.parse_args().only
    print_machine()
    known = {each.name for each in attrs.fields(Settings)}
    # A server of an older version does not have all options.
    chosen = [s for s in SCENARIOS if only in s.name and s.options.keys() <= known]
    task.react(lambda _: Deferred.fromCoroutine(run(chosen)))


if __name__ == "__main__":
    main()
