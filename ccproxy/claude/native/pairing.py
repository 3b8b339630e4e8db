"""Turns as the CLI keeps them: calls and results paired, under ids of their own. Pure.

Each call has its result in the very next turn, in front of everything else, and no
result stands without its call. Where one is missing the CLI would invent it, so it is
refused here.
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

# `a_2` is to the CLI another name of `a`, and one of them loses its result (2.1.330).
_NUMBERED = re.compile(r"_\d+$")
# What the Messages API does not take in an id.
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def paired(messages: Sequence[PromptMessage], param: str) -> tuple[PromptMessage, ...]:
    """The same turns, results in front, in the order of their calls.

    So a session tells them that has waited for them, and a new one must look the same.

    Ids that the Messages API would not take, or that an earlier turn has used (some
    clients count from 0 in each), are replaced in call and result alike: of two calls
    with one id the CLI would drop one.

    Raises:
        InvalidRequest: a call without a result, a result without a call, or two of
            one id; names it.
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
    return _with_ids_of_their_own(ordered)


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


def _with_ids_of_their_own(
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
    """Ids that neither the Messages API nor the CLI can take for one another."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._stems: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str) -> str:
        """The id itself if it may be, else one that resembles it."""
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
