"""Requests of OpenAI's APIs have the same meaning as bodies of the Messages API.

From the client's bytes to the body as the CLI sends it, without a CLI: decoded,
composed, merged. What it has to be is written from the APIs' documents.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.messages import MessagesRequest
from tests.support import chat_requests, responses_requests
from tests.support.bodies import CHAT, RESPONSES, Sent
from tests.support.comparison import differences
from tests.support.composed import BETAS, composed, upstream
from tests.support.messages_requests import ALIASES
from tests.support.provider_rules import violations

Test = Callable[..., None]
_SEAL = Encryptor(new_key())


def examples(count: int) -> Callable[[Test], Test]:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, deadline=None, suppress_health_check=slow)


def check(asked: MessagesRequest, sender: Sent, named: Sequence[str]) -> None:
    """The request goes up as it was expected, and is one that the provider takes."""
    expected = sender.meaning
    model_id = ALIASES.get(expected["model"], expected["model"])
    composition = composed(asked, model_id, effort=asked.effort)
    sent = upstream(composition.body, model_id)
    assert violations(sent, betas=BETAS) == []
    assert differences(expected, sent, joined=True) == []
    told = [*named, *composition.adjusted, *composition.ignored]
    assert sender.misnamed(told) == []


@examples(100)
@given(chat_requests.chat_requests())
def test_chat_completions(body: dict[str, Any]) -> None:
    call = decode_chat(json.dumps(body).encode())
    named = [*call.ignored, *call.adjusted]
    check(call.request, Sent(CHAT, body), named)


@examples(100)
@given(responses_requests.responses_requests())
def test_responses(body: dict[str, Any]) -> None:
    call = decode_responses(json.dumps(body).encode())
    assembled = request_of(call, context_of(call, (), {}), _SEAL)
    named = [*call.ignored, *call.adjusted, *assembled.ignored, *assembled.adjusted]
    check(assembled.request, Sent(RESPONSES, body), named)


def test_numbers_of_a_calls_arguments_are_named_by_the_clients_path() -> None:
    asked = {"role": "user", "content": "go"}
    said = {"name": "f", "arguments": '{"n": 1.0}'}
    call = {"id": "a", "type": "function", "function": said}
    result = {"role": "tool", "tool_call_id": "a", "content": "ok"}
    messages = [asked, {"role": "assistant", "tool_calls": [call]}, result]
    chat = decode_chat(json.dumps({"messages": messages}).encode())
    named = composed(chat.request).adjusted
    assert "messages[1].tool_calls[0].function.arguments" in named
    item = {"type": "function_call", "call_id": "a", **said}
    output = {"type": "function_call_output", "call_id": "a", "output": "ok"}
    call_of = decode_responses(json.dumps({"input": [asked, item, output]}).encode())
    assembled = request_of(call_of, context_of(call_of, (), {}), _SEAL)
    assert "input[1].arguments" in composed(assembled.request).adjusted
