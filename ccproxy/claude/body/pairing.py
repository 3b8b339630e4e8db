"""Pairs calls with their results: each call needs one result, in the next turn. Pure.

The id of a call is replaced, also in the result, if the provider would refuse the id,
or if an earlier call has the same id: some clients count from 0 in each turn. The new
id depends only on the history before the call.

Source: rules 9 and 10 of the Messages API.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field

from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Turn
from ccproxy.core.blocks import Block, ToolResult, ToolUse
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.tool_calls import UniqueIds

_REPAIR = "; the server's option --repair-histories repairs such a conversation"


@define
class OpenCalls:
    """The calls of the assistant's last turn that have no result yet."""

    _ids: UniqueIds = field(factory=UniqueIds)
    # By the client's id: the ids that are sent, with the paths of the calls.
    _open: dict[str, deque[tuple[str, str]]] = field(factory=dict, init=False)

    def open(
        self, blocks: Sequence[Block], clients: Sequence[str] | None, notes: Notes
    ) -> list[Block]:
        """Register the calls of a message; returns the blocks with the final ids.

        Args:
            blocks: the blocks of a message of the assistant.
            clients: the client's ids of the calls; None: the ids in ``blocks``.
            notes: gets the path of each id that is replaced.
        """
        known = deque(clients or ())
        taken: list[Block] = []
        for block in blocks:
            if isinstance(block.value, ToolUse):
                identifier = self._ids.take(block.value.id)
                known_as = known.popleft() if known else block.value.id
                waiting = self._open.setdefault(known_as, deque())
                waiting.append((identifier, block.at))
                if identifier != block.value.id:
                    notes.adjust(block.path_of("id"))
                    block = block.replaced(id=identifier)
            taken.append(block)
        return taken

    def answer(self, block: Block, result: ToolResult) -> Block:
        """Match a result with its call; returns the result with the call's final id.

        Raises:
            InvalidRequest: the turn before the result has no such call, or the call has
                its result already.
        """
        waiting = self._open.get(result.tool_use_id)
        if not waiting:
            path = block.at or "messages"
            why = (
                "has no call right before it; remove it, or send the call"
                if waiting is None
                else "is one too many; send one for each call"
            )
            raise InvalidRequest(
                f"`{path}`: the tool result {result.tool_use_id!r} {why}{_REPAIR}",
                param=path,
            )
        identifier, _ = waiting.popleft()
        if identifier == result.tool_use_id:
            return block
        return block.replaced(tool_use_id=identifier)

    def close(self) -> None:
        """Check at the end of a turn that every call has its result.

        Raises:
            InvalidRequest: a call has no result.
        """
        for identifier, waiting in self._open.items():
            if waiting:
                path = waiting[0][1] or "messages"
                raise InvalidRequest(
                    f"`{path}`: the tool call {identifier!r} has no result; send a "
                    f"result for each call, in the next message{_REPAIR}",
                    param=path,
                )
        self._open.clear()


def results_first(turns: Sequence[Turn], calls: OpenCalls, notes: Notes) -> list[Turn]:
    """Move all results to the front of the turns between two assistant turns.

    The results stay in the client's order.

    Raises:
        InvalidRequest: a result has no call.
    """
    if not any(map(has_result, turns)):
        return list(turns)
    holder = next(turn for turn in turns if has_result(turn))
    results: list[Block] = []
    others: list[Turn] = []
    for turn in turns:
        if not has_result(turn):
            others.append(turn)
            continue
        kept: list[Block] = []
        for block in turn.blocks:
            if not isinstance(block.value, ToolResult):
                kept.append(block)
                continue
            if kept or others:
                notes.adjust(block.at or turn.at)
            results.append(calls.answer(block, block.value))
        if kept:
            others.append(Turn(turn.role, kept, turn.at, turn.extra))
        elif turn is not holder:
            for name in turn.extra:
                notes.ignore(f"{turn.at}.{name}" if turn.at else "")
    first = Turn("user", results, holder.at, holder.extra)
    if others and others[0].at == holder.at and others[0].role == "user":
        # The other blocks of the client's first message with results stay in its turn.
        first.content = [*results, *others.pop(0).blocks]
    return [first, *others]


def has_result(turn: Turn) -> bool:
    """Whether a turn is the user's and has a result of a call."""
    if turn.role != "user" or isinstance(turn.content, str):
        return False
    return any(isinstance(block.value, ToolResult) for block in turn.content)


def open_ids(blocks: Iterable[Block]) -> list[str]:
    """The ids of the calls among blocks, in order."""
    return [b.value.id for b in blocks if isinstance(b.value, ToolUse)]
