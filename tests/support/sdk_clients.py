"""What the clients' SDKs make of an answer, and their next request with it. No sockets.

Each client asks a question, puts the answer together as its SDK does, and sends it back
with a result for each of its calls.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anthropic.lib.streaming._messages import accumulate_event
from attrs import define, field, frozen
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from typing_extensions import override

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import MessageMeta
from ccproxy.api.messages.stream import MessageStream, ThinkingForm
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import (
    DecodedResponsesRequest,
    decode_responses,
)
from ccproxy.api.responses.output.response import ResponseDocument
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.encoding import DONE
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


class SDKClient(ABC):
    """A client of one API."""

    path: ClassVar[str]

    def first(self) -> bytes:
        """The first request."""
        return self.request([QUESTION])

    @abstractmethod
    def second(self, got: Got) -> bytes:
        """The request with the answer and results for its calls."""

    @abstractmethod
    def request(self, turns: Sequence[Mapping[str, Any]]) -> bytes:
        """A request with these messages or items."""

    @abstractmethod
    def decoded(self, body: bytes) -> Asked:
        """A request, as the proxy decodes it."""

    @abstractmethod
    def encoder(self, prefix: str) -> Any:
        """The proxy's encoder of a stream, for the request that was decoded last."""

    @abstractmethod
    def document(self, prefix: str) -> Any:
        """Likewise, of an answer that is not streamed."""

    @abstractmethod
    def read_stream(self, told: Sequence[Any]) -> Got | None:
        """An answer, from the data of its events; None: it is an error only."""

    @abstractmethod
    def read(self, document: Any) -> Got:
        """An answer that is not streamed."""

    def got(self, events: Events, prefix: str, *, stream: bool) -> Got | None:
        """The answer, through the proxy's encoders; None: it is an error only."""
        if stream:
            return self.read_stream([*self._streamed(events, prefix)])
        document = self.document(prefix)
        for batch in events:
            document.receivers[0](batch)
        return None if document.error else self.read(json.loads(document.encode()))

    def _streamed(self, events: Events, prefix: str) -> Iterator[Any]:
        encoder = self.encoder(prefix)
        wire = [event for batch in events for event in encoder.encoders[0](batch)]
        if isinstance(encoder, ResponseStream):
            wire += encoder.conclude()
        yield from (json.loads(event.data) for event in wire if event != DONE)


def result_text(number: int) -> str:
    return f"result {number}"


def _encoded(body: Mapping[str, Any]) -> bytes:
    encoded = json.dumps({"model": "sonnet", **body})
    # JavaScript reads a number that is too large as infinity, and prints it as null.
    return re.sub(r"-?Infinity", "null", encoded).encode()


@define
class ChatClient(SDKClient):
    """openai-python's chat completions."""

    path: ClassVar[str] = "/v1/chat/completions"
    is_legacy: bool = False
    _format: ToolCallFormat = field(factory=ToolCallFormat, init=False)

    @override
    def request(self, turns: Sequence[Mapping[str, Any]]) -> bytes:
        function = {"name": "look", "parameters": SCHEMA}
        custom = {"type": "custom", "custom": {"name": "note"}}
        tools = [{"type": "function", "function": function}, custom]
        offered = {"functions": [function]} if self.is_legacy else {"tools": tools}
        return _encoded({"messages": turns, **offered})

    @override
    def second(self, got: Got) -> bytes:
        results: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": call.id, "content": result_text(number)}
            for number, call in enumerate(got.calls)
        ]
        if self.is_legacy and got.calls:
            results = [{"role": "function", "name": "look", "content": result_text(0)}]
        return self.request([QUESTION, *got.turn, *results, MORE])

    @override
    def decoded(self, body: bytes) -> Asked:
        call = decode_chat(body)
        self._format = call.call_format
        return Asked(call.request, (*call.ignored, *call.adjusted))

    @override
    def encoder(self, prefix: str) -> ChatStream:
        return ChatStream(_meta(prefix), 1, True, self._format)

    @override
    def document(self, prefix: str) -> ChatDocument:
        return ChatDocument(_meta(prefix), 1, self._format)

    @override
    def read_stream(self, told: Sequence[Any]) -> Got | None:
        state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
        chunks = [chunk for chunk in told if "error" not in chunk]
        for chunk in chunks:
            built: Any = construct_type(type_=ChatCompletionChunk, value=chunk)
            state.handle_chunk(built)
        return (
            self.read(state.current_completion_snapshot.to_dict()) if chunks else None
        )

    @override
    def read(self, document: Any) -> Got:
        [choice] = document["choices"]
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
            usage=document.get("usage"),
            thoughts=[
                f"messages[1].reasoning_details[{n}]"
                for n, _ in enumerate(message.get("reasoning_details") or ())
            ],
        )


def _meta(prefix: str) -> CompletionMeta:
    return CompletionMeta(id="chatcmpl-1", created=1, prefix=prefix)


def _called(call: Mapping[str, Any]) -> tuple[str, Any]:
    if "custom" in call:
        return call["custom"]["name"], {"input": call["custom"]["input"]}
    return call["function"]["name"], call["function"]["arguments"]


# The items of calls, with their names of the name and the arguments.
_CALLS = {
    "function_call": ("name", "arguments"),
    "custom_tool_call": ("name", "input"),
}


