"""What comes down is what was said; streamed, whole and stored say the same.

Random answers of the provider go to a client of each API. The events of a stream are
put together by the words of the APIs' documents (``tests/support/folding.py``).
``CCPROXY_FUZZ=500`` tries more than the suite has time for.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.messages.request import decode_messages
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.api.responses.lifecycle.stored import (
    decode_events,
    kept_response,
    shown_response,
)
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.encoding import DONE, without_halves
from ccproxy.core.errors import UnsupportedValue
from ccproxy.core.stream import Finished, MessageStart
from tests.support.folding import exact, folded_chat, folded_message, folded_response
from tests.support.scripted_answers import (
    ScriptedAnswer,
    ScriptedBlock,
    scripted_answers,
)
from tests.support.sdk_clients import (
    ChatClient,
    MessagesClient,
    ResponsesClient,
    SDKClient,
)
from tests.support.spec import response_errors, response_event_errors

pytestmark = pytest.mark.exhaustive

TRIES = int(os.environ.get("CCPROXY_FUZZ", "60"))
THINKING = {"type": "adaptive"}


def answers(test: Callable[[ScriptedAnswer], None]) -> Callable[[], None]:
    drawn: Callable[[], None] = given(scripted_answers())(test)
    slow = (HealthCheck.too_slow, HealthCheck.data_too_large)
    return settings(max_examples=TRIES, deadline=None, suppress_health_check=slow)(
        drawn
    )


class Both:
    """An answer as a stream, and as a document; the latter is None if it failed."""

    def __init__(self, answer: ScriptedAnswer, client: SDKClient) -> None:
        client.decoded(client.first())
        self.streaming = client.encoder("")
        self.collector = client.document("")
        self.wire = []
        for batch in answer.events():
            self.wire += self.streaming.encoders[0](batch)
            self.collector.receivers[0](batch)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The events of the stream."""
        return [json.loads(event.data) for event in self.wire if event != DONE]

    @property
    def document(self) -> bytes | None:
        return None if self.collector.error else self.collector.encode()


