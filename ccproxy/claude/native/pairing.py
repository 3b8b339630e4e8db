"""Pairs calls with their results for the CLI, and makes their ids unique. Pure.

Each call needs a result in the next turn, before all other blocks. Each result needs a
call. The CLI would invent a missing result, so a request without a result is refused.
"""

import re
from collections.abc import Sequence

from attrs import evolve

from ccproxy.claude.native.prompt import (
    Block,
    PromptMessage,
    Role,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.core.errors import InvalidRequest

# The CLI takes `a_2` for another name of `a` and drops one of the results (2.1.330).
_NUMBERED = re.compile(r"_\d+$")
# Characters that the Messages API does not allow in an id.
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def paired(messages: Sequence[PromptMessage], param: str) -> tuple[PromptMessage, ...]:
    """Put the results first in each turn, in the order of their calls.

    A suspended session sends results in this order, so a new session must do the same.

    The id of a call is replaced, also in the result, if the Messages API would refuse
    the id, or if an earlier turn has used it: some clients count from 0 in each turn,
    and the CLI would drop one of two calls with the same id.

    Raises:
        InvalidRequest: a call has no result, a result has no call, or two calls or
            results of one turn have the same id.
    """
    ordered = _ordered(messages)
    waiting: set[str] = set()
    for message in ordered:
        calls = [b.id for b in message.content if isinstance(b, ToolUseBlock)]
        results = [
            block.tool_use_id
            for block in message.content
            if isinstance(block, ToolResultBlock)
        ]
        for ids, what in ((calls, "calls"), (results, "results")):
            if len(set(ids)) < len(ids):
                raise InvalidRequest(
                    f"`{param}`: two {what} of one turn have the same id", param=param
                )
        _compare(waiting, set(results), param)
        waiting = set(calls)
    return _with_unique_ids(ordered)


def _compare(waiting: set[str], results: set[str], param: str) -> None:
    for identifier in sorted(waiting - results):
        raise InvalidRequest(
            f"`{param}`: the tool call {identifier!r} has no result; send one for each "
            "call, right after it",
            param=param,
        )
    for identifier in sorted(results - waiting):
        raise InvalidRequest(
            f"`{param}`: the tool result {identifier!r} has no call right before it",
            param=param,
        )


def _with_unique_ids(
    messages: Sequence[PromptMessage],
) -> tuple[PromptMessage, ...]:
    ids = _Ids()
    names: dict[str, str] = {}
    renamed: list[PromptMessage] = []
    for message in messages:
        content: list[Block] = []
        for block in message.content:
            if isinstance(block, ToolUseBlock):
                names[block.id] = ids.take(block.id)
                content.append(evolve(block, id=names[block.id]))
            elif isinstance(block, ToolResultBlock):
                content.append(evolve(block, tool_use_id=names[block.tool_use_id]))
            else:
                content.append(block)
        renamed.append(PromptMessage(message.role, tuple(content)))
    return tuple(renamed)


class _Ids:
    """Makes ids that the Messages API accepts and the CLI does not confuse."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._stems: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str) -> str:
        """The id itself if no other call has it; otherwise a similar id."""
        base = candidate = _NOT_IN_IDS.sub("_", identifier) or "call"
        while self._is_ambiguous(candidate):
            self._tries[base] = self._tries.get(base, 1) + 1
            candidate = f"{base}-{self._tries[base]}"
        self._taken.add(candidate)
        stem = _NUMBERED.sub("", candidate)
        if stem != candidate:
            self._stems.add(stem)
        return candidate

    def _is_ambiguous(self, candidate: str) -> bool:
        stem = _NUMBERED.sub("", candidate)
        return (
            candidate in self._taken or stem in self._taken or candidate in self._stems
        )


def _ordered(messages: Sequence[PromptMessage]) -> tuple[PromptMessage, ...]:
    ordered = []
    calls: list[str] = []
    for message in messages:
        if message.role is Role.USER:
            message = _results_first(message, calls)
        calls = [b.id for b in message.content if isinstance(b, ToolUseBlock)]
        ordered.append(message)
    return tuple(ordered)


def _results_first(message: PromptMessage, calls: Sequence[str]) -> PromptMessage:
    places = {identifier: place for place, identifier in enumerate(calls)}

    def place(block: Block) -> int:
        if isinstance(block, ToolResultBlock):
            return places.get(block.tool_use_id, len(places))
        return len(places) + 1

    return PromptMessage(message.role, tuple(sorted(message.content, key=place)))
