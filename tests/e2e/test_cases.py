"""Requests that other gateways have answered wrongly, by the names of their cases.

Each was reported for another gateway or client; the requests here are small, and in
words of our own. A case is sent as it is and streamed, on one server in turn, so that
it also follows others.
"""

import json
import random
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock
from tests.support.messages_requests import MODEL_MAP, png
from tests.support.naming import named
from tests.support.server import RunningProxy, Upstream, events

Start = Callable[..., RunningProxy]
JSON = dict[str, Any]

SHARED: dict[str, Any] = {"spares": 0, "model_map": MODEL_MAP}
ROOT = Path(__file__).parents[2]
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
PARAMETERS = {"type": "object", "properties": {"path": {"type": "string"}}}
READ = {"name": "read_file", "description": "Reads.", "parameters": PARAMETERS}
NESTED = {"type": "function", "function": READ}
# As the Messages API has it.
SENT = {"name": "read_file", "description": "Reads.", "input_schema": PARAMETERS}
HI = {"role": "user", "content": "one"}
ARGUMENTS = '{"path": "a.txt"}'


@frozen
class Answer:
    """What a client got, and what was sent upstream."""

    status: int
    headers: Any
    text: str
    calls: Sequence[tuple[str, str]]
    reason: str | None
    document: Any
    bodies: Sequence[JSON]

    @property
    def body(self) -> JSON:
        """The last body at the provider."""
        return self.bodies[-1]

    @property
    def turns(self) -> list[tuple[str, Any]]:
        """Its messages without breakpoints; one text block is a text."""
        return [(m["role"], _plain(m["content"])) for m in self.body["messages"]]

    @property
    def tools(self) -> list[JSON]:
        return [
            {k: v for k, v in tool.items() if k != "cache_control"}
            for tool in self.body.get("tools", ())
        ]

    @property
    def named(self) -> list[str]:
        return named(self.headers) or []


def _plain(content: Any) -> Any:
    if isinstance(content, str):
        return content
    bare = [{k: v for k, v in b.items() if k != "cache_control"} for b in content]
    is_text = len(bare) == 1 and bare[0].keys() == {"type", "text"}
    return bare[0]["text"] if is_text else bare


@frozen
class Case:
    """Requests of one API, and what is right.

    Attributes:
        path: where all requests go.
        requests: the bodies; a function gets the answer before.
        check: fails if the last answer is wrong.
        reply: what the provider answers.
    """

    path: str
    requests: Sequence[Any]
    check: Callable[[Answer], object]
    reply: Reply = field(factory=Reply)


CASES: dict[str, Case] = {}


def case(
    name: str, path: str, *requests: Any, reply: Reply | None = None
) -> Callable[[Callable[[Answer], object]], Callable[[Answer], object]]:
    """Make a case of the function that checks its last answer."""

    def add(check: Callable[[Answer], object]) -> Callable[[Answer], object]:
        CASES[name] = Case(path, requests, check, reply or Reply())
        return check

    return add


def chat(*messages: JSON, **fields: Any) -> JSON:
    return {"model": "sonnet", "messages": list(messages) or [HI], **fields}


