"""Pairs calls with their results for the CLI, and makes their ids unique. Pure.

Each call needs a result in the next turn, before all other blocks. Each result needs a
call. The CLI would invent a missing result, so a request without a result is refused.
"""

import re
from collections import Counter, deque
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
from ccproxy.core.tool_calls import sound_id

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
    ids = _Ids()
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


class _Ids:
    """Makes ids that the Messages API accepts and the CLI does not confuse."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._stems: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str) -> str:
        """The id itself if no other call has it; otherwise a similar id."""
        base = candidate = sound_id(identifier)
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
