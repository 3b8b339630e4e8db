"""Pairs calls with their results for the CLI, and makes their ids unique. Pure.

Each call needs a result in the next turn, before all other blocks. Each result needs a
call. The CLI would invent a missing result, so a request without a result is refused.
"""

import re
from collections import Counter, deque
from collections.abc import Sequence

from attrs import evolve
from typing_extensions import override

from ccproxy.claude.native.prompt import (
    Block,
    PromptMessage,
    Role,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.tool_calls import UniqueIds

# The CLI takes `a_2` for another name of `a` and drops one of the results (2.1.330).
_NUMBERED = re.compile(r"_\d+$")


def paired(messages: Sequence[PromptMessage], param: str) -> tuple[PromptMessage, ...]:
    """Put the results first in each turn, in the order of their calls.

    A suspended session sends results in this order, so a new session must do the same.

    The id of a call is replaced, also in the result, if the Messages API would refuse
    the id, or if an earlier turn has used it: some clients count from 0 in each turn,
    and the CLI would drop one of two calls with the same id.

    Raises:
        InvalidRequest: a call has no result, or a result has no call.
    """
    ordered = _ordered(messages)
    waiting: Counter[str] = Counter()
    for message in ordered:
        results = Counter(
            block.tool_use_id
            for block in message.content
            if isinstance(block, ToolResultBlock)
        )
        _compare(waiting, results, param)
        waiting = Counter(b.id for b in message.content if isinstance(b, ToolUseBlock))
    return _with_unique_ids(ordered)


def _compare(waiting: Counter[str], results: Counter[str], param: str) -> None:
    for identifier in sorted(waiting - results):
        raise InvalidRequest(
            f"`{param}`: the tool call {identifier!r} has no result; send one for each "
            "call, right after it",
            param=param,
        )
    for identifier in sorted(results - waiting):
        why = (
            "is one too many; send one for each call"
            if identifier in waiting
            else "has no call in the assistant's message before it"
        )
        raise InvalidRequest(
            f"`{param}`: the tool result {identifier!r} {why}", param=param
        )


def _with_unique_ids(
    messages: Sequence[PromptMessage],
) -> tuple[PromptMessage, ...]:
    ids = _IdsForCLI()
    names: dict[str, deque[str]] = {}
    renamed: list[PromptMessage] = []
    for message in messages:
        content: list[Block] = []
        for block in message.content:
            if isinstance(block, ToolUseBlock):
                name = ids.take(block.id)
                names.setdefault(block.id, deque()).append(name)
                content.append(evolve(block, id=name))
            elif isinstance(block, ToolResultBlock):
                content.append(
                    evolve(block, tool_use_id=names[block.tool_use_id].popleft())
                )
            else:
                content.append(block)
        renamed.append(PromptMessage(message.role, tuple(content)))
    return tuple(renamed)


class _IdsForCLI(UniqueIds):
    """Makes unique ids that the CLI does not confuse."""

    def __init__(self) -> None:
        super().__init__()
        self._stems: set[str] = set()

    @override
    def take(self, identifier: str) -> str:
        taken = super().take(identifier)
        stem = _NUMBERED.sub("", taken)
        if stem != taken:
            self._stems.add(stem)
        return taken

    @override
    def is_free(self, candidate: str) -> bool:
        stem = _NUMBERED.sub("", candidate)
        return (
            super().is_free(candidate)
            and super().is_free(stem)
            and candidate not in self._stems
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