def called(arguments: str, identifier: str | None = "call_1") -> list[JSON]:
    """A chat conversation with a call in it."""
    function = {"name": "read_file", "arguments": arguments}
    call = {"id": identifier, "type": "function", "function": function}
    return [
        {"role": "user", "content": "read"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": identifier, "content": "empty"},
        {"role": "user", "content": "go on"},
    ]


def sent_input(answer: Answer) -> Any:
    """The input of the past call upstream."""
    [call] = answer.turns[1][1]
    return call["input"]


# Tools


@case(
    "tool-description-over-4096",
    CHAT,
    chat(tools=[{"type": "function", "function": {**READ, "description": "x" * 5000}}]),
)
def _(answer: Answer) -> None:
    assert answer.tools == [{**SENT, "description": "x" * 5000}]


def note(description: str, *messages: JSON) -> JSON:
    function = {"name": "note", "description": description, "parameters": PARAMETERS}
    return chat(*messages, tools=[{"type": "function", "function": function}])


@case(
    "tool-description-changes-between-turns",
    CHAT,
    note("it is one o'clock"),
    lambda before: note(
        "it is two o'clock",
        HI,
        {"role": "assistant", "content": before.text or "so"},
        {"role": "user", "content": "two"},
    ),
)
def _(answer: Answer) -> None:
    assert answer.tools[0]["description"] == "it is two o'clock"


@case(
    "tool-description-of-an-unrelated-conversation",
    CHAT,
    note("of Ann", {"role": "user", "content": "I am Ann"}),
    note("of Bob", {"role": "user", "content": "I am Bob"}),
)
def _(answer: Answer) -> None:
    told = [body["tools"][0]["description"] for body in answer.bodies]
    # After an answer in one burst, the CLI may send its request once more.
    assert list(dict.fromkeys(told)) == ["of Ann", "of Bob"]


SEARCH = {"name": "ToolSearch", "input_schema": PARAMETERS}
FOUND = ScriptedBlock((ARGUMENTS,), tool_use=("toolu_1", "ToolSearch"))


@case(
    "tool-named-ToolSearch",
    MESSAGES,
    {"max_tokens": 64, "messages": [HI], "tools": [SEARCH]},
    reply=Reply(blocks=(FOUND,), stop_reason="tool_use"),
)
def _(answer: Answer) -> None:
    assert answer.tools == [SEARCH]
    assert answer.calls == [("ToolSearch", ARGUMENTS)]


USED = {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {}}
REFERRED = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": [{"type": "tool_reference", "tool_name": "create_page"}],
}
DEFERRED = {
    "name": "create_page",
    "defer_loading": True,
    "input_schema": {"type": "object"},
}


@case(
    "tool-reference-in-a-result",
    MESSAGES,
    {
        "max_tokens": 64,
        "messages": [
            HI,
            {"role": "assistant", "content": [USED]},
            {"role": "user", "content": [REFERRED]},
        ],
        "tools": [SEARCH, DEFERRED],
    },
)
def _(answer: Answer) -> None:
    assert answer.tools == [SEARCH, DEFERRED]
    assert answer.turns[1:] == [("assistant", [USED]), ("user", [REFERRED])]


@case(
    "chat-flat-tools-beside-nested",
    CHAT,
    chat(tools=[NESTED, {"type": "function", **READ, "name": "list_files"}]),
)
def _(answer: Answer) -> None:
    assert answer.tools == [SENT, {**SENT, "name": "list_files"}]


@case("chat-input-schema-tools", CHAT, chat(tools=[SENT]))
def _(answer: Answer) -> None:
    assert answer.tools == [SENT]


@case("chat-tools-without-type", CHAT, chat(tools=[{"function": READ}]))
def _(answer: Answer) -> None:
    assert answer.tools == [SENT]


@case(
    "chat-input-for-messages",
    CHAT,
    {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", **READ}],
    },
)
def _(answer: Answer) -> None:
    assert (answer.turns, answer.tools) == ([("user", "hi")], [SENT])
    assert '"chat.completion' in json.dumps(answer.document)


@case(
    "chat-tool-choice-object", CHAT, chat(tools=[NESTED], tool_choice={"type": "auto"})
)
def _(answer: Answer) -> None:
    assert answer.body.get("tool_choice", {"type": "auto"}) == {"type": "auto"}
    assert answer.named == []


# Conversations

ANTHROPICS = {**USED, "name": "read_file", "input": {"path": "a.txt"}}
EMPTY = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "empty"}


@case(
    "chat-anthropic-tool-blocks",
    CHAT,
    chat(
        HI,
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I look."}, ANTHROPICS],
        },
        {"role": "user", "content": [EMPTY]},
        tools=[NESTED],
    ),
)
def _(answer: Answer) -> None:
    assert answer.turns[1:] == [
        ("assistant", [{"type": "text", "text": "I look."}, ANTHROPICS]),
        ("user", [EMPTY]),
    ]


@case(
    "chat-stop-newline",
    CHAT,
    chat(stop="\n"),
    reply=Reply(blocks=(ScriptedBlock(("one", " line\nan", "other")),)),
)
def _(answer: Answer) -> None:
    assert (answer.text, answer.reason) == ("one line", "stop")
    assert "stop_sequences" not in answer.body
    assert answer.named == ["stop"]


