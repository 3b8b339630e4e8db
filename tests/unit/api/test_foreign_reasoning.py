"""Conversations that were begun with another provider go on without its reasoning.

Its parts are left out and named, whatever their shape: never sent as Claude's thinking,
and never an error, which would end the conversation for good.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fates import ENCRYPTOR, Outcome, chat, messages, responses

ASKED, ASKED_AGAIN = {"role": "user", "content": "a"}, {"role": "user", "content": "c"}
OURS = "anthropic-claude-v1"


def with_details(details: Any) -> Outcome:
    said = {"role": "assistant", "content": "b", "reasoning_details": details}
    return chat({"messages": [ASKED, said, ASKED_AGAIN]})


def with_item(item: Any) -> Outcome:
    said = {"type": "message", "role": "assistant", "content": "b"}
    return responses({"input": [ASKED, item, said, ASKED_AGAIN]})


def with_block(block: Any) -> Outcome:
    said = {"role": "assistant", "content": [block, {"type": "text", "text": "b"}]}
    return messages({"messages": [ASKED, said, ASKED_AGAIN]})


def check_left_out(found: Outcome, path: str) -> None:
    assert found.refused is None
    assert path in found.ignored
    assert '"type":"redacted_thinking"' not in found.text.replace(" ", "")
    assert "zq" not in found.text


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "reasoning.encrypted", "data": "zq", "format": "openai-responses-v1"},
        {"type": "reasoning.text", "text": "zq", "signature": "zq", "format": "x"},
        {"type": "reasoning.text", "text": "zq", "signature": None, "format": OURS},
        {"type": "reasoning.summary", "summary": "zq", "format": OURS},
        {"type": "reasoning.encrypted", "data": "gAAAAzq"},
        {"type": "reasoning.encrypted", "data": "zq", "format": None},
        {"type": "reasoning.text", "text": 5, "index": "0"},
        {"zq": 1},
        "zq",
        None,
    ],
)
def test_details_in_chat(detail: Any) -> None:
    check_left_out(with_details([detail]), "messages[1].reasoning_details[0]")


@pytest.mark.parametrize("details", [{"zq": 1}, "zq", 5])
def test_details_that_are_no_list(details: Any) -> None:
    check_left_out(with_details(details), "messages[1].reasoning_details")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_without_signature_in_chat(field: str) -> None:
    said = {"role": "assistant", "content": "b", field: "zq"}
    found = chat({"messages": [ASKED, said, ASKED_AGAIN]})
    check_left_out(found, f"messages[1].{field}")


@pytest.mark.parametrize(
    "item",
    [
        {"type": "reasoning", "encrypted_content": "gAAAAzq", "summary": []},
        {"type": "reasoning", "id": "rs_zq", "summary": [{"text": "zq"}]},
        {"type": "reasoning", "encrypted_content": 5, "content": {}},
        {"type": "compaction", "encrypted_content": "gAAAAzq", "id": "cmp_1"},
        {"type": "compaction", "encrypted_content": 5, "id": 5},
        {"type": "compaction", "encrypted_content": None},
        {"type": "compaction", "content": "zq"},
        {"type": "image_generation_call", "id": "ig_1", "result": "zq"},
        {"type": "code_interpreter_call", "code": "zq", "outputs": []},
        {"type": "mcp_call", "arguments": "zq", "output": "zq", "error": {}},
        {"type": "mcp_list_tools", "tools": [{"name": "zq"}]},
        {"type": "computer_call", "action": "zq", "call_id": None},
        {"type": "computer_call_output", "output": {"image_url": "zq"}},
        {"type": "web_search_call", "action": {"query": "zq"}, "status": []},
        {"type": "tool_search_call", "arguments": {"zq": 1}, "execution": "client"},
        {"type": "apply_patch_call", "operation": {"diff": "zq"}, "id": 5},
        {"type": "of_next_year", "role": 1, "content": {"zq": 1}},
    ],
    ids=lambda item: item["type"],
)
def test_items_in_responses(item: dict[str, Any]) -> None:
    check_left_out(with_item(item), "input[1]")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "status", "content", "summary", "output", "action", "role", "name"]
        ),
        _JSON,
    ),
    st.sampled_from(
        ["reasoning", "compaction", "file_search_call", "mcp_approval_request", "x"]
    ),
)
def test_any_item_of_another_provider(fields: dict[str, Any], kind: str) -> None:
    found = with_item({**fields, "type": kind})
    assert found.refused is None
    assert "input[1]" in found.ignored


def test_a_reasoning_item_of_this_proxy_goes_up() -> None:
    sealed = ENCRYPTOR.encrypt({"thinking": "hm", "signature": "zqsigned"})
    found = with_item({"type": "reasoning", "encrypted_content": sealed})
    assert "zqsigned" in found.text
    assert found.ignored == ()


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "zq"},
        {"type": "thinking", "thinking": "zq", "signature": ""},
        {"type": "thinking", "thinking": "zq", "signature": None},
        {"type": "thinking", "thinking": "zq", "signature": "gAAAAzq"},
        {"type": "redacted_thinking", "data": "rs_1|gAAAAzq"},
        {"type": "redacted_thinking", "data": None},
        {"type": "redacted_thinking"},
    ],
)
def test_blocks_in_messages(block: dict[str, Any]) -> None:
    check_left_out(with_block(block), "messages[1].content[0]")


def test_thinking_with_another_signature_goes_up_in_messages() -> None:
    """What the provider signs, nobody else knows; what it refuses is left out then."""
    found = with_block({"type": "thinking", "thinking": "hm", "signature": "zqsigned"})
    assert "zqsigned" in found.text
    assert found.ignored == ()
