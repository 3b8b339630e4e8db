"""Thinking in chat completions: ``reasoning_content`` and ``reasoning_details``. Pure.

OpenAI's document has no field for thinking. ``reasoning_content``, the text, is a
convention of DeepSeek and vLLM. ``reasoning_details`` is a convention of OpenRouter: a
list with an entry for each complete block of thinking. If a client sends entries back
in the history, they are sent to the model as blocks of thinking.

Source: OpenRouter's documentation, "Reasoning tokens".
"""

import msgspec

from ccproxy.api.common.prompt import PastThinking
from ccproxy.core.blocks import redacted_thinking_block, thinking_block
from ccproxy.core.messages import Adjustments

_FORMAT = "anthropic-claude-v1"
_TEXT, _ENCRYPTED = "reasoning.text", "reasoning.encrypted"


class ReasoningDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One entry of ``reasoning_details``.

    OpenRouter's entries do not have ``model`` and ``prefix``. Thinking is useless to
    any model except its author, and newer models refuse thinking if the conversation
    before it was changed.

    Attributes:
        model: the full id of the model that made the thinking.
        prefix: the hash of the conversation before the thinking.
    """

    type: str
    text: str | None = None
    signature: str | None = None
    data: str | None = None
    format: str | None = None
    index: int | None = None
    model: str | None = None
    prefix: str | None = None


class ReasoningEncoder:
    """Makes the entries of ``reasoning_details`` of one answer.

    Args:
        prefix: the hash of the conversation before the answer; empty: unknown.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix or None
        self._count = 0

    def signed(self, thinking: str, signature: str, model: str) -> ReasoningDetail:
        """Make the entry for a block of thinking."""
        return self._detail(_TEXT, model, text=thinking, signature=signature)

    def redacted(self, data: str, model: str) -> ReasoningDetail:
        """Make the entry for a block of redacted thinking."""
        return self._detail(_ENCRYPTED, model, data=data)

    def _detail(self, kind: str, model: str, **content: str) -> ReasoningDetail:
        index, self._count = self._count, self._count + 1
        return ReasoningDetail(
            type=kind,
            **content,
            format=_FORMAT,
            index=index,
            model=model,
            prefix=self._prefix,
        )


def thinking_of(
    details: object, at: str, adjustments: Adjustments
) -> tuple[PastThinking, ...]:
    """Decode the blocks of thinking in a message's ``reasoning_details``.

    Some clients send an entry for each piece of a block that they received in a stream;
    only the last entry has the signature. The pieces are joined. Pieces without a
    signature, and entries of another format, are left out.

    Args:
        details: the field's value, decoded to Python objects.
        at: the path of the field.
        adjustments: records the paths of entries that are left out.
    """
    if not isinstance(details, list):
        if details is not None:
            adjustments.ignore(at)
        return ()
    found: list[PastThinking] = []
    pieces: list[tuple[str, str]] = []
    index: int | None = None

    def leave_out_pieces() -> None:
        adjustments.ignore(*(path for path, _ in pieces))
        pieces.clear()

    for number, given in enumerate(details):
        where = f"{at}[{number}]"
        detail = _detail(given)
        if detail is None or detail.format != _FORMAT:
            adjustments.ignore(where)
            continue
        about = detail.model or "", detail.prefix or ""
        if detail.type == _ENCRYPTED and detail.data:
            block = redacted_thinking_block(detail.data, where)
            found.append(PastThinking(block, *about))
        elif detail.type != _TEXT:
            adjustments.ignore(where)
        else:
            if detail.index != index:
                leave_out_pieces()
            index = detail.index
            pieces.append((where, detail.text or ""))
            if detail.signature:
                thought = "".join(text for _, text in pieces)
                block = thinking_block(thought, detail.signature, where)
                found.append(PastThinking(block, *about))
                pieces.clear()
    leave_out_pieces()
    return tuple(found)


def _detail(given: object) -> ReasoningDetail | None:
    try:
        return msgspec.convert(given, ReasoningDetail)
    except msgspec.ValidationError:
        return None