@case("chat-system-alone", CHAT, chat({"role": "system", "content": "Describe Oslo."}))
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "Describe Oslo.")]
    assert answer.named == ["messages[0].role"]


@case(
    "responses-developer-last",
    RESPONSES,
    {
        "store": False,
        "input": [
            HI,
            {"role": "assistant", "content": "two"},
            {"role": "developer", "content": "Now sum it up."},
        ],
    },
)
def _(answer: Answer) -> None:
    assert answer.turns == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "Now sum it up."),
    ]
    assert answer.named == ["input[2].role"]


@case("model-suffix-thinking", CHAT, {**chat(), "model": "claude-sonnet-4-5-thinking"})
def _(answer: Answer) -> None:
    assert answer.body["thinking"]["type"] in ("enabled", "adaptive")


@case("history-arguments-cut", CHAT, chat(*called('{"path": "a.t'), tools=[NESTED]))
def _(answer: Answer) -> None:
    assert sent_input(answer) == {"arguments": '{"path": "a.t'}
    assert answer.named == ["messages[1].tool_calls[0].function.arguments"]


@case("history-arguments-null", CHAT, chat(*called("null"), tools=[NESTED]))
def _(answer: Answer) -> None:
    assert sent_input(answer) == {}
    assert answer.named == ["messages[1].tool_calls[0].function.arguments"]


@case(
    "history-arguments-encoded-twice",
    CHAT,
    chat(*called(json.dumps(ARGUMENTS)), tools=[NESTED]),
)
def _(answer: Answer) -> None:
    assert sent_input(answer) == {"path": "a.txt"}


@case("history-call-id-null", CHAT, chat(*called(ARGUMENTS, None), tools=[NESTED]))
def _(answer: Answer) -> None:
    [call] = answer.turns[1][1]
    [result, _] = answer.turns[2][1]
    assert re.fullmatch("[a-zA-Z0-9_-]+", call["id"])
    assert result["tool_use_id"] == call["id"]


CUT = ScriptedBlock(('{"path": "a.t',), tool_use=("toolu_9", "read_file"))


@case(
    "cut-call-is-taken-back",
    CHAT,
    chat(tools=[NESTED], max_tokens=20),
    lambda before: chat(
        HI,
        {
            "role": "assistant",
            "content": before.text or None,
            "tool_calls": [
                {
                    "id": "toolu_9",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for name, arguments in before.calls
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_9", "content": "not run"},
        {"role": "user", "content": "again, shorter"},
        tools=[NESTED],
    ),
    reply=Reply(blocks=(CUT,), stop_reason="max_tokens"),
)
def _(answer: Answer) -> None:
    assert sent_input(answer) == {"arguments": '{"path": "a.t'}


SEALED = {"type": "reasoning.encrypted", "data": "gAAAAABexample", "index": 0}


@case(
    "foreign-reasoning-details",
    CHAT,
    chat(
        HI,
        {
            "role": "assistant",
            "content": "earlier",
            "reasoning_details": [{**SEALED, "format": "openai-responses-v1"}],
        },
        HI,
    ),
)
def _(answer: Answer) -> None:
    assert answer.turns[1] == ("assistant", "earlier")
    assert answer.named == ["messages[1].reasoning_details[0]"]


def foreign(item: JSON) -> JSON:
    said = {"role": "assistant", "content": "earlier"}
    return {"store": False, "input": [HI, item, said, HI]}


REASONING = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo"}
PICTURE = {"type": "image_generation_call", "id": "ig_1", "result": None}


@case("foreign-sealed-reasoning-item", RESPONSES, foreign(REASONING))
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "one"), ("assistant", "earlier"), ("user", "one")]
    assert answer.named == ["input[1]"]


@case("foreign-item-kinds", RESPONSES, foreign(PICTURE))
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "one"), ("assistant", "earlier"), ("user", "one")]
    assert answer.named == ["input[1]"]


@case("half-a-surrogate", CHAT, chat({"role": "user", "content": "cut \ud83d here"}))
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "cut \ufffd here")]
    assert answer.named == ["messages[0].content"]


def picture(kind: str, data: str) -> JSON:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


