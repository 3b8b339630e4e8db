"""Moves tool results in a history to where the Messages API requires them. Pure.

The Messages API requires:

- The user's message after a turn with calls begins with the results of all these calls.
- Every result belongs to a call of the turn before it.
- An id consists of letters, digits, ``_`` and ``-``. No two calls have the same id.

Source: ``MessageParam`` of anthropic-python 2.14 and the API's error messages.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from attrs import evolve, field, frozen

from ccproxy.core.blocks import Block, RedactedThinking, Thinking, ToolResult, ToolUse
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Adjustments, Message
from ccproxy.core.tool_calls import UniqueIds

_ASSISTANT, _USER = "assistant", "user"
# The end of errors about calls and results that do not match.
REPAIR = "; the server's option --repair-histories repairs such a conversation"
# The placeholder for a missing id of a call or result. No client's id contains a NUL.
NO_ID = "\0"


def paired(
    messages: Sequence[Message],
    param: str,
    adjustments: Adjustments,
    unfinished: Collection[str] = (),
) -> tuple[Message, ...]:
    """Move tool results to where the API requires them, and make ids valid.

    Consecutive messages of the assistant become one message if they have calls or
    thinking. Results and the user's message after them become one message. All other
    messages stay unchanged.

    Calls with the same id are paired with their results in order. A result without an
    id (`NO_ID`) is paired with the first call without an id, or else with the first
    call that has no result yet. An id is replaced, in the call and in its result, if
    the API does not accept it, or if an earlier call has it. Some clients count from 0
    in each turn.

    Args:
        messages: the messages in the client's order.
        param: the request's field with the messages.
        adjustments: records the paths of everything that is omitted, moved or renamed.
        unfinished: the paths of calls that were cut off. Such a call is omitted if it
            has no result, because the client did not run it.

    Raises:
        InvalidRequest: a call has no result, or a result has no call.
    """
    if unfinished:
        messages = without_unfinished(messages, unfinished, adjustments)
    ids = _Ids(adjustments)
    ordered: list[Message] = []
    calls: Sequence[_Call] = ()
    for is_assistant, neighbours in groupby(messages, _is_assistant):
        turn = tuple(neighbours)
        if is_assistant:
            turn = _without_loose_thinking(_joined(turn), adjustments)
            calls, turn = _named(turn, ids)
            ordered += turn
        else:
            ordered += _with_results_first(turn, calls, param, adjustments)
            calls = ()
    _refuse_unanswered(calls, param)
    return tuple(ordered)


def without_unfinished(
    messages: Sequence[Message], unfinished: Collection[str], adjustments: Adjustments
) -> Sequence[Message]:
    """Remove calls that were cut off and have no result.

    Args:
        messages: the messages in the client's order.
        unfinished: the paths of calls that were cut off.
        adjustments: records the paths of the removed calls.
    """
    kept: list[Message] = []
    answered: set[str] = set()
    for message in reversed(messages):
        if not _is_assistant(message):
            if kept and _is_assistant(kept[-1]):
                answered.clear()
            answered |= {
                block.value.tool_use_id
                for block in message.blocks
                if isinstance(block.value, ToolResult)
            }
            kept.append(message)
            continue
        lost = [
            block
            for block in message.blocks
            if isinstance(block.value, ToolUse)
            and block.at in unfinished
            and not {NO_ID, block.value.id} & answered
        ]
        adjustments.ignore(*(block.at for block in lost))
        places = {block.at for block in lost}
        left = tuple(block for block in message.blocks if block.at not in places)
        if left or not lost:
            kept.append(evolve(message, content=left) if lost else message)
    return kept[::-1]


def _is_assistant(message: Message) -> bool:
    return message.role == _ASSISTANT


def _joined(turn: tuple[Message, ...]) -> tuple[Message, ...]:
    """Join the assistant's messages of a turn if they have calls or thinking."""
    blocks = [block for message in turn for block in message.blocks]
    if len(turn) == 1 or not any(map(_is_bound, blocks)):
        return turn
    return (evolve(turn[0], content=tuple(blocks)),)


def _is_bound(block: Block) -> bool:
    return isinstance(block.value, ToolUse | Thinking | RedactedThinking)


def _without_loose_thinking(
    turn: tuple[Message, ...], adjustments: Adjustments
) -> tuple[Message, ...]:
    """Remove thinking at the end of a turn, which the API refuses."""
    *before, last = turn
    blocks = list(last.blocks)
    while blocks and isinstance(blocks[-1].value, Thinking | RedactedThinking):
        adjustments.ignore(blocks.pop().at)
    if len(blocks) == len(last.blocks):
        return turn
    return (*before, evolve(last, content=tuple(blocks))) if blocks else (*before,)


