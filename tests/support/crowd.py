"""Many conversations with tools at once, each with a system prompt of its own.

A conversation calls its tool a few times and then ends. The upstream's answer depends
on the whole request. So a request with parts of two conversations gets a wrong answer.
"""

import json
import os
import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.task import LoopingCall

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.server import RunningProxy

_RETRIED = (502, 503, 504)


def script(body: Mapping[str, Any]) -> Reply:
    """Call the tool as often as the request wants, then answer."""
    name = own_name(body)
    [tool] = body["tools"]
    assert tool["name"] == f"look_{name}"
    results = [
        block
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    delay = 0.002
    if len(results) < wanted(body):
        arguments = json.dumps({"of": name, "time": len(results)})
        call = ScriptedBlock(
            (arguments[:5], arguments[5:]),
            tool_use=(f"t{name}n{len(results)}", tool["name"]),
        )
        thought = ScriptedBlock((f"I am {name}",), is_thinking=True)
        return Reply(
            blocks=(thought, call), stop_reason="tool_use", delay_seconds=delay
        )
    return Reply(
        blocks=(words(f"{name} has seen {len(results)} things"),), delay_seconds=delay
    )


def own_name(body: Mapping[str, Any]) -> str:
    """The conversation's name, which all parts of the request must agree on."""
    texts: list[str] = [block["text"] for block in body["system"]]
    [system] = [text for text in texts if text.startswith("You are number ")]
    name = system.removeprefix("You are number ")
    said = json.dumps(body["messages"])
    assert f"number {name} asks" in said
    return name


def wanted(body: Mapping[str, Any]) -> int:
    """The number of calls that the conversation wants."""
    text = json.dumps(body["messages"][0])
    return int(text.partition("look ")[2].partition(" times")[0])


@define(eq=False)
class Conversation:
    """A client that repeats requests when the server allows it."""

    server: RunningProxy
    name: str
    calls: int
    tries: int = 0
    answer: str = ""

    async def run(self) -> None:
        """Run all turns.

        Raises:
            AssertionError: an answer belongs to another conversation, or is a final
            error.
        """
        tool = {
            "type": "function",
            "function": {"name": f"look_{self.name}", "parameters": {"type": "object"}},
        }
        turns: list[dict[str, Any]] = [
            {"role": "system", "content": f"You are number {self.name}"},
            {
                "role": "user",
                "content": f"number {self.name} asks to look {self.calls} times",
            },
        ]
        for number in range(self.calls):
            message = await self._ask(turns, tool)
            [call] = message["tool_calls"]
            arguments = json.loads(call["function"]["arguments"])
            assert arguments == {"of": self.name, "time": number}
            result = {"role": "tool", "tool_call_id": call["id"], "content": "sky"}
            turns += [message, result]
        message = await self._ask(turns, tool)
        self.answer = message["content"]
        assert self.answer == f"{self.name} has seen {self.calls} things"

    async def _ask(
        self, turns: Sequence[Mapping[str, Any]], tool: Mapping[str, Any]
    ) -> dict[str, Any]:
        while True:
            self.tries += 1
            response = await self.server.chat(*turns, tools=[tool])
            document = await response.json()
            if response.code == 200:
                message: dict[str, Any] = document["choices"][0]["message"]
                return message
            assert response.code in _RETRIED, document
            assert self.tries < 100


@define(eq=False)
class Havoc:
    """Kills and stops CLI processes at random, busy and idle.

    Args:
        seed: of the choices.
        seconds: the time between two signals.
        most: the number of signals.
    """

    server: RunningProxy
    seed: int
    seconds: float
    most: int
    killed: int = 0
    stopped: int = 0
    _random: random.Random = field(init=False)
    _looping: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._looping = LoopingCall(self._strike)

    def start(self) -> None:
        """Begin."""
        self._looping.start(self.seconds, now=False)

    def end(self) -> None:
        """Stop killing and stopping."""
        self._looping.stop()

    def _strike(self) -> None:
        pids = [*self.server.busy, *(w.pid for w in self.server.workers)]
        if not pids or self.killed + self.stopped >= self.most:
            return
        victim = self._random.choice(pids)
        is_kill = self._random.random() < 0.5
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL if is_kill else signal.SIGSTOP)
        self.killed += is_kill
        self.stopped += not is_kill
