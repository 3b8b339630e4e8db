"""Calls and their results: one result for each call, in the very next turn. Pure.

Ids that the provider would not take, or that an earlier call has used (some clients
count from 0 in each turn), are replaced in call and result alike, always in the same
way for the same history from the front.

Source: rules 9 and 10 of the Messages API.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field

from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Turn
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Block, ToolResult, ToolUse

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


class UniqueIds:
    """Ids that no two calls of a request share."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str) -> str:
        """The id itself if it may be, else one that resembles it."""
        base = candidate = _NOT_IN_IDS.sub("_", identifier) or "call"
        while candidate in self._taken:
            self._tries[base] = self._tries.get(base, 1) + 1
            candidate = f"{base}-{self._tries[base]}"
        self._taken.add(candidate)
        return candidate


@define
class OpenCalls:
    """The calls of the last assistant's turn that have no result yet."""

    _ids: UniqueIds = field(factory=UniqueIds)
    # By the client's id: the ids that went up, and where the call stands.
    _open: dict[str, deque[tuple[str, str]]] = field(factory=dict, init=False)

    def open(
        self, blocks: Sequence[Block], clients: Sequence[str] | None, notes: Notes
    ) -> list[Block]:
        """Take the calls among blocks; the blocks with ids that may go up.

        Args:
            blocks: of an assistant's message.
            clients: the ids by which the client knows the calls; None: their own.
            notes: take the ids that are replaced.
        """
        told = deque(clients or ())
        taken: list[Block] = []
        for block in blocks:
            if isinstance(block.value, ToolUse):
                identifier = self._ids.take(block.value.id)
                known_as = told.popleft() if told else block.value.id
                waiting = self._open.setdefault(known_as, deque())
                waiting.append((identifier, block.at))
                if identifier != block.value.id:
                    notes.adjust(block.path_of("id"))
                    block = block.replaced(id=identifier)
            taken.append(block)
        return taken

    def answer(self, block: Block, result: ToolResult) -> Block:
        """A result with the id of its call as it went up.

        Raises:
            InvalidRequest: there is no such call right before it.
        """
        waiting = self._open.get(result.tool_use_id)
        if not waiting:
            path = block.at or "messages"
            raise InvalidRequest(
                f"`{path}`: the tool result {result.tool_use_id!r} has no call right "
                "before it",
                param=path,
            )
        identifier, _ = waiting.popleft()
        if identifier == result.tool_use_id:
            return block
        return block.replaced(tool_use_id=identifier)

    def close(self) -> None:
        """Note that the turn that has to hold the results is over.

        Raises:
            InvalidRequest: a call has none.
        """
        for identifier, waiting in self._open.items():
            if waiting:
                path = waiting[0][1] or "messages"
                raise InvalidRequest(
                    f"`{path}`: the tool call {identifier!r} has no result; send one "
                    "for each call, right after it",
                    param=path,
                )
        self._open.clear()


def results_first(turns: Sequence[Turn], calls: OpenCalls, notes: Notes) -> list[Turn]:
    """The turns between two of the assistant's, all results in front of the first.

    The order among the results is the client's.

    Raises:
        InvalidRequest: a result without its call.
    """
    if not any(map(has_result, turns)):
        return list(turns)
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
    holder = next(turn for turn in turns if has_result(turn))
    first = Turn("user", results, holder.at, holder.extra)
    if others and others[0].at == holder.at and others[0].role == "user":
        # One message of the client's stays one.
        first.content = [*results, *others.pop(0).blocks]
    return [first, *others]


def has_result(turn: Turn) -> bool:
    """Whether a user's turn has a call's result in it."""
    if turn.role != "user" or isinstance(turn.content, str):
        return False
    return any(isinstance(block.value, ToolResult) for block in turn.content)


def open_ids(blocks: Iterable[Block]) -> list[str]:
    """The ids of the calls among blocks, in their order."""
    return [b.value.id for b in blocks if isinstance(b.value, ToolUse)]
