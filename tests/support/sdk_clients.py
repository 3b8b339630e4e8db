"""What the clients' SDKs make of an answer, and their next request with it. No sockets.

Each client asks a question, puts the answer together as its SDK does, and sends it back
with a result for each of its calls.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message
from attrs import define, field, frozen
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.chat.response import ChatDocument, ChatStream, CompletionMeta
from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import MessageMeta
from ccproxy.api.messages.stream import MessageStream, ThinkingForm
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.request import (
    DecodedResponsesRequest,
    context_of,
    decode_responses,
    request_of,
)
from ccproxy.api.responses.response import ResponseDocument
from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.encoding import DONE, WireEvent
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event

QUESTION = {"role": "user", "content": "hi"}
MORE = {"role": "user", "content": "go on"}
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
_SEAL = Encryptor(new_key())

Events = Sequence[Sequence[Event]]


@frozen
class Asked:
    """A decoded request, and what its headers name."""

    request: MessagesRequest
    named: Sequence[str]


@frozen
class Call:
    """A call as the client has it; ``arguments`` is a text, or decoded JSON."""

    id: str
    name: str
    arguments: Any
    at: str = ""


@frozen(kw_only=True)
class Got:
    """An answer as the client has it.

    Attributes:
        turn: the messages or items that go back.
        stop: the API's words for why the model stopped; None: it broke off.
        thoughts: the paths in the next request of signed thinking.
        refusal: the provider's explanation of a refusal.
    """

    turn: Sequence[Mapping[str, Any]]
    text: str
    calls: Sequence[Call]
    stop: Any
    usage: Mapping[str, Any] | None
    thoughts: Sequence[str] = ()
    refusal: str = ""


class SDKClient(Protocol):
    """A client of one API."""

    def first(self) -> Asked:
        """The first request."""

    def got(self, events: Events, prefix: str, *, stream: bool) -> Got | None:
        """The answer; None: the client has an error and nothing else."""

    def second(self, got: Got) -> Asked:
        """The request with the answer and results for its calls."""


def result_text(number: int) -> str:
    return f"result {number}"


def _encoded(body: Mapping[str, Any]) -> bytes:
    encoded = json.dumps({"model": "sonnet", **body})
    # JavaScript reads a number that is too large as infinity, and prints it as null.
    return re.sub(r"-?Infinity", "null", encoded).encode()


def _streamed(encoder: Any, events: Events) -> Iterator[WireEvent]:
    for batch in events:
        yield from encoder.encoders[0](batch)


def _parsed(wire: Iterable[WireEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in wire if event != DONE]


@define
class ChatClient:
    """openai-python's chat completions."""

    is_legacy: bool = False
    _format: ToolCallFormat = field(factory=ToolCallFormat, init=False)

    def first(self) -> Asked:
        return self._asked([QUESTION])

    def _asked(self, messages: Sequence[Mapping[str, Any]]) -> Asked:
        functions = [{"name": "look", "parameters": SCHEMA}]
        tools: list[dict[str, Any]] = [{"type": "function", "function": functions[0]}]
        tools.append({"type": "custom", "custom": {"name": "note"}})
        offered = {"functions": functions} if self.is_legacy else {"tools": tools}
        call = decode_chat(_encoded({"messages": messages, **offered}))
        self._format = call.call_format
        return Asked(call.request, (*call.ignored, *call.adjusted))

    def got(self, events: Events, prefix: str, *, stream: bool) -> Got | None:
        meta = CompletionMeta(id="chatcmpl-1", created=1, prefix=prefix)
        if stream:
            completion = self._collected(meta, events)
        else:
            document = ChatDocument(meta, 1, self._format)
            for batch in events:
                document.receivers[0](batch)
            if document.error is not None:
                return None
            completion = json.loads(document.encode())
            ChatCompletion.model_validate(completion)
        if completion is None:
            return None
        [choice] = completion["choices"]
        message = choice["message"]
        calls = [
            Call(c["id"], *_called(c), at=f"messages[1].tool_calls[{n}]")
            for n, c in enumerate(message.get("tool_calls") or ())
        ]
        if message.get("function_call"):
            calls = [Call("", *_called({"function": message["function_call"]}))]
        return Got(
            turn=[message],
            text=message.get("content") or "",
            calls=calls,
            stop=choice.get("finish_reason"),
            refusal=message.get("refusal") or "",
            usage=completion.get("usage"),
            thoughts=[
                f"messages[1].reasoning_details[{n}]"
                for n, _ in enumerate(message.get("reasoning_details") or ())
            ],
        )

    def _collected(self, meta: CompletionMeta, events: Events) -> Any:
        state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
        encoder = ChatStream(meta, 1, True, self._format)
        count = 0
        for chunk in _parsed(_streamed(encoder, events)):
            if "error" in chunk:
                break
            count += 1
            built: Any = construct_type(type_=ChatCompletionChunk, value=chunk)
            state.handle_chunk(built)
        return state.current_completion_snapshot.to_dict() if count else None

    def second(self, got: Got) -> Asked:
        results: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": call.id, "content": result_text(number)}
            for number, call in enumerate(got.calls)
        ]
        if self.is_legacy and got.calls:
            results = [{"role": "function", "name": "look", "content": result_text(0)}]
        return self._asked([QUESTION, *got.turn, *results, MORE])


def _called(call: Mapping[str, Any]) -> tuple[str, Any]:
    if "custom" in call:
        return call["custom"]["name"], {"input": call["custom"]["input"]}
    return call["function"]["name"], call["function"]["arguments"]


_CALLS = {
    "function_call": ("name", "arguments"),
    "custom_tool_call": ("name", "input"),
}


