"""Repairs histories that a client has cut (``--repair-histories``). Pure.

===============================  ====================================================
what the client sent             what is sent
===============================  ====================================================
a call without a result          the call, and a failed result that says that the
                                 result is missing
a result without a call, or a    the content of the result in a message of the user,
second result for a call         after a line that says what the content is
===============================  ====================================================

The path of each such call and result is reported. Consecutive messages of one role need
no repair. Calls that were cut off are left out even without the option: see
`ccproxy.api.common.pairing`.

Source: rules 9 and 10 of the Messages API.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from attrs import evolve
from msgspec import UnsetType

from ccproxy.api.common.decoding import located
from ccproxy.api.common.pairing import NO_ID
from ccproxy.core.blocks import (
    Block,
    Text,
    ToolResult,
    ToolUse,
    content_of,
    is_blank,
    text_block,
    tool_result_block,
)
from ccproxy.core.messages import Adjustments, Message

_ASSISTANT, _USER = "assistant", "user"
_NO_RESULT = "There is no result: the call was interrupted, or its result was removed."
_NO_CALL = "The result of a tool call that was removed from the conversation:"


def repaired(
    messages: Sequence[Message], adjustments: Adjustments
) -> tuple[Message, ...]:
    """Add a result to each call without one; turn results without a call into text.

    Args:
        messages: the messages in the client's order.
        adjustments: records the paths of the repaired calls and results.

    Raises:
        ClientError: the content of a result without a call is invalid.
    """
    mended: list[Message] = []
    calls: list[Block] = []
    for is_assistant, run in groupby(messages, lambda m: m.role == _ASSISTANT):
        if is_assistant:
            turn = tuple(run)
            mended += turn
            calls = [b for m in turn for b in m.blocks if isinstance(b.value, ToolUse)]
            continue
        others = [_without_loose_results(m, calls, adjustments) for m in run]
        mended += _missing(calls, adjustments)
        mended += others
        calls = []
    mended += _missing(calls, adjustments)
    return tuple(mended)


def _without_loose_results(
    message: Message, calls: list[Block], adjustments: Adjustments
) -> Message:
    """Replace the results without a call; remove each answered call from ``calls``."""
    if message.role != _USER or isinstance(message.content, str):
        return message
    blocks: list[Block] = []
    for block in message.content:
        if not isinstance(block.value, ToolResult):
            blocks.append(block)
        elif (call := _called(block.value, calls)) is not None:
            calls.remove(call)
            blocks.append(block)
        else:
            adjustments.adjust(block.at)
            blocks += _told(block, block.value)
    return evolve(message, content=tuple(blocks))


def _called(result: ToolResult, calls: Sequence[Block]) -> Block | None:
    """The first call to which a result can belong."""
    wanted = result.tool_use_id
    fits = (c for c in calls if wanted in (NO_ID, getattr(c.value, "id", "")))
    return next(fits, None)


def _told(block: Block, result: ToolResult) -> Iterator[Block]:
    """The content of a result without a call, as blocks of the user's message."""
    yield text_block(_NO_CALL, block.at)
    if isinstance(result.content, UnsetType):
        return
    with located(f"{block.at}.content"):
        content = content_of(result.content, f"{block.at}.content")
    blocks = (text_block(content),) if isinstance(content, str) else content
    for inner in blocks:
        if not (isinstance(inner.value, Text) and is_blank(inner.value.text)):
            yield inner


def _missing(calls: Sequence[Block], adjustments: Adjustments) -> Iterator[Message]:
    """A message with the results of calls that have none."""
    if not calls:
        return
    adjustments.adjust(*(call.at for call in calls))
    ids = [getattr(call.value, "id", NO_ID) for call in calls]
    results = (tool_result_block(i, _NO_RESULT, is_error=True) for i in ids)
    yield Message(_USER, tuple(results))