@frozen
class _Call:
    """A call of the last turn of the assistant.

    Attributes:
        given: the client's id of the call.
        name: the id that is sent to the API.
        at: the path of the call.
    """

    given: str
    name: str
    at: str


def _named(
    turn: tuple[Message, ...], ids: "_Ids"
) -> tuple[Sequence[_Call], tuple[Message, ...]]:
    """Replace invalid ids of calls; returns the calls and the turn."""
    if len(turn) != 1 or isinstance(turn[0].content, str):
        return (), turn
    calls: list[_Call] = []
    blocks: list[Block] = []
    for block in turn[0].content:
        if isinstance(block.value, ToolUse):
            given = block.value.id
            name = ids.take(given, block.at)
            calls.append(_Call(given, name, block.at))
            block = block if name == given else block.replaced(id=name)
        blocks.append(block)
    return calls, (evolve(turn[0], content=tuple(blocks)),)


def _with_results_first(
    run: tuple[Message, ...],
    calls: Sequence[_Call],
    param: str,
    adjustments: Adjustments,
) -> Iterable[Message]:
    """Move the results before all other messages between two turns of the assistant.

    The order of the results does not change.
    """
    results: dict[str, Block] = {}
    waiting = _Waiting(calls)
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
            _take_result(block, waiting, results, param)
        others = [b for b in message.blocks if not isinstance(b.value, ToolResult)]
        if others:
            rest.append(evolve(message, content=tuple(others)))
    _refuse_unanswered(waiting.calls, param)
    if not results:
        return rest
    first: tuple[Block, ...] = tuple(results.values())
    if rest and rest[0].role == _USER:
        first += rest.pop(0).blocks
    return (Message(_USER, first, first_at), *rest)


class _Waiting:
    """The calls of a turn that have no result yet, in order."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self._calls = {call.name: call for call in calls}
        # For each of the client's ids, the API's ids of the calls with that id.
        self._names: dict[str, deque[str]] = {}
        for call in calls:
            self._names.setdefault(call.given, deque()).append(call.name)

    def take(self, given: str) -> str | None:
        """Remove the call for a result; returns its name; None: there is none."""
        names = self._names.get(given)
        if names:
            name = names.popleft()
        elif given == NO_ID and self._calls:
            name = next(iter(self._calls))
            self._names[self._calls[name].given].popleft()
        else:
            return None
        del self._calls[name]
        return name

    def has_been_called(self, given: str) -> bool:
        """Whether a call of the turn has the client's id, with or without a result."""
        return given in self._names or (given == NO_ID and bool(self._names))

    @property
    def calls(self) -> Iterable[_Call]:
        """The calls that have no result yet."""
        return self._calls.values()


def _take_result(
    block: Block, waiting: _Waiting, results: dict[str, Block], param: str
) -> None:
    result = block.value
    if not isinstance(result, ToolResult):
        return
    name = waiting.take(result.tool_use_id)
    if name is None:
        # The error about a call without a result is clearer.
        _refuse_unanswered(waiting.calls, param)
        unnamed = result.tool_use_id == NO_ID
        shown = "without an id" if unnamed else repr(result.tool_use_id)
        why = (
            "is one too many; send one for each call"
            if waiting.has_been_called(result.tool_use_id)
            else "has no call in the assistant's message before it; remove it, or "
            "send the call"
        )
        param = block.at or param
        raise InvalidRequest(
            f"`{param}`: the tool result {shown} {why}{REPAIR}", param=param
        )
    results[name] = block.replaced(tool_use_id=name)


def _refuse_unanswered(calls: Iterable[_Call], param: str) -> None:
    for call in calls:
        shown = call.name if call.given == NO_ID else call.given
        param = call.at or param
        raise InvalidRequest(
            f"`{param}`: the tool call {shown!r} has no result; send one for each "
            f"call, right after it{REPAIR}",
            param=param,
        )


@frozen
class _Ids:
    """Makes unique ids, and reports the ids that differ from the client's ids."""

    adjustments: Adjustments
    unique: UniqueIds = field(factory=UniqueIds)

    def take(self, identifier: str, at: str) -> str:
        """The client's id if it is valid and free, or else a similar id."""
        taken = self.unique.take(identifier.strip(NO_ID))
        if taken != identifier and at:
            self.adjustments.adjust(at)
        return taken