@case(
    "png-declared-jpeg",
    CHAT,
    chat({"role": "user", "content": [picture("image/jpeg", png())]}),
)
def _(answer: Answer) -> None:
    [image] = answer.turns[0][1]
    assert image["source"] == {
        "type": "base64",
        "media_type": "image/png",
        "data": png(),
    }


@case(
    "big-integer-in-a-past-call",
    CHAT,
    chat(
        *called('{"offset": 12345678901234567890, "scale": 1.0, "zero": -0.0}'),
        tools=[NESTED],
    ),
)
def _(answer: Answer) -> None:
    assert answer.named == ["messages[1].tool_calls[0].function.arguments"]


# Answers

LOOKED = ScriptedBlock((ARGUMENTS,), tool_use=("toolu_1", "read_file"))


@case(
    "call-that-ends-with-end_turn",
    CHAT,
    chat(tools=[NESTED]),
    reply=Reply(blocks=(LOOKED,), stop_reason="end_turn"),
)
def _(answer: Answer) -> None:
    assert answer.calls == [("read_file", ARGUMENTS)]
    assert len(answer.bodies) == 1


@case("empty-answer", CHAT, chat(), reply=Reply(output_tokens=0))
def _(answer: Answer) -> None:
    assert (answer.text, answer.reason) == ("", "stop")


@case(
    "thinking-only-answer",
    CHAT,
    chat(reasoning_effort="high"),
    reply=Reply(blocks=(ScriptedBlock(("hm",), is_thinking=True),)),
)
def _(answer: Answer) -> None:
    assert (answer.text, answer.reason) == ("", "stop")
    assert "hm" in json.dumps(answer.document)


@case(
    "stop-sequence-at-the-start",
    CHAT,
    chat(stop=["END"]),
    reply=Reply(stop_reason="stop_sequence", stop_sequence="END", output_tokens=0),
)
def _(answer: Answer) -> None:
    assert (answer.text, answer.reason) == ("", "stop")
    assert answer.body["stop_sequences"] == ["END"]


HUGE = '{"path": "a", "n": 1e400}'


@case(
    "arguments-with-1e400",
    MESSAGES,
    {"max_tokens": 64, "messages": [HI], "tools": [SENT]},
    # Python's `json` writes the number in no valid way.
    json.dumps(
        {
            "model": "sonnet",
            "max_tokens": 64,
            "messages": [
                HI,
                {"role": "assistant", "content": [{**ANTHROPICS, "input": "HUGE"}]},
                {"role": "user", "content": [EMPTY]},
            ],
            "tools": [SENT],
        }
    )
    .replace('"HUGE"', HUGE)
    .encode(),
    reply=Reply(
        blocks=(ScriptedBlock((HUGE,), tool_use=("toolu_1", "read_file")),),
        stop_reason="tool_use",
    ),
)
def _(answer: Answer) -> None:
    assert [name for name, _ in answer.calls] == ["read_file"]
    assert answer.named == ["messages[1].content[0].input"]


# Transport


@case("url-v1-twice", "/v1/v1/chat/completions", chat())
@case("url-trailing-slash", "/v1/chat/completions/", chat())
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "one")]


@case("body-with-bom", CHAT, b"\xef\xbb\xbf" + json.dumps(chat()).encode())
def _(answer: Answer) -> None:
    assert answer.turns == [("user", "one")]


NOISE = random.Random(0)
PNG = b64decode(png(800, 600))
SHOTS = [PNG + NOISE.randbytes(1_100_000) for _ in range(2)]
PICTURES = [picture("image/png", b64encode(shot).decode()) for shot in SHOTS]


@case("body-of-two-screenshots", CHAT, chat({"role": "user", "content": PICTURES}))
def _(answer: Answer) -> None:
    data = [block["source"]["data"] for block in answer.turns[0][1]]
    assert data == [b64encode(shot).decode() for shot in SHOTS]


TOO_LONG = "prompt is too long: 1000000 tokens > 200000 maximum"


@case(
    "prompt-too-long-for-the-cli",
    CHAT,
    chat({"role": "user", "content": "word " * 800_000}),
    reply=Reply(status=400, error=("invalid_request_error", TOO_LONG)),
)
def _(answer: Answer) -> None:
    assert answer.document["error"]["code"] == "context_length_exceeded"


