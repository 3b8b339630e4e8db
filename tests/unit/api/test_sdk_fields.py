"""Fields of openai-python 3.57 that OpenAI's document, of 2026-08-21, does not have.

`test_fields.py` tests those of the document. None of these can be carried.
"""

from typing import Any

import pytest

from ccproxy.api.responses.input.fields import ResponsesRequest
from tests.support.fates import chat, declaration, responses

HI = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("access_programs", {"access_programs": {"cyber": "zq"}}),
        ("background_options", {"background_options": {"completion_window": "2h"}}),
        ("background_options", {"background_options": {"continuation_id": "zq"}}),
        ("image", {"image": {"context_compression": "enabled"}}),
        ("tools[0].async", {"tools": [{**FUNCTION, "async": True}]}),
        ("tools[0].async", {"tools": [{**FUNCTION, "type": "custom", "async": True}]}),
        ("input[1].async", {"input": [HI, {**CALL, "async": True}, OUTPUT]}),
        (
            "input[1].async",
            {
                "input": [
                    HI,
                    {**CUSTOM_CALL, "async": True},
                    {**OUTPUT, "type": "custom_tool_call_output"},
                ]
            },
        ),
        (
            "prompt_cache_options.comparison_response_id",
            {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
        ),
    ],
)
def test_a_newer_field_of_responses_is_named(path: str, fields: dict[str, Any]) -> None:
    outcome = responses({"input": [HI], **fields})
    assert (outcome.refused, path in outcome.ignored) == (None, True)
    found = declaration(path.replace("[1]", "[0]"), ResponsesRequest)
    assert found is not None
    assert found.is_unread


@pytest.mark.parametrize(
    ("ttl", "sent", "adjusted", "ignored"),
    [
        ("30m", '"ttl":"1h"', False, False),
        ("12h", '"ttl":"1h"', True, False),
        ("1y", '{"type":"ephemeral"}', False, True),
    ],
)
def test_the_lifetime_of_a_breakpoint(
    ttl: str, sent: str, adjusted: bool, ignored: bool
) -> None:
    marked = {"mode": "explicit", "ttl": ttl}
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": marked}
    outcome = chat({"messages": [{"role": "user", "content": [part]}]})
    path = "messages[0].content[0].prompt_cache_breakpoint.ttl"
    assert sent in outcome.text
    assert (path in outcome.adjusted, path in outcome.ignored) == (adjusted, ignored)


def test_an_unknown_field_of_a_breakpoint_is_named() -> None:
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"newer": 1}}
    outcome = responses({"input": [{"role": "user", "content": [part]}]})
    path = "input[0].content[0].prompt_cache_breakpoint.newer"
    assert outcome.ignored == (path,)


def test_a_newer_effort_in_the_conversation_is_named() -> None:
    update = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    outcome = responses({"input": [HI, update, HI]})
    assert (outcome.refused, outcome.ignored) == (None, ("input[1]",))


def test_a_newer_format_in_the_conversation_is_refused() -> None:
    update = {"type": "configuration_update", "text": {"format": {"type": "text"}}}
    assert responses({"input": [HI, update, HI]}).refused == "input[1].text"


def test_a_request_that_wants_no_answer_is_refused() -> None:
    prewarm = {"prompt_cache_options": {"prewarm": True}}
    path = "prompt_cache_options.prewarm"
    assert responses({"input": [HI], **prewarm}).refused == path
    assert chat({"messages": [HI], **prewarm}).refused == path
    off = {"prompt_cache_options": {"prewarm": False}}
    assert chat({"messages": [HI], **off}).ignored == ()
