"""Calls and their results in a history, as the Messages API wants them. Pure.

Each call has its result in the very next message of the user, all results of one turn
in one message, in front of everything else; no result stands without its call; ids are
letters, digits, ``_`` and ``-``, and each is there once.

Source: ``MessageParam`` of anthropic-python 2.14 and the API's error messages.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from attrs import evolve, frozen

from ccproxy.api.common.adjustments import Adjustments
from ccproxy.core.errors import InvalidRequest, MissingParameter
from ccproxy.core.messages import (
    Block,
    Message,
    RedactedThinking,
    Thinking,
    ToolResult,
    ToolUse,
)

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_ASSISTANT, _USER = "assistant", "user"
# What a call or a result has whose client gives no ids; no client's id has a NUL.
NO_ID = "\0"


def paired(
    messages: Sequence[Message], param: str, adjustments: Adjustments
) -> tuple[Message, ...]:
    """The same messages with results where they belong.

    Neighbouring messages of the assistant are one turn, and become one message, if
    there are calls or thinking in them. The message of the user that comes first behind
    results is joined to them; all else stays as it is.

    A call without an id (`NO_ID`) has the first result without one. Ids that the API
    does not take, or that an earlier turn has used (some clients count from 0 in each),
    are replaced in call and result alike, and are noted.

    Args:
        messages: from the client, in its order.
        param: the field that holds them.
        adjustments: what is moved or renamed is noted there.

    Raises:
        InvalidRequest: a call without a result, a result without a call, or two of one
            id; names it.
    """
    ids = _Ids(adjustments)
    told: list[Message] = []
    calls: Sequence[_Call] = ()
    for is_assistant, neighbours in groupby(messages, _is_assistant):
        turn = tuple(neighbours)
        if is_assistant:
            turn = _without_loose_thinking(_joined(turn), adjustments)
            calls, turn = _named(turn, ids, param)
            told += turn
        else:
            told += _with_results_first(turn, calls, param, adjustments)
            calls = ()
    _refuse_unanswered(calls, param)
    return tuple(told)


def _is_assistant(message: Message) -> bool:
    return message.role == _ASSISTANT


def _joined(turn: tuple[Message, ...]) -> tuple[Message, ...]:
    """The assistant's turn: one message, if the order of its blocks matters."""
    blocks = [block for message in turn for block in message.blocks]
    if len(turn) == 1 or not any(map(_is_bound, blocks)):
        return turn
    return (evolve(turn[0], content=tuple(blocks)),)


def _is_bound(block: Block) -> bool:
    return isinstance(block.value, ToolUse | Thinking | RedactedThinking)


def _without_loose_thinking(
    turn: tuple[Message, ...], adjustments: Adjustments
) -> tuple[Message, ...]:
    """The turn without thinking that nothing came of, which the API refuses."""
    *before, last = turn
    blocks = list(last.blocks)
    while blocks and isinstance(blocks[-1].value, Thinking | RedactedThinking):
        adjustments.ignore(blocks.pop().at)
    if len(blocks) == len(last.blocks):
        return turn
    return (*before, evolve(last, content=tuple(blocks))) if blocks else (*before,)


@frozen
class _Call:
    """A call that waits for its result.

    Attributes:
        given: its id as the client has it.
        name: its id as the API has it.
    """

    given: str
    name: str


def _named(
    turn: tuple[Message, ...], ids: "_Ids", param: str
) -> tuple[Sequence[_Call], tuple[Message, ...]]:
    """The turn's calls, and the turn with ids that the API takes."""
    if len(turn) != 1 or isinstance(turn[0].content, str):
        return (), turn
    calls: list[_Call] = []
    blocks: list[Block] = []
    for block in turn[0].content:
        if isinstance(block.value, ToolUse):
            given = block.value.id
            if given != NO_ID and any(call.given == given for call in calls):
                raise _of_one_id("calls", param)
            name = ids.take(given, block.at)
            calls.append(_Call(given, name))
            block = block if name == given else block.replaced(id=name)
        blocks.append(block)
    return calls, (evolve(turn[0], content=tuple(blocks)),)


def _with_results_first(
    run: tuple[Message, ...],
    calls: Sequence[_Call],
    param: str,
    adjustments: Adjustments,
) -> Iterable[Message]:
    """What the others say between two turns of the assistant's."""
    results: dict[str, Block] = {}
    rest: list[Message] = []
    first_at = ""
    for message in run:
        found = [b for b in message.blocks if isinstance(b.value, ToolResult)]
        if not found:
            rest.append(message)
            continue
        if rest or message.blocks[0] is not found[0]:
            adjustments.adjust(message.at)
        first_at = first_at or message.at
        for block in found:
            _take_result(block, calls, results, param)
        others = [b for b in message.blocks if not isinstance(b.value, ToolResult)]
        if others:
            rest.append(evolve(message, content=tuple(others)))
    _refuse_unanswered([c for c in calls if c.name not in results], param)
    if not results:
        return rest
    first: tuple[Block, ...] = tuple(results[call.name] for call in calls)
    if rest and rest[0].role == _USER:
        first += rest.pop(0).blocks
    return (Message(_USER, first, first_at), *rest)


def _take_result(
    block: Block, calls: Sequence[_Call], results: dict[str, Block], param: str
) -> None:
    result = block.value
    if not isinstance(result, ToolResult):
        return
    open_calls = [call for call in calls if call.name not in results]
    if result.tool_use_id == NO_ID:
        call = _call_of_nameless(open_calls, block.at)
    else:
        meant = [call for call in calls if call.given == result.tool_use_id]
        if meant and meant[0] not in open_calls:
            raise _of_one_id("results", param)
        if not meant:
            # A call that is not answered is the clearer thing to say, if there is one.
            _refuse_unanswered(open_calls, param)
            raise InvalidRequest(
                f"`{param}`: the tool result {result.tool_use_id!r} has no call right "
                "before it",
                param=param,
            )
        call = meant[0]
    results[call.name] = block.replaced(tool_use_id=call.name)


def _call_of_nameless(open_calls: Sequence[_Call], at: str) -> _Call:
    nameless = [call for call in open_calls if call.given == NO_ID]
    if nameless:
        return nameless[0]
    if len(open_calls) == 1:
        return open_calls[0]
    where = f"{at}.tool_call_id"
    raise MissingParameter(f"`{where}` is missing", param=where)


def _of_one_id(what: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{param}`: two {what} of one turn have the same id", param=param
    )


def _refuse_unanswered(calls: Sequence[_Call], param: str) -> None:
    for call in calls:
        shown = call.name if call.given == NO_ID else call.given
        raise InvalidRequest(
            f"`{param}`: the tool call {shown!r} has no result; send one for each "
            "call, right after it",
            param=param,
        )


class _Ids:
    """Ids that the API takes, none twice; the same for the same history."""

    def __init__(self, adjustments: Adjustments) -> None:
        self._adjustments = adjustments
        self._taken: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str, at: str) -> str:
        """The id itself if it may be, else one that resembles it."""
        base = candidate = _NOT_IN_IDS.sub("_", identifier.strip(NO_ID)) or "call"
        while candidate in self._taken:
            self._tries[base] = self._tries.get(base, 1) + 1
            candidate = f"{base}-{self._tries[base]}"
        self._taken.add(candidate)
        if candidate != identifier and at:
            self._adjustments.adjust(at)
        return candidate
