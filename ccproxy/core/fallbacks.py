"""Blocks of type ``fallback``: from here on, another model answers. Pure.

The provider answers with another model if the first one declines and the request has
``fallbacks``. The model of a whole message is the one that answered last.

Source: ``BetaFallbackBlock`` and ``accumulate_event`` of anthropic-python 2.14.
"""

import msgspec

from ccproxy.core.blocks import Block


class _Model(msgspec.Struct):
    model: str


class _Fallback(msgspec.Struct):
    to: _Model


_decode = msgspec.json.Decoder(_Fallback).decode


def fallback_model(block: Block) -> str:
    """The full id of the model that answers from this block on.

    Returns:
        Empty if the block has another type, or names no model.
    """
    if block.type != "fallback":
        return ""
    try:
        return _decode(block.raw).to.model
    except msgspec.ValidationError:
        return ""