# Cases that need more than a request, and the tests that have them.
ELSEWHERE: Mapping[str, str] = {
    "long-arguments-with-pings": "tests/e2e/test_worker.py::"
    "test_a_provider_that_is_silent_is_not_one_that_works",
    "idle-process-has-died": "tests/e2e/test_worker.py::test_hurt_while_idle",
    "older-cli-in-its-place": "tests/integration/claude/installation/"
    "test_conformance.py::test_a_real_one_that_is_too_old_in_the_place_of_another",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_another_test_has_the_case(name: str) -> None:
    path, function = ELSEWHERE[name].split("::")
    assert f"def {function}(" in (ROOT / path).read_text()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
@ensureDeferred
async def test_case(proxy: Start, upstream: Upstream, name: str, stream: bool) -> None:
    told = CASES[name]
    server = proxy(**SHARED)
    upstream.script(told.reply)
    before: Any = None
    for asked in told.requests:
        body = asked(before) if callable(asked) else asked
        before = await answered(server, upstream, told.path, body, stream=stream)
        assert (before.status == 200) is (told.reply.status == 200), before.document
    told.check(before)


async def answered(
    server: RunningProxy, upstream: Upstream, path: str, body: Any, *, stream: bool
) -> Answer:
    """Send a request, and read its answer of any API."""
    if not isinstance(body, bytes):
        asked = {"model": "sonnet", **body, "stream": stream}
        body = json.dumps(asked).encode()
    response = await server.post(path, body)
    text = await response.text()
    [kind] = response.headers.getRawHeaders("content-type")
    if kind.startswith("text/event-stream"):
        parts = [json.loads(data) for data in events(text) if data != "[DONE]"]
        document, readers = parts, _STREAMS
    else:
        document, readers = json.loads(text), _DOCUMENTS
    read = readers.get(path, readers[CHAT])
    said, calls, reason = ("", [], None) if "error" in document else read(document)
    seen = [dict(body) for body in upstream.bodies]
    about = (said, calls, reason, document, seen)
    return Answer(response.code, response.headers, *about)


Read = tuple[str, Sequence[tuple[str, str]], str | None]


def _chat(document: Any) -> Read:
    [choice] = document["choices"]
    message = choice["message"]
    called = [call["function"] for call in message.get("tool_calls") or ()]
    calls = [(call["name"], call["arguments"]) for call in called]
    return message["content"] or "", calls, choice["finish_reason"]


def _chat_stream(chunks: Any) -> Read:
    text, reason = "", None
    calls: list[tuple[str, str]] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            reason = choice["finish_reason"] or reason
            for call in choice["delta"].get("tool_calls") or ():
                if "id" in call:
                    calls.append((call["function"]["name"], ""))
                name, arguments = calls[call["index"]]
                more = call["function"].get("arguments", "")
                calls[call["index"]] = (name, arguments + more)
    return text, calls, reason


def _responses(document: Any) -> Read:
    texts = [
        part["text"]
        for item in document["output"]
        if item["type"] == "message"
        for part in item["content"]
    ]
    return "".join(texts), [], document["status"]


def _responses_stream(told: Any) -> Read:
    return _responses(told[-1]["response"])


def _messages(document: Any) -> Read:
    blocks = document["content"]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    calls = [(use["name"], json.dumps(use["input"])) for use in uses]
    return "".join(texts), calls, document["stop_reason"]


def _messages_stream(told: Any) -> Read:
    reason = None
    names: list[str] = []
    pieces: list[str] = []
    text = ""
    for event in told:
        block, delta = event.get("content_block", {}), event.get("delta", {})
        reason = delta.get("stop_reason") or reason
        text += delta.get("text", "")
        if block.get("type") == "tool_use":
            names.append(block["name"])
            pieces.append("")
        if "partial_json" in delta:
            pieces[-1] += delta["partial_json"]
    return text, list(zip(names, pieces, strict=True)), reason


_DOCUMENTS: Mapping[str, Callable[[Any], Read]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    MESSAGES: _messages,
}
_STREAMS: Mapping[str, Callable[[Any], Read]] = {
    CHAT: _chat_stream,
    RESPONSES: _responses_stream,
    MESSAGES: _messages_stream,
}