@define
class ResponsesClient(SDKClient):
    """openai-python's Responses, without a store."""

    path: ClassVar[str] = "/v1/responses"
    _call: DecodedResponsesRequest = field(init=False)

    @override
    def request(self, turns: Sequence[Mapping[str, Any]]) -> bytes:
        tools = [
            {"type": "function", "name": "look", "parameters": SCHEMA},
            {"type": "custom", "name": "note"},
        ]
        include = ["reasoning.encrypted_content"]
        about = {"tools": tools, "store": False, "include": include}
        return _encoded({"input": turns, **about})

    @override
    def second(self, got: Got) -> bytes:
        items = [item for item in got.turn if item["type"] in _CALLS]
        results = [
            {
                "type": f"{item['type']}_output",
                "call_id": item["call_id"],
                "output": result_text(number),
            }
            for number, item in enumerate(items)
        ]
        return self.request([QUESTION, *got.turn, *results, MORE])

    @override
    def decoded(self, body: bytes) -> Asked:
        call = self._call = decode_responses(body)
        assembled = request_of(call, context_of(call, (), {}), _SEAL)
        named = (*call.ignored, *call.adjusted)
        return Asked(
            assembled.request, (*named, *assembled.ignored, *assembled.adjusted)
        )

    @override
    def encoder(self, prefix: str) -> ResponseStream:
        about = (self._call.echo, lambda: 1.0, _SEAL, self._call.tools, prefix)
        return ResponseStream("abc", *about)

    @override
    def document(self, prefix: str) -> ResponseDocument:
        return ResponseDocument(self.encoder(prefix))

    def decrypted(self, encrypted: str) -> Mapping[str, str]:
        """Encrypted content of an item, in the clear."""
        values = _SEAL.decrypt(encrypted)
        assert values is not None
        return values

    @override
    def read_stream(self, told: Sequence[Any]) -> Got:
        response = told[-1]["response"]
        done = [e["item"] for e in told if e["type"].endswith("item.done")]
        assert done == response["output"]
        return self.read(response)

    @override
    def read(self, document: Any) -> Got:
        items = document["output"]
        calls = [
            _item_call(item, f"input[{number}]")
            for number, item in enumerate(items, 1)
            if item["type"] in _CALLS
        ]
        parts = [p for i in items if i["type"] == "message" for p in i["content"]]
        details = document["incomplete_details"] or {}
        end = document["status"], details.get("reason")
        return Got(
            turn=items,
            text="".join(p["text"] for p in parts if p["type"] == "output_text"),
            calls=calls,
            refusal="".join(p["refusal"] for p in parts if p["type"] == "refusal"),
            stop=None if document["error"] else end,
            usage=document["usage"],
            thoughts=[
                f"input[{number}]"
                for number, item in enumerate(items, 1)
                if item.get("encrypted_content")
            ],
        )


def _item_call(item: Mapping[str, Any], at: str) -> Call:
    name, arguments = (item[field] for field in _CALLS[item["type"]])
    if item["type"] == "custom_tool_call":
        arguments = {"input": arguments}
    return Call(item["call_id"], name, arguments, at)


@define
class MessagesClient(SDKClient):
    """anthropic-python's messages."""

    path: ClassVar[str] = "/v1/messages"
    thinking: Mapping[str, Any] | None = None
    _form: ThinkingForm = field(factory=ThinkingForm, init=False)

    @override
    def request(self, turns: Sequence[Mapping[str, Any]]) -> bytes:
        tools = [{"name": name, "input_schema": SCHEMA} for name in ("look", "note")]
        thinking = {} if self.thinking is None else {"thinking": self.thinking}
        about = {"max_tokens": 9999, "tools": tools, **thinking}
        return _encoded({"messages": turns, **about})

    @override
    def second(self, got: Got) -> bytes:
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": result_text(number),
            }
            for number, call in enumerate(got.calls)
        ]
        behind = [*results, {"type": "text", "text": MORE["content"]}]
        return self.request([QUESTION, *got.turn, {"role": "user", "content": behind}])

    @override
    def decoded(self, body: bytes) -> Asked:
        call = decode_messages(body)
        self._form = call.thinking
        return Asked(call.request, (*call.ignored, *call.adjusted))

    @override
    def encoder(self, prefix: str) -> MessageStream:
        return MessageStream(_MESSAGE, self._form)

    @override
    def document(self, prefix: str) -> MessageDocument:
        return MessageDocument(_MESSAGE, self._form)

    @override
    def read_stream(self, told: Sequence[Any]) -> Got | None:
        snapshot: Any = None
        buffers: dict[int, bytes] = {}
        for event in told:
            if event["type"] in ("error", "ping"):
                continue
            try:
                snapshot = accumulate_event(
                    event=event, current_snapshot=snapshot, json_bufs=buffers
                )
            except ValueError:
                # The SDK reads no arguments that are not JSON, and keeps what it has.
                continue
        if snapshot is None:
            return None
        return self.read(snapshot.to_dict(mode="json", warnings=False))

    @override
    def read(self, document: Any) -> Got:
        content = document["content"]
        return Got(
            turn=[{"role": "assistant", "content": content}],
            text="".join(b["text"] for b in content if b["type"] == "text"),
            calls=[
                Call(b["id"], b["name"], b["input"], f"messages[1].content[{n}]")
                for n, b in enumerate(content)
                if b["type"] == "tool_use"
            ],
            stop=document["stop_reason"],
            usage=document["usage"],
            thoughts=[
                f"messages[1].content[{n}]"
                for n, b in enumerate(content)
                if b.get("signature") or b["type"] == "redacted_thinking"
            ],
        )


_MESSAGE = MessageMeta(id="msg_1", request_id="req_1")