@define
class ResponsesClient:
    """openai-python's Responses, without a store."""

    _call: DecodedResponsesRequest = field(init=False)

    def first(self) -> Asked:
        return self._asked([QUESTION])

    def _asked(self, items: Sequence[Mapping[str, Any]]) -> Asked:
        tools = [
            {"type": "function", "name": "look", "parameters": SCHEMA},
            {"type": "custom", "name": "note"},
        ]
        include = ["reasoning.encrypted_content"]
        body = {"input": items, "tools": tools, "store": False, "include": include}
        self._call = decode_responses(_encoded(body))
        context = context_of(self._call, (), {})
        assembled = request_of(self._call, context, _SEAL)
        named = (*self._call.ignored, *self._call.adjusted)
        return Asked(
            assembled.request, (*named, *assembled.ignored, *assembled.adjusted)
        )

    def got(self, events: Events, prefix: str, *, stream: bool) -> Got | None:
        about = (self._call.echo, lambda: 1.0, _SEAL, self._call.tools, prefix)
        encoder = ResponseStream("abc", *about)
        if stream:
            wire = [*_streamed(encoder, events), *encoder.conclude()]
            response = _parsed(wire)[-1]["response"]
            done = [e["item"] for e in _parsed(wire) if e["type"].endswith("item.done")]
            assert done == response["output"]
        else:
            document = ResponseDocument(encoder)
            for batch in events:
                document.receive(batch)
            if document.error is not None:
                return None
            response = json.loads(document.encode())
        items = response["output"]
        calls = [
            _item_call(item, f"input[{number}]")
            for number, item in enumerate(items, 1)
            if item["type"] in _CALLS
        ]
        parts = [p for i in items if i["type"] == "message" for p in i["content"]]
        details = response["incomplete_details"] or {}
        stop = (
            None if response["error"] else (response["status"], details.get("reason"))
        )
        return Got(
            turn=items,
            text="".join(p["text"] for p in parts if p["type"] == "output_text"),
            calls=calls,
            refusal="".join(p["refusal"] for p in parts if p["type"] == "refusal"),
            stop=stop,
            usage=response["usage"],
            thoughts=[
                f"input[{number}]"
                for number, item in enumerate(items, 1)
                if item.get("encrypted_content")
            ],
        )

    def second(self, got: Got) -> Asked:
        items = [item for item in got.turn if item["type"] in _CALLS]
        results = [
            {
                "type": f"{item['type']}_output",
                "call_id": item["call_id"],
                "output": result_text(number),
            }
            for number, item in enumerate(items)
        ]
        return self._asked([QUESTION, *got.turn, *results, MORE])


def _item_call(item: Mapping[str, Any], at: str) -> Call:
    name, arguments = (item[field] for field in _CALLS[item["type"]])
    if item["type"] == "custom_tool_call":
        arguments = {"input": arguments}
    return Call(item["call_id"], name, arguments, at)


@define
class MessagesClient:
    """anthropic-python's messages."""

    thinking: Mapping[str, Any] | None = None
    _form: ThinkingForm = field(factory=ThinkingForm, init=False)

    def first(self) -> Asked:
        return self._asked([QUESTION])

    def _asked(self, messages: Sequence[Mapping[str, Any]]) -> Asked:
        tools = [{"name": name, "input_schema": SCHEMA} for name in ("look", "note")]
        thinking = {} if self.thinking is None else {"thinking": self.thinking}
        body = {"messages": messages, "max_tokens": 9999, "tools": tools, **thinking}
        call = decode_messages(_encoded(body))
        self._form = call.thinking
        return Asked(call.request, (*call.ignored, *call.adjusted))

    def got(self, events: Events, prefix: str, *, stream: bool) -> Got | None:
        meta = MessageMeta(id="msg_1", request_id="req_1")
        if stream:
            message = self._collected(meta, events)
        else:
            document = MessageDocument(meta, self._form)
            for batch in events:
                document.receive(batch)
            message = None if document.error else json.loads(document.encode())
        if message is None:
            return None
        content = message["content"]
        texts = [block["text"] for block in content if block["type"] == "text"]
        return Got(
            turn=[{"role": "assistant", "content": content}],
            text="".join(texts),
            calls=[
                Call(b["id"], b["name"], b["input"], f"messages[1].content[{n}]")
                for n, b in enumerate(content)
                if b["type"] == "tool_use"
            ],
            stop=message["stop_reason"],
            usage=message["usage"],
            thoughts=[
                f"messages[1].content[{n}]"
                for n, b in enumerate(content)
                if b.get("signature") or b["type"] == "redacted_thinking"
            ],
        )

    def _collected(self, meta: MessageMeta, events: Events) -> Any:
        snapshot: Any = None
        buffers: dict[int, bytes] = {}
        for event in _parsed(_streamed(MessageStream(meta, self._form), events)):
            if event["type"] == "error":
                break
            if event["type"] == "ping":
                continue
            try:
                snapshot = accumulate_event(
                    event=event,  # type: ignore[arg-type]
                    current_snapshot=snapshot,
                    json_bufs=buffers,
                )
            except ValueError:
                # The SDK reads no arguments that are not JSON, and keeps what it has.
                continue
        if snapshot is None:
            return None
        assert isinstance(snapshot, Message)
        return snapshot.to_dict(mode="json", warnings=False)

    def second(self, got: Got) -> Asked:
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": result_text(number),
            }
            for number, call in enumerate(got.calls)
        ]
        behind = [*results, {"type": "text", "text": MORE["content"]}]
        asked = {"role": "user", "content": behind}
        return self._asked([QUESTION, *got.turn, asked])
