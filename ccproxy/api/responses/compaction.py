"""``POST /responses/compact``: a conversation to one sealed item. Pure.

The model itself writes the summary: it is asked at the end of the conversation. The
item that comes of it stands for the whole conversation from then on.

Source: ``CompactResponseMethodPublicBody`` and ``CompactResource`` in both documents.
"""

import msgspec
from attrs import evolve
from msgspec import UNSET

from ccproxy.api.common.decoding import required
from ccproxy.api.responses.resource import usage_of
from ccproxy.api.responses.stream import Sealer
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.messages import MessagesRequest, ToolChoice
from ccproxy.core.stream import Usage

# What the user says at the end; the conversation goes on from the answer alone.
ASK = (
    "Summarize this whole conversation so that it can be continued from your summary "
    "alone, by someone who has not seen it. Keep every fact, name, number, decision, "
    "constraint, preference and file or code detail that may matter later, what has "
    "been done, what failed, what is still open, and what was asked last. Write the "
    "summary only, without introduction or closing words."
)


def check_model(model: str) -> None:
    """A compaction names its model.

    Raises:
        MissingParameter: it does not.
    """
    required(model or None, "model")


def summarized(request: MessagesRequest) -> MessagesRequest:
    """The question for a summary of a request's conversation.

    The tools stay, though none may be called: without them the provider could read
    nothing of the conversation from its cache.
    """
    config = request.output_config
    if config is not None:
        config = config.replaced(format=UNSET)
    return evolve(
        request,
        max_tokens=None,
        tool_choice=ToolChoice("none") if request.tools else None,
        output_config=config,
    )


def compaction_item(identifier: str, summary: str, sealer: Sealer) -> bytes:
    """The item that stands for the conversation.

    Raises:
        ClaudeFailed: there is no summary.
    """
    if not summary.strip():
        raise ClaudeFailed("the model wrote no summary; try again")
    return encode_json(
        {
            "type": "compaction",
            "id": f"cmp_{identifier}",
            "encrypted_content": sealer.close({"summary": summary}),
        }
    )


def compaction_document(
    identifier: str, item: bytes, created_seconds: int, usage: Usage
) -> bytes:
    """The answer to the request."""
    return encode_json(
        {
            "id": f"resp_{identifier}",
            "object": "response.compaction",
            "created_at": created_seconds,
            "output": [msgspec.Raw(item)],
            "usage": usage_of(usage),
        }
    )