def _same_text(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice, whose message has no text or an empty one."""
    message = choice["message"]
    return {**choice, "message": {**message, "content": message["content"] or ""}}


@pytest.mark.parametrize("is_legacy", [False, True])
def test_chat_completions(is_legacy: bool) -> None:
    @answers
    def check(answer: ScriptedAnswer) -> None:
        both = Both(answer, ChatClient(is_legacy=is_legacy))
        if both.document is None:
            return
        folded, document = folded_chat(both.told), json.loads(both.document)
        [streamed], [whole] = folded["choices"], document["choices"]
        assert _same_text(streamed) == _same_text(whole)
        assert {**folded, "choices": []} == {**document, "choices": []}
        assert document["model"] == both.collector.model == answer.model
        assert both.streaming.model == answer.model
        message = whole["message"]
        cited = [each["url_citation"] for each in message.get("annotations", ())]
        assert _slices(message["content"] or "", cited) == answer.cited_texts
        errors = [{"tool": "web_search", "code": "unavailable"}]
        failed = [b for b in answer.blocks if isinstance(b.start.get("content"), dict)]
        assert message.get("server_tool_errors", []) == errors * len(failed)
        assert (message["content"] or "") == answer.joined("text")
        assert message.get("reasoning_content", "") == answer.joined("thinking")
        details = message.get("reasoning_details", ())
        texts = [
            (detail["text"], detail["signature"])
            for detail in details
            if detail["type"] == "reasoning.text"
        ]
        assert texts == [
            (block.joined("thinking"), block.signature)
            for block in answer.blocks
            if block.signature
        ]

    check()


@answers
def test_responses(answer: ScriptedAnswer) -> None:
    client = ResponsesClient()
    both = Both(answer, client)
    both.wire += both.streaming.conclude()
    folded = folded_response(both.told)
    for event in both.told:
        assert response_event_errors(event) == []
    # What is kept is what was told.
    kept = decode_events(b"\n".join(event.data for event in both.wire))
    assert kept == both.wire
    stored = kept_response(both.streaming.response, both.streaming.output)
    shown = shown_response(stored, folded["status"], shows_encrypted=True)
    assert exact(shown.decode()) == exact(both.wire[-1].data.decode())[1][1]
    if both.document is None:
        return
    end = both.collector._stream.conclude()
    document = json.loads(both.document)
    assert document["model"] == both.streaming.model == answer.model
    assert response_errors(document) == []
    wire = [*both.collector.wire_events, *end]
    assert folded_response([json.loads(e.data) for e in wire]) == document
    assert _opened(folded, client) == _opened(document, client)
    texts = [p for i in document["output"] for p in i.get("content", ())]
    said = "".join(p["text"] for p in texts if p["type"] == "output_text")
    assert said == answer.joined("text")
    slices = [_slices(p["text"], p["annotations"]) for p in texts if "annotations" in p]
    assert [text for found in slices for text in found] == answer.cited_texts
    assert _searches(document) == [
        (block.start["input"].get("query"), block.start["input"].get("url"))
        for block in answer.blocks
        if block.type == "server_tool_use"
    ]
    secrets = [
        opened
        for item in _opened(document, client)["output"]
        if (opened := item.get("encrypted_content")) and "data" not in opened
    ]
    assert [(each["thinking"], each["signature"]) for each in secrets] == [
        (block.joined("thinking"), block.signature)
        for block in answer.blocks
        if block.signature
    ]


def _slices(text: str, citations: Sequence[dict[str, Any]]) -> list[str]:
    """The cited parts of a text."""
    return [text[each["start_index"] : each["end_index"]] for each in citations]


def _searches(response: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    """The queries and addresses of the calls of web tools."""
    items = [i for i in response["output"] if i["type"] == "web_search_call"]
    assert {item["status"] for item in items} <= {"completed", "failed"}
    actions = [item["action"] for item in items]
    return [(each.get("query") or None, each.get("url")) for each in actions]


def _opened(response: dict[str, Any], client: ResponsesClient) -> dict[str, Any]:
    """A response with its encrypted content in the clear: it is never twice alike."""
    output = [
        {**item, "encrypted_content": client.decrypted(item["encrypted_content"])}
        if "encrypted_content" in item
        else item
        for item in response["output"]
    ]
    return {**response, "output": output}


@pytest.mark.parametrize("thinking", [THINKING, None])
def test_messages(thinking: dict[str, Any] | None) -> None:
    @answers
    def check(answer: ScriptedAnswer) -> None:
        both = Both(answer, MessagesClient(thinking))
        if both.document is None:
            return
        folded, inputs = folded_message(both.told)
        text = both.document.decode()
        document = json.loads(text)
        said = [
            block
            for block in answer.blocks
            if thinking or block.type not in ("thinking", "redacted_thinking")
        ]
        blocks = dict(exact(text))["content"]
        assert len(said) == len(blocks) == len(inputs)
        for block, whole, pieces, ours in zip(
            said, document["content"], inputs, folded["content"], strict=True
        ):
            assert {**whole, "input": ...} == {**block.document(), "input": ...}
            assert {**whole, "input": ...} == {**ours, "input": ...}
            _same_input(block, pieces)
        raw = [dict(block).get("input") for block in blocks]
        for block, arguments in zip(said, raw, strict=True):
            if block.has_object:
                assert arguments == exact(_without_halves(block.arguments or "{}"))
        assert {**folded, "content": []} == {**document, "content": []}
        assert document["model"] == both.collector.model == answer.model
        assert both.streaming.model == answer.model
        told = answer.message_fields
        assert {name: document[name] for name in told} == told
        assert document["usage"] == answer.whole_usage

    check()


def _same_input(block: ScriptedBlock, pieces: str) -> None:
    if block.has_object:
        assert exact(pieces or "{}") == exact(block.arguments or "{}")
    elif block.type == "tool_use":
        assert pieces == block.arguments


def _without_halves(json_text: str) -> str:
    """JSON as it is in a document: half a surrogate pair is U+FFFD."""
    return without_halves(json_text.encode()).decode()


# Python's and JavaScript's floats print each of them otherwise, or cannot hold it.
_NUMBERS = "[1.0, 1e3, 1E400, -0.0, 0.10, 12345678901234567890123]"


def _with_numbers(**fields: Any) -> bytes:
    """A body, with the numbers in place of each null."""
    return json.dumps(fields).replace("null", _NUMBERS).encode()


_SCHEMA = {"type": "object", "properties": {"a": {"enum": None}}}


def test_a_stored_response_has_the_numbers_of_the_request() -> None:
    tool = {"type": "function", "name": "f", "parameters": _SCHEMA}
    call = decode_responses(_with_numbers(input="hi", tools=[tool]))
    encoder = ResponseStream("abc", call.echo, lambda: 1.0)
    encoder.encode([MessageStart("m"), Finished("end_turn")])
    wire = encoder.conclude()
    told = dict(exact(wire[-1].data.decode()))["response"]
    stored = kept_response(encoder.response, encoder.output)
    shown = shown_response(stored, "completed", shows_encrypted=True)
    assert exact(shown.decode()) == told
    [echoed] = dict(told)["tools"]
    assert dict(echoed)["parameters"] == exact(_with_numbers(**_SCHEMA).decode())


def test_a_number_that_no_float_holds_is_no_bug() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}
    messages = [{"role": "user", "content": "hi"}]
    body = _with_numbers(messages=messages, tools=[tool], of_tomorrow={"x": None})
    assert decode_chat(body).ignored == ("of_tomorrow",)
    # Nor in a field that is declared, only to be named.
    named = _with_numbers(messages=messages, prediction={"x": None})
    assert decode_chat(named).ignored == ("prediction",)
    item = {"role": "user", "content": "hi", "of_tomorrow": None}
    items = _with_numbers(input=[item], moderation={"x": None})
    assert "moderation" in decode_responses(items).ignored
    # A field that is refused is refused by its name.
    servers = _with_numbers(messages=messages, max_tokens=9, mcp_servers=[{"x": None}])
    with pytest.raises(UnsupportedValue, match="mcp_servers"):
        decode_messages(servers)
