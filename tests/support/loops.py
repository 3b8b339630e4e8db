"""Clients with tool loops, for chat completions and Responses."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field

from tests.support.server import RunningProxy, events


@define
class Made:
    """A call of the model."""

    id: str
    name: str
    arguments: str


class Client(Protocol):
    """A client with a conversation."""

    async def answer(self) -> tuple[str, Sequence[Made]]:
        """Ask; returns the model's text and calls."""

    def give(self, results: Iterable[tuple[str, str]]) -> None:
        """Add results, by the ids of their calls."""


@define
class ChatClient:
    """A client of chat completions that sends no thinking back."""

    server: RunningProxy
    stream: bool
    question: str
    fields: Mapping[str, Any]
    messages: list[dict[str, Any]] = field(factory=list)

    async def answer(self) -> tuple[str, Sequence[Made]]:
        if not self.messages:
            self.messages.append({"role": "user", "content": self.question})
        about = {**self.fields, "stream": self.stream}
        response = await self.server.chat(*self.messages, **about)
        assert response.code == 200, await response.text()
        if self.stream:
            message = _joined(await response.text())
        else:
            message = (await response.json())["choices"][0]["message"]
        self.messages.append(message)
        made = [
            Made(c["id"], c["function"]["name"], c["function"]["arguments"])
            for c in message.get("tool_calls") or []
        ]
        return message["content"] or "", made

    def give(self, results: Iterable[tuple[str, str]]) -> None:
        self.messages += [
            {"role": "tool", "tool_call_id": identifier, "content": text}
            for identifier, text in results
        ]


def _joined(stream: str) -> dict[str, Any]:
    """The message of a stream of chunks."""
    text = ""
    calls: dict[int, dict[str, Any]] = {}
    for data in events(stream):
        if data == "[DONE]":
            break
        delta = json.loads(data)["choices"][0]["delta"]
        text += delta.get("content") or ""
        for part in delta.get("tool_calls", []):
            call = calls.setdefault(part["index"], {"function": {"arguments": ""}})
            call["function"]["arguments"] += part["function"].get("arguments", "")
            if "id" in part:
                call |= {"id": part["id"], "type": "function"}
                call["function"]["name"] = part["function"]["name"]
    return {"role": "assistant", "content": text, "tool_calls": list(calls.values())}


@define
class ResponsesClient:
    """A client of Responses that sends all items back."""

    server: RunningProxy
    stream: bool
    question: str
    fields: Mapping[str, Any]
    items: list[dict[str, Any]] = field(factory=list)

    async def answer(self) -> tuple[str, Sequence[Made]]:
        if not self.items:
            self.items.append({"role": "user", "content": self.question})
        body = {**self.fields, "input": self.items, "stream": self.stream}
        body |= {"store": False, "include": ["reasoning.encrypted_content"]}
        response = await self.server.post("/v1/responses", body)
        assert response.code == 200, await response.text()
        if self.stream:
            told = [json.loads(d) for d in events(await response.text())[:-1]]
            output = told[-1]["response"]["output"]
        else:
            output = (await response.json())["output"]
        self.items += output
        text = [
            part["text"]
            for item in output
            if item["type"] == "message"
            for part in item["content"]
        ]
        made = [
            Made(item["call_id"], item["name"], item["arguments"])
            for item in output
            if item["type"] == "function_call"
        ]
        return "".join(text), made

    def give(self, results: Iterable[tuple[str, str]]) -> None:
        self.items += [
            {"type": "function_call_output", "call_id": identifier, "output": text}
            for identifier, text in results
        ]


def client(
    api: str, server: RunningProxy, question: str, tools: Sequence[Any], *, stream: bool
) -> Client:
    """A client of ``chat`` or ``responses``, with functions."""
    if api == "chat":
        offered = [{"type": "function", "function": tool} for tool in tools]
        return ChatClient(server, stream, question, {"tools": offered})
    offered = [{"type": "function", **tool} for tool in tools]
    return ResponsesClient(server, stream, question, {"tools": offered})
