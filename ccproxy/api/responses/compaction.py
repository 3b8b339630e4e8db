"""``POST /responses/compact``: replaces a conversation with one encrypted item. Pure.

A message is appended that asks the model for a summary. The item contains the encrypted
summary. In later requests, the client sends the item in place of the conversation.

Source: ``CompactResponseMethodPublicBody`` and ``CompactResource`` in OpenAI's
documents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import evolve
from msgspec import UNSET

from ccproxy.api.common.decoding import required
from ccproxy.api.responses.encryption import Encryptor
from ccproxy.api.responses.output.resource import usage_of
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import Cause, ClaudeFailed
from ccproxy.core.messages import MessagesRequest, ToolChoice
from ccproxy.core.stream import Usage

# The appended message.
SUMMARY_INSTRUCTION = (
    "Summarize this whole conversation so that it can be continued from your summary "
    "alone, by someone who has not seen it. Keep every fact, name, number, decision, "
    "constraint, preference and file or code detail that may matter later, what has "
    "been done, what failed, what is still open, and what was asked last. Write the "
    "summary only, without introduction or closing words, and call no tool."
)


def check_model(model: str) -> None:
    """Check that a request names a model, which OpenAI's document requires.

    Raises:
        MissingParameter: ``model`` is empty.
    """
    required(model or None, "model")


def summary_request(request: MessagesRequest) -> MessagesRequest:
    """Change a request to one for a summary: no limit, no format, no required call.

    The tools stay, and so does a ``tool_choice`` that requires no call, because the
    provider's prompt cache depends on them (rule 44). So the model may call a tool
    instead of writing a summary; see `without_calls`.
    """
    config = request.output_config
    if config is not None:
        config = config.replaced(format=UNSET)
    choice = request.tool_choice
    if choice is not None and choice.must_call:
        choice = msgspec.structs.replace(choice, type="auto", name=None)
    return evolve(request, max_tokens=None, tool_choice=choice, output_config=config)


def without_calls(request: MessagesRequest) -> MessagesRequest:
    """The request for a second attempt, in which the model must not call a tool."""
    return evolve(request, tool_choice=ToolChoice("none"))


def has_calls(output: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer has calls of tools."""
    return any(item["type"] not in ("message", "reasoning") for item in output)


def compaction_item(identifier: str, summary: str, encryptor: Encryptor) -> bytes:
    """Encode the item that replaces the conversation.

    Args:
        identifier: a part of the item's id.
        summary: the model's summary.
        encryptor: encrypts the summary.

    Raises:
        ClaudeFailed: the summary is blank.
    """
    if not summary.strip():
        raise ClaudeFailed(
            "the model wrote no summary; try again", cause=Cause.NO_SUMMARY
        )
    return encode_json(
        {
            "type": "compaction",
            "id": f"cmp_{identifier}",
            "encrypted_content": encryptor.encrypt({"summary": summary}),
        }
    )


def compaction_document(
    identifier: str, item: bytes, created_seconds: int, usage: Usage
) -> bytes:
    """Encode the response of ``POST /responses/compact``."""
    return encode_json(
        {
            "id": f"resp_{identifier}",
            "object": "response.compaction",
            "created_at": created_seconds,
            "output": [msgspec.Raw(item)],
            "usage": usage_of(usage),
        }
    )
