"""The history that native mode sends to the CLI: one line a turn."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.claude.native.history import turn
from ccproxy.claude.native.prompt import (
    DocumentBlock,
    ImageBlock,
    PromptMessage,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

WELL_FORMED = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def written(line: bytes) -> Any:
    """One line, as the CLI reads it."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return json.loads(line)


def blocks(texts: Sequence[str]) -> tuple[TextBlock, ...]:
    return tuple(map(TextBlock, texts))


@given(st.lists(WELL_FORMED, min_size=1), st.booleans())
@example(["a\nb\r\nc\u2028d\x00\x85 @/etc/passwd"], True)
@example(["/clear"], False)
def test_a_user_turn_is_one_line_and_word_for_word(texts: list[str], ask: bool) -> None:
    message = PromptMessage(Role.USER, blocks(texts))
    record = written(turn(message, "uuid", model="m", ask=ask))
    assert record["type"] == "user"
    assert record["uuid"] == "uuid"
    assert record["message"] == {
        "role": "user",
        "content": [{"type": "text", "text": text} for text in texts],
    }
    assert record["parent_tool_use_id"] is None
    assert record["session_id"] == ""


@given(WELL_FORMED, st.booleans())
def test_a_user_turn_is_always_client_composed(text: str, ask: bool) -> None:
    message = PromptMessage(Role.USER, blocks([text]))
    record = written(turn(message, "uuid", model="m", ask=ask))
    assert record["client_composed"] is True


def test_a_turn_of_the_history_is_not_asked() -> None:
    message = PromptMessage(Role.USER, blocks(["hi"]))
    assert written(turn(message, "u", model="m", ask=False))["shouldQuery"] is (False)


def test_the_question_is_asked() -> None:
    message = PromptMessage(Role.USER, blocks(["hi"]))
    assert written(turn(message, "u", model="m", ask=True)).get("shouldQuery", True)


@given(st.lists(WELL_FORMED, min_size=1), WELL_FORMED)
def test_an_assistant_turn_is_one_line_and_word_for_word(
    texts: list[str], model: str
) -> None:
    message = PromptMessage(Role.ASSISTANT, blocks(texts))
    record = written(turn(message, "unique", model=model, ask=False))
    assert record["type"] == "assistant"
    assert record["message"]["id"] == "unique"
    assert record["message"]["role"] == "assistant"
    assert record["message"]["model"] == model
    assert record["message"]["content"] == [
        {"type": "text", "text": text} for text in texts
    ]
    assert record["message"]["stop_reason"] == "end_turn"


WRITTEN = [
    (TextBlock("a"), {"type": "text", "text": "a"}),
    (
        ImageBlock("image/png", "aW1n"),
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "aW1n"},
        },
    ),
    (
        ImageBlock(None, "https://example.org/a.png"),
        {
            "type": "image",
            "source": {"type": "url", "url": "https://example.org/a.png"},
        },
    ),
    (
        DocumentBlock("text/plain", "words", "a title"),
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
            "title": "a title",
        },
    ),
    (
        DocumentBlock("application/pdf", "cGRm"),
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "application/pdf",
                "data": "cGRm",
            },
        },
    ),
    (
        ToolUseBlock("t", "look", {"at": ["sky"]}),
        {"type": "tool_use", "id": "t", "name": "look", "input": {"at": ["sky"]}},
    ),
    (
        ToolResultBlock("t", "blue"),
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "blue"}],
        },
    ),
    (
        ToolResultBlock("t", " "),
        {"type": "tool_result", "tool_use_id": "t", "content": " "},
    ),
    (
        ToolResultBlock("t", "bad", is_error=True),
        {"type": "tool_result", "tool_use_id": "t", "content": "bad", "is_error": True},
    ),
    (
        ToolResultBlock("t", (TextBlock("a"), ImageBlock(None, "https://b"))),
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "url", "url": "https://b"}},
            ],
        },
    ),
    (
        ThinkingBlock("hm", "c2ln", "m"),
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    ),
    (RedactedThinkingBlock("ZGF0"), {"type": "redacted_thinking", "data": "ZGF0"}),
]


@pytest.mark.parametrize(("block", "expected"), WRITTEN)
def test_each_block_is_the_messages_apis_own(block: Any, expected: Any) -> None:
    for role in Role:
        message = PromptMessage(role, (block,))
        record = written(turn(message, "u", model="m", ask=False))
        assert record["message"]["content"] == [expected]


def test_an_assistant_turn_is_a_message_of_who_thought_it() -> None:
    thought = ThinkingBlock("hm", "c2ln", "thinker")
    message = PromptMessage(Role.ASSISTANT, (TextBlock("a"), thought))
    record = written(turn(message, "unique", model="m", ask=False))
    assert record["message"].pop("content")
    assert record == {
        "type": "assistant",
        "message": {
            "id": "unique",
            "type": "message",
            "role": "assistant",
            "model": "thinker",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        },
        "parent_tool_use_id": None,
        "session_id": "",
    }
