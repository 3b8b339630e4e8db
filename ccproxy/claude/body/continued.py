"""Continues the body of an answer that the provider has paused. Pure.

The provider pauses an answer (``pause_turn``) if its own tools take long. To
continue the answer, the same request is sent again, with the content so far as a last
message of the assistant.

Source: rule 34 of the Messages API.
"""

from collections.abc import Sequence

import msgspec
from attrs import evolve
from msgspec import Raw

from ccproxy.claude.body.result import ComposedBody
from ccproxy.core.blocks import Block, Opaque, Text, is_blank

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_MAX_TOKENS, _THINKING = "max_tokens", "thinking"


class _Thinking(msgspec.Struct):
    budget_tokens: int = 0


def continued(
    body: ComposedBody, content: Sequence[Block], used_tokens: int
) -> ComposedBody | None:
    """The body of the request that continues an answer.

    Args:
        body: the body of the request whose answer was paused.
        content: all blocks of the answer so far, as the model made them.
        used_tokens: the output tokens so far, which count towards ``max_tokens``.

    Returns:
        The body, or None if the answer cannot be continued. One reason is that no
        tokens are left. The other is that the answer does not end in a block of one of
        the provider's tools: the provider would take it for a prefill.
    """
    # The provider refuses blank text, even if the model has made it.
    kept = [b for b in content if not _is_blank(b)]
    if not kept or not isinstance(kept[-1].value, Opaque):
        return None
    fields: dict[str, Raw] = _decode_fields(body.json)
    if _MAX_TOKENS in fields:
        left = msgspec.json.decode(fields[_MAX_TOKENS], type=int) - used_tokens
        if left < 1:
            return None
        thinking = fields.get(_THINKING, Raw(b"{}"))
        budget = msgspec.json.decode(thinking, type=_Thinking).budget_tokens
        # The provider refuses a limit that is not larger than the thinking budget.
        fields[_MAX_TOKENS] = Raw(_encode(max(left, budget + 1)))
    turn = {"role": "assistant", "content": [Raw(block.raw) for block in kept]}
    before = bytes(fields["messages"]).rstrip()[:-1]
    fields["messages"] = Raw(before + b"," + _encode(turn) + b"]")
    return evolve(body, json=_encode(fields))


def _is_blank(block: Block) -> bool:
    return isinstance(block.value, Text) and is_blank(block.value.text)
